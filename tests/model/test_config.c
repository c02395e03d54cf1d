/* test_config.c - configurations of whatever family: which one it is, how to generate, the projector of a drafter */
#include "tests/model/config_folder.h"

#include "model/family.h"

static const struct bad_field bad[] = {
    {VL, C, "model_type", NULL, "config.json|model_type is missing|qwen2_5_vl, qwen2"},
    {VL, C, "model_type", "\"llama\"", "llama is not supported|qwen2_5_vl, qwen2, gemma3"},
    {VL, C, "model_type", "7", "model_type"},
    {VL, C, "architectures", "[\"Qwen2ForCausalLM\"]", "architectures|Qwen2_5_VLForConditionalGeneration"},
    {VL, G, "eos_token_id", "[1,2,3,4,5,6,7,8,9]", "generation_config.json|9 ids|at most 8"},
    {VL, G, "eos_token_id", "-1", "eos_token_id must be"},
    {VL, G, "temperature", "-1", "temperature must be a number from 0"},
    {VL, G, "top_p", "1.5", "top_p must be"},
    {VL, G, "top_k", "0.5", "top_k must be"},
    {VL, G, "repetition_penalty", "0", "repetition_penalty must be"},
    {GEMMA_TEXT, C, "architectures", "[\"Gemma3ForConditionalGeneration\"]", "Gemma3ForCausalLM"},
    {VL, C, "massv", "7", "config.json: massv must be an object"},
    {VL, C, "massv", "{}", "massv.projector is no text; it must be one of mlp, linear, resampler, plain"},
    {VL, C, "massv", "{\"projector\": \"perceiver\"}",
     "massv.projector is \"perceiver\"; it must be one of mlp, linear, resampler"},
    {VL, C, "massv", "{\"projector\": \"resampler\"}", "massv.queries is missing; it must be an integer from 1 to 4096"},
    {VL, C, "massv", "{\"projector\": \"resampler\", \"queries\": 0}", "massv.queries must be an integer from 1 to 4096"},
    {VL, C, "massv", "{\"projector\": \"linear\", \"queries\": 4}", "massv.queries is of a resampler, the projector is linear"},
    {VL, C, "massv", "{\"projektor\": \"linear\"}", "massv.projektor is not known; projector and queries are"},
    {TEXT, C, "massv", "{\"projector\": \"linear\"}", "massv names a projector, but a model of type qwen2 sees nothing"},
};

static void an_impossible_field_is_refused_by_name(void **state)
{
    (void)state;
    check_bad_fields(bad, sizeof bad / sizeof *bad);
}

static void a_file_that_is_no_json_object_is_refused(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct model_config config;
    assert_int_equal(config_read(&config, folder.path, &err), -1);
    check_words(err.text, "config.json|No such file", "no file");
    const char *const texts[] = {"", "{", "[]", "5", "{\"a\":1,\"a\":2}", "\xff\xfe"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        folder_write(&folder, C, texts[i], strlen(texts[i]));
        assert_int_equal(config_read(&config, folder.path, &err), -1);
        check_words(err.text, "config.json", texts[i]);
    }
    folder_remove(&folder);
}

static void a_drafter_names_its_projector(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct model_config c = read_of(VL);
    assert_true(c.projector == PROJECTOR_MLP && !config_picture_tokens(&c));
    folder_copy(&folder, VL, C, "massv", "{\"projector\": \"linear\"}");
    c = read_of(folder.path);
    assert_true(c.projector == PROJECTOR_LINEAR && !config_picture_tokens(&c));
    folder_copy(&folder, GEMMA, C, "massv", "{\"projector\": \"resampler\", \"queries\": 24}");
    c = read_of(folder.path);
    assert_true(c.projector == PROJECTOR_RESAMPLER && config_picture_tokens(&c) == 24);
    folder_remove(&folder);
}

static void families_are_found_by_their_type(void **state)
{
    (void)state;
    assert_true(family_find("qwen2_5_vl")->has_vision);
    assert_false(family_find("qwen2")->has_vision);
    assert_true(family_find("gemma3")->pictures_whole);
    assert_false(family_find("gemma3_text")->has_vision);
    assert_null(family_find("llama"));
    check_words(family_list(), "qwen2_5_vl|qwen2|gemma3|gemma3_text", "the list");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_impossible_field_is_refused_by_name),
        cmocka_unit_test(a_file_that_is_no_json_object_is_refused),
        cmocka_unit_test(a_drafter_names_its_projector),
        cmocka_unit_test(families_are_found_by_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
