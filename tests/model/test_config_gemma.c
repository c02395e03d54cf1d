/* test_config_gemma.c - Gemma3: configurations, sparse and saved again, and what is refused with which words */
#include "tests/model/config_folder.h"

static const struct bad_field bad[] = {
    {GEMMA, C, "text_config.hidden_size", NULL, "hidden_size is missing"},
    {GEMMA, C, "text_config.num_hidden_layers", NULL, "num_hidden_layers is missing"},
    {GEMMA, C, "text_config.intermediate_size", NULL, "intermediate_size is missing"},
    {GEMMA, C, "text_config.head_dim", "15", "head_dim 15 must be even"},
    {GEMMA, C, "text_config.num_attention_heads", "6", "num_attention_heads 6 must be a multiple of num_key_value_heads 4"},
    {GEMMA, C, "text_config.sliding_window", "0", "sliding_window must be an integer from 1"},
    {GEMMA, C, "text_config.query_pre_attn_scalar", "0.5", "query_pre_attn_scalar must be an integer"},
    {GEMMA, C, "text_config.hidden_activation", "\"silu\"", "hidden_activation must be \"gelu_pytorch_tanh\""},
    {GEMMA, C, "text_config.attention_bias", "true", "attention_bias must be false"},
    {GEMMA, C, "text_config.use_bidirectional_attention", "true", "use_bidirectional_attention must be false"},
    {GEMMA, C, "text_config.attn_logit_softcapping", "0", "attn_logit_softcapping must be a number from 0.001"},
    {GEMMA, C, "text_config.final_logit_softcapping", "\"no\"", "final_logit_softcapping must be a number"},
    {GEMMA, C, "text_config.rope_scaling", "{\"rope_type\":\"yarn\"}", "rope type yarn is not supported; default and linear are"},
    {GEMMA, C, "text_config.rope_scaling", "{\"rope_type\":\"linear\"}", "rope factor is missing"},
    {GEMMA, C, "text_config.rope_scaling", "\"linear\"", "rope_scaling must be a JSON object or null"},
    {GEMMA, C, "text_config.rope_scaling", "{\"factor\":8.0}", "a rope factor without a rope_type"},
    {GEMMA, C, "text_config.rope_scaling", "{\"rope_type\":\"linear\",\"factor\":8,\"partial_rotary_factor\":0.5}",
     "partial_rotary_factor must be 1"},
    {GEMMA, C, "text_config.sliding_window", "null", "sliding_window is null, but layer 0 is local"},
    {GEMMA, C, "text_config._sliding_window_pattern", "3", "_sliding_window_pattern is 3, but there are no layer_types"},
    {GEMMA, C, "text_config.model_type", "\"llama\"", "text_config.model_type must be \"gemma3_text\""},
    {GEMMA, C, "vision_config.model_type", "\"clip_vision_model\"", "vision_config.model_type must be \"siglip_vision_model\""},
    {GEMMA_NEW, C, "text_config.rope_scaling", "{\"rope_type\":\"linear\",\"factor\":8}",
     "rope_scaling stands beside rope_parameters"},
    {GEMMA, P, "size", "{\"shortest_edge\":112}", "size must hold height and width, both 112"},
    {GEMMA, P, "size", "224", "size must hold height and width, both 112"},
    {GEMMA, C, "text_config.rope_local_base_freq", "0", "rope_local_base_freq must be a number from 1"},
    {GEMMA_NEW, C, "text_config.rope_parameters", "{\"rope_theta\":1e6}",
     "rope_parameters must hold the objects full_attention and"},
    {GEMMA_NEW, C, "text_config.layer_types", "[\"full_attention\"]", "layer_types must be a list of 7"},
    {GEMMA_NEW, C, "text_config.layer_types", "[1,2,3,4,5,6,7]", "layer_types[0] must be \"sliding_attention\" or"},
    {GEMMA_NEW, C, "text_config._sliding_window_pattern", "7", "layer_types[5] is full_attention, which sliding_window_pattern 7"},
    {GEMMA_NEW, C, "text_config.tie_word_embeddings", "1", "tie_word_embeddings must be true or false"},
    {GEMMA, C, "vision_config.image_size", "113", "image_size 113 must be a multiple of patch_size 14"},
    {GEMMA, C, "mm_tokens_per_image", "15", "mm_tokens_per_image 15 must be a square number"},
    {GEMMA, C, "mm_tokens_per_image", "9", "whose root divides the 8 patches"},
    {GEMMA, C, "vision_config.num_attention_heads", "5",
     "vision_config.hidden_size 48 must be a multiple of num_attention_heads 5"},
    {GEMMA, C, "vision_config.hidden_act", "\"gelu\"", "vision_config.hidden_act must be \"gelu_pytorch_tanh\""},
    {GEMMA, C, "vision_config.num_channels", "1", "num_channels 1 must be 3"},
    {GEMMA, C, "boi_token_index", NULL, "boi_token_index is missing"},
    {GEMMA, C, "eoi_token_index", "896", "eoi_token_index must be an integer from 0 to 895"},
    {GEMMA, C, "vision_config", NULL, "vision_config is missing"},
    {GEMMA, P, "resample", "3", "resample must be 2 (bilinear)"},
    {GEMMA, P, "size.height", "224", "height must be 112 as in config.json"},
    {GEMMA, P, "image_seq_length", "256", "image_seq_length must be 16"},
    {GEMMA, P, "do_pan_and_scan", "1", "do_pan_and_scan must be true or false"},
    {GEMMA, P, "pan_and_scan_min_crop_size", "0", "preprocessor_config.json|pan_and_scan_min_crop_size must be an integer from 1"},
    {GEMMA, P, "pan_and_scan_max_num_crops", "65", "pan_and_scan_max_num_crops must be an integer from 1 to 64"},
    {GEMMA, P, "pan_and_scan_min_ratio_to_activate", "-1", "pan_and_scan_min_ratio_to_activate must be a number from 0"},
    {GEMMA, P, "pan_and_scan_min_ratio_to_activate", "\"1.2\"", "pan_and_scan_min_ratio_to_activate must be a number from 0"},
};

static void an_impossible_field_is_refused_by_name(void **state)
{
    (void)state;
    check_bad_fields(bad, sizeof bad / sizeof *bad);
}

/* The sparse published file and what transformers 5 saves of it. */
static void both_generations_of_gemma_say_the_same(void **state)
{
    (void)state;
    const char *const folders[] = {GEMMA, GEMMA_NEW, "tests/golden/gemma3-tiny-bf16"};
    for (int i = 0; i < 3; i++) {
        struct model_config c = read_of(folders[i]);
        check_sizes(&c, (const int[]){7, 64, 8, 4, 16, 152, 896, 1, 131072, 832, 830, 831});
        assert_int_equal(c.window, 20);
        assert_int_equal(c.query_scalar, 256);
        assert_int_equal(config_axes(&c), 1);
        for (int layer = 0; layer < 8; layer++)
            assert_int_equal(c.local[layer], layer != 5 && layer < 7);
        const float numbers[] = {c.rope_theta, c.rope_factor, c.local_theta, c.norm_eps, c.attention_cap, c.score_cap};
        const float expected[] = {1e6f, 8, 1e4f, 1e-6f, 0, 0};
        assert_memory_equal(numbers, expected, sizeof numbers);
        const struct vision_config *v = &c.vision;
        const int vision[] = {
            v->depth, v->d, v->heads, v->ff, v->out_d, v->patch, v->merge, c.picture.side, config_picture_tokens(&c)};
        const int tower[] = {3, 48, 4, 116, 64, 14, 2, 112, 16};
        assert_memory_equal(vision, tower, sizeof tower);
        assert_int_equal(c.generation.n_stop_ids, 2);
        assert_int_equal(c.generation.top_k, 64);
        assert_string_equal(c.default_system, "");
    }
}

/* Absent numbers are those of the processor, not of the class, which has none. */
static void the_checkpoint_or_who_opens_it_turns_pan_and_scan_on(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct error err;
    struct model_config c = read_of(GEMMA), vl = read_of(VL), text = read_of(GEMMA_TEXT);
    assert_false(c.picture.crops);
    assert_int_equal(config_pan_and_scan(&c, PAN_AND_SCAN_AUTO, &err), 0);
    assert_false(c.picture.crops);
    assert_int_equal(config_pan_and_scan(&c, PAN_AND_SCAN_ON, &err), 0);
    assert_true(c.picture.crops && c.picture.crop_least == 256 && c.picture.crop_most == 4 && c.picture.crop_ratio == 1.2);
    folder_copy(&folder, GEMMA, P, "do_pan_and_scan", "true");
    c = read_of(folder.path);
    assert_int_equal(config_pan_and_scan(&c, PAN_AND_SCAN_AUTO, &err), 0);
    assert_true(c.picture.crops && c.picture.crop_least == 256);
    assert_int_equal(config_pan_and_scan(&c, PAN_AND_SCAN_OFF, &err), 0);
    assert_false(c.picture.crops);
    folder_copy(&folder, GEMMA, P, "pan_and_scan_max_num_crops", "7");
    assert_int_equal(read_of(folder.path).picture.crop_most, 7);
    folder_copy(&folder, GEMMA, P, "pan_and_scan_min_ratio_to_activate", "1.1");
    assert_true(read_of(folder.path).picture.crop_ratio == 1.1);
    assert_int_equal(config_pan_and_scan(&vl, PAN_AND_SCAN_OFF, &err), 0);
    assert_int_equal(config_pan_and_scan(&vl, PAN_AND_SCAN_ON, &err), -1);
    assert_string_equal(err.text, "qwen25vl-tiny cannot pan and scan: models of its family see no crops of pictures");
    assert_int_equal(config_pan_and_scan(&text, PAN_AND_SCAN_ON, &err), -1);
    folder_remove(&folder);
}

/* What a file may leave out, and what it may add. */
static void gemma_fields_have_the_defaults_of_their_class(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct model_config c = read_of(GEMMA_TEXT);
    assert_true(!c.has_vision && c.tied && c.rope_factor == 1 && c.local[4] && !c.local[5]);
    folder_copy(&folder, GEMMA_TEXT, C, "head_dim", NULL);
    assert_int_equal(read_of(folder.path).c, 256);
    folder_copy(&folder, GEMMA_TEXT, C, "vocab_size", NULL);
    assert_int_equal(read_of(folder.path).vocabulary, 262208);
    folder_copy(&folder, GEMMA_TEXT, C, "sliding_window", NULL);
    assert_int_equal(read_of(folder.path).window, 4096);
    folder_copy(&folder, GEMMA_TEXT, C, "tie_word_embeddings", "false");
    assert_false(read_of(folder.path).tied);
    folder_copy(&folder, GEMMA_TEXT, C, "sliding_window_pattern", "2");
    c = read_of(folder.path);
    assert_true(c.local[0] && !c.local[1] && c.local[2]);
    folder_copy(&folder, GEMMA_TEXT, C, "final_logit_softcapping", "30");
    assert_float_equal(read_of(folder.path).score_cap, 30, 0);
    folder_copy(&folder, GEMMA_TEXT, C, "attn_logit_softcapping", "50.0");
    assert_float_equal(read_of(folder.path).attention_cap, 50, 0);
    folder_copy(&folder, GEMMA_NEW, G, "eos_token_id", NULL); /* then config.json's own counts, not text_config's */
    c = read_of(folder.path);
    assert_int_equal(c.generation.n_stop_ids, 2);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_impossible_field_is_refused_by_name),
        cmocka_unit_test(both_generations_of_gemma_say_the_same),
        cmocka_unit_test(the_checkpoint_or_who_opens_it_turns_pan_and_scan_on),
        cmocka_unit_test(gemma_fields_have_the_defaults_of_their_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
