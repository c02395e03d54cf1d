/* test_config.c - configurations in their three layouts, and what is refused with which words */
#include "tests/model/folder.h"

#include <jansson.h>

#include "model/config.h"
#include "model/family.h"

enum { FILES = 4 };
static const char *const files[FILES] = {"config.json", "preprocessor_config.json", "generation_config.json",
                                         "processor_config.json"};

/* Copies the configuration of a checkpoint, with one field ("a.b") of one file replaced by a JSON value, or removed. */
static void folder_copy(const struct folder *folder, const char *from, const char *file, const char *field, const char *value)
{
    folder_empty(folder);
    for (int i = 0; i < FILES; i++) {
        char path[256], name[64];
        snprintf(path, sizeof path, "%s/%s", from, files[i]);
        json_t *root = json_load_file(path, 0, NULL), *object = root;
        if (!root)
            continue;
        if (!strcmp(file, files[i])) {
            const char *dot = strchr(field, '.');
            snprintf(name, sizeof name, "%s", dot ? dot + 1 : field);
            if (dot) {
                char parent[64];
                snprintf(parent, sizeof parent, "%.*s", (int)(dot - field), field);
                object = json_object_get(root, parent);
                assert_non_null(object);
            }
            if (value)
                json_object_set_new(object, name, json_loads(value, JSON_DECODE_ANY, NULL));
            else
                assert_int_equal(json_object_del(object, name), 0);
        }
        char *text = json_dumps(root, 0);
        folder_write(folder, files[i], text, strlen(text));
        free(text);
        json_decref(root);
    }
}

#define VL "tests/golden/qwen25vl-tiny"
#define NEW "tests/golden/qwen25vl-tiny-resaved"
#define TEXT "tests/golden/qwen2-tiny"
#define GEMMA "tests/golden/gemma3-tiny"
#define GEMMA_NEW "tests/golden/gemma3-tiny-resaved"
#define GEMMA_TEXT "tests/golden/gemma3-text-tiny"
#define C "config.json"
#define P "preprocessor_config.json"
#define G "generation_config.json"

static const struct {
    const char *from, *file, *field, *value, *words; /* value NULL: the field is removed */
} bad[] = {
    {VL, C, "model_type", NULL, "config.json|model_type is missing|qwen2_5_vl, qwen2"},
    {VL, C, "model_type", "\"llama\"", "llama is not supported|qwen2_5_vl, qwen2, gemma3"},
    {VL, C, "model_type", "7", "model_type"},
    {VL, C, "architectures", "[\"Qwen2ForCausalLM\"]", "architectures|Qwen2_5_VLForConditionalGeneration"},
    {VL, C, "num_hidden_layers", NULL, "num_hidden_layers is missing|integer from 1"},
    {VL, C, "num_hidden_layers", "0", "num_hidden_layers must be an integer from 1"},
    {VL, C, "num_hidden_layers", "2.5", "num_hidden_layers must be an integer"},
    {VL, C, "num_hidden_layers", "\"3\"", "num_hidden_layers must be an integer"},
    {VL, C, "hidden_size", "-128", "hidden_size"},
    {VL, C, "hidden_size", "99999999999", "hidden_size"},
    {VL, C, "hidden_size", "130", "hidden_size 130 must be a multiple of num_attention_heads 4"},
    {VL, C, "num_attention_heads", "5", "num_attention_heads 5 must be a multiple of num_key_value_heads 2"},
    {VL, C, "num_key_value_heads", NULL, "num_key_value_heads is missing"},
    {VL, C, "num_key_value_heads", "3", "must be a multiple of num_key_value_heads 3"},
    {VL, C, "head_dim", "31", "head_dim 31"},
    {VL, C, "intermediate_size", "null", "intermediate_size is missing"},
    {VL, C, "vocab_size", "true", "vocab_size must be"},
    {VL, C, "max_position_embeddings", NULL, "max_position_embeddings is missing"},
    {VL, C, "rms_norm_eps", NULL, "rms_norm_eps is missing|a number from 0"},
    {VL, C, "rms_norm_eps", "\"1e-6\"", "rms_norm_eps must be a number"},
    {VL, C, "rope_theta", NULL, "rope_theta is missing"},
    {VL, C, "rope_theta", "0", "rope_theta must be"},
    {VL, C, "rope_scaling", NULL, "mrope_section is missing|sum to 16"},
    {VL, C, "rope_scaling.mrope_section", "[4,6,7]", "4 + 6 + 7 must sum to 16"},
    {VL, C, "rope_scaling.mrope_section", "[16]", "mrope_section must be three integers"},
    {VL, C, "rope_scaling.mrope_section", "[-1,1,16]", "mrope_section must be an integer from 0"},
    {TEXT, C, "rope_scaling", "{\"type\":\"yarn\",\"factor\":4}", "rope type yarn is not supported"},
    {VL, C, "hidden_act", "\"gelu\"", "hidden_act must be \"silu\""},
    {VL, C, "use_sliding_window", "true", "use_sliding_window must be false"},
    {VL, C, "quantization_config", "{\"bits\":4}", "quantization_config"},
    {VL, C, "tie_word_embeddings", "1", "tie_word_embeddings must be true or false"},
    {VL, C, "image_token_id", NULL, "image_token_id is missing"},
    {VL, C, "image_token_id", "672", "image_token_id must be an integer from 0 to 671"},
    {VL, C, "vision_config", NULL, "vision_config is missing"},
    {VL, C, "vision_config.hidden_size", NULL, "vision_config.hidden_size is missing"},
    {VL, C, "vision_config.hidden_act", "\"gelu\"", "vision_config.hidden_act must be \"silu\""},
    {NEW, C, "vision_config.rope_parameters", "{\"rope_theta\":500.0}", "vision_config.rope_parameters.rope_theta must be 10000"},
    {NEW, C, "vision_config.rope_parameters", "{\"rope_type\":\"yarn\"}", "rope_type must be \"axial\""},
    {VL, C, "vision_config.depth", "1000", "vision_config.depth must be an integer from 1 to 128"},
    {VL, C, "vision_config.in_chans", "1", "vision_config.in_chans 1 must be 3"},
    {VL, C, "vision_config.num_heads", "5", "vision_config.hidden_size 64 must be num_heads 5 times"},
    {VL, C, "vision_config.out_hidden_size", "64", "out_hidden_size 64 must be hidden_size 128"},
    {VL, C, "vision_config.window_size", "14", "window_size 14 must be at least"},
    {VL, C, "vision_config.fullatt_block_indexes", "[-1]", "fullatt_block_indexes must be an integer from 0"},
    {VL, C, "vision_config.fullatt_block_indexes", "7", "fullatt_block_indexes must be a list"},
    {VL, C, "text_config", "[]", "text_config must be a JSON object"},
    {NEW, C, "text_config.layer_types", "[\"full_attention\",\"sliding_attention\"]", "layer_types must be \"full_attention\""},
    {NEW, C, "text_config.tie_word_embeddings", "\"no\"", "tie_word_embeddings must be true or false"},
    {NEW, C, "text_config.num_hidden_layers", NULL, "num_hidden_layers is missing"},
    {NEW, C, "text_config.rope_parameters", NULL, "rope_theta is missing"},
    {VL, P, "min_pixels", "0", "preprocessor_config.json|min_pixels"},
    {VL, P, "min_pixels", "100000000", "min_pixels 100000000 must not exceed max_pixels"},
    {VL, P, "image_mean", "[0.5,0.5]", "image_mean must be three numbers"},
    {VL, P, "image_std", "[0,0.5,0.5]", "image_std"},
    {VL, P, "patch_size", "16", "patch_size must be 14"},
    {VL, P, "merge_size", "4", "merge_size must be 2"},
    {VL, P, "resample", "2", "resample must be 3"},
    {VL, P, "rescale_factor", "1", "rescale_factor must be 1 / 255"},
    {VL, P, "do_normalize", "false", "do_normalize must be true"},
    {VL, G, "eos_token_id", "[1,2,3,4,5,6,7,8,9]", "generation_config.json|9 ids|at most 8"},
    {VL, G, "eos_token_id", "-1", "eos_token_id must be"},
    {VL, G, "temperature", "-1", "temperature must be a number from 0"},
    {VL, G, "top_p", "1.5", "top_p must be"},
    {VL, G, "top_k", "0.5", "top_k must be"},
    {VL, G, "repetition_penalty", "0", "repetition_penalty must be"},
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
    struct folder folder = folder_make();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {""};
        struct model_config config;
        folder_copy(&folder, bad[i].from, bad[i].file, bad[i].field, bad[i].value);
        if (!config_read(&config, folder.path, &err))
            fail_msg("%s: %s = %s was accepted", bad[i].file, bad[i].field, bad[i].value ? bad[i].value : "nothing");
        check_words(err.text, bad[i].words, bad[i].field);
    }
    folder_remove(&folder);
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

static struct model_config read_of(const char *path)
{
    struct error err;
    struct model_config config;
    if (config_read(&config, path, &err))
        fail_msg("%s", err.text);
    return config;
}

static void the_three_layouts_say_the_same(void **state)
{
    (void)state;
    const char *const folders[] = {VL, NEW, "tests/golden/qwen25vl-tiny-names", "tests/golden/qwen25vl-tiny-bf16/"};
    for (int i = 0; i < 4; i++) {
        struct model_config c = read_of(folders[i]);
        const int have[] = {c.layers,
                            c.d,
                            c.h,
                            c.g,
                            c.c,
                            c.ff,
                            c.vocabulary,
                            c.tied,
                            c.mrope_section[0],
                            c.mrope_section[1],
                            c.mrope_section[2],
                            c.max_positions,
                            c.image_id,
                            c.vision_start_id,
                            c.vision_end_id,
                            c.has_vision};
        const int want[] = {3, 128, 4, 2, 32, 232, 672, 0, 4, 6, 6, 4096, 652, 649, 650, 1};
        assert_memory_equal(have, want, sizeof want);
        const int vision[] = {c.vision.depth,    c.vision.d,     c.vision.heads,          c.vision.ff,
                              c.vision.out_d,    c.vision.patch, c.vision.temporal_patch, c.vision.merge,
                              c.vision.channels, c.vision.window};
        const int tower[] = {4, 64, 4, 172, 128, 14, 2, 2, 3, 112};
        assert_memory_equal(vision, tower, sizeof tower);
        const uint8_t full[5] = {0, 1, 0, 1, 0};
        assert_memory_equal(c.vision.full_attention, full, sizeof full);
        assert_float_equal(c.rope_theta, 1e6, 0);
        assert_float_equal(c.norm_eps, 1e-6f, 0);
        assert_float_equal(c.generation.repetition_penalty, 1.05f, 0);
        assert_float_equal(c.generation.temperature, 1e-6f, 0);
        assert_int_equal(c.generation.n_stop_ids, 2);
        assert_int_equal(c.picture.max_pixels, 28224);
        assert_string_equal(c.family->model_type, "qwen2_5_vl");
    }
    const char *const same[] = {"tests/golden/qwen25vl-tiny-bf16//", "tests/golden/qwen25vl-tiny-bf16/.",
                                "tests/golden/qwen25vl-tiny-bf16/./", "tests/golden/images/../qwen25vl-tiny-bf16"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(read_of(same[i]).name, "qwen25vl-tiny-bf16");
}

static void a_text_model_has_one_axis_and_no_pictures(void **state)
{
    (void)state;
    struct model_config c = read_of(TEXT);
    assert_false(c.has_vision);
    assert_true(c.tied);
    assert_int_equal(c.image_id, -1);
    assert_int_equal(c.mrope_section[0] | c.mrope_section[1] | c.mrope_section[2], 0);
}

static void absent_files_and_fields_take_their_defaults(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct model_config c;
    char path[128];
    folder_copy(&folder, VL, C, "eos_token_id", "642");
    for (int i = 1; i < 3; i++) {
        folder_path(&folder, files[i], path);
        unlink(path);
    }
    c = read_of(folder.path);
    assert_int_equal(c.picture.min_pixels, 3136);
    assert_int_equal(c.picture.max_pixels, 12845056);
    assert_float_equal(c.picture.mean[1], 0.4578275f, 0);
    assert_float_equal(c.picture.std[2], 0.27577711f, 0);
    assert_float_equal(c.generation.temperature, 0, 0);
    assert_float_equal(c.generation.top_p, 1, 0);
    assert_float_equal(c.generation.repetition_penalty, 1, 0);
    assert_int_equal(c.generation.n_stop_ids, 1); /* of config.json */
    assert_int_equal(c.generation.stop_ids[0], 642);
    folder_copy(&folder, VL, C, "vision_config.in_channels", "3"); /* both spellings */
    read_of(folder.path);
    folder_copy(&folder, VL, G, "eos_token_id", "7");
    c = read_of(folder.path);
    assert_int_equal(c.generation.n_stop_ids, 1);
    assert_int_equal(c.generation.stop_ids[0], 7);
    folder_copy(&folder, NEW, C, "hidden_size", "4096"); /* a stale copy at the top */
    assert_int_equal(read_of(folder.path).d, 128);
    folder_copy(&folder, VL, C, "rope_scaling.type", "\"default\""); /* as transformers 4.52 saves it */
    assert_int_equal(read_of(folder.path).mrope_section[2], 6);
    folder_remove(&folder);
}

/* What transformers 4.49 makes of a published vision_config; the file of the 32B model is of that kind. */
static void a_sparse_vision_config_means_its_class(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    folder_copy(
        &folder, VL, C, "vision_config",
        "{\"hidden_size\":1280,\"in_chans\":3,\"intermediate_size\":3456,\"model_type\":\"qwen2_5_vl\",\"out_hidden_size\":128,"
        "\"spatial_patch_size\":14,\"tokens_per_second\":2}");
    struct vision_config v = read_of(folder.path).vision;
    const int have[] = {v.depth, v.d, v.heads, v.ff, v.patch, v.temporal_patch, v.merge, v.channels, v.window};
    const int want[] = {32, 1280, 16, 3456, 14, 2, 2, 3, 112};
    assert_memory_equal(have, want, sizeof want);
    for (int i = 0; i < 128; i++)
        assert_int_equal(v.full_attention[i], i == 7 || i == 15 || i == 23 || i == 31);
    folder_copy(&folder, VL, C, "vision_config.fullatt_block_indexes", "[1,4,31]"); /* of 4 blocks */
    v = read_of(folder.path).vision;
    for (int i = 0; i < 128; i++)
        assert_int_equal(v.full_attention[i], i == 1);
    folder_remove(&folder);
}

static void either_place_ties_the_head(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    folder_copy(&folder, NEW, C, "text_config.tie_word_embeddings", "true"); /* the top says false */
    assert_true(read_of(folder.path).tied);
    folder_copy(&folder, NEW, C, "tie_word_embeddings", "true");
    assert_true(read_of(folder.path).tied);
    folder_remove(&folder);
}

static void stale_rotary_parameters_at_the_top_do_not_count(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    folder_copy(&folder, NEW, C, "rope_scaling", "{\"type\":\"mrope\",\"mrope_section\":[6,5,5],\"rope_theta\":5.0}");
    assert_int_equal(read_of(folder.path).mrope_section[0], 4);
    assert_float_equal(read_of(folder.path).rope_theta, 1e6, 0);
    folder_remove(&folder);
}

/* As the processor of transformers 5 saves itself; older ones wrote the file, too, but without the part that counts. */
static void the_processor_file_of_transformers_5_counts_first(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    const char *const nested = "{\"image_processor\":{\"size\":{\"longest_edge\":50176,\"shortest_edge\":784},"
                               "\"image_mean\":[0.5,0.25,0.5],\"resample\":3,\"rescale_factor\":0.00392156862745098}}";
    folder_copy(&folder, VL, C, "eos_token_id", "642");
    folder_write(&folder, "processor_config.json", nested, strlen(nested));
    struct picture_config p = read_of(folder.path).picture;
    assert_int_equal(p.max_pixels, 50176);
    assert_int_equal(p.min_pixels, 784);
    assert_float_equal(p.mean[1], 0.25f, 0);
    folder_write(&folder, "processor_config.json", "{\"processor_class\":\"Qwen2_5_VLProcessor\"}", 41);
    assert_int_equal(read_of(folder.path).picture.max_pixels, 28224);
    folder_copy(&folder, VL, P, "max_pixels", NULL);
    assert_int_equal(read_of(folder.path).picture.max_pixels, 1280 * 28 * 28); /* of the class */
    folder_remove(&folder);
}

/* The sparse published file and what transformers 5 saves of it. */
static void both_generations_of_gemma_say_the_same(void **state)
{
    (void)state;
    const char *const folders[] = {GEMMA, GEMMA_NEW, "tests/golden/gemma3-tiny-bf16"};
    for (int i = 0; i < 3; i++) {
        struct model_config c = read_of(folders[i]);
        const int have[] = {c.layers,
                            c.d,
                            c.h,
                            c.g,
                            c.c,
                            c.ff,
                            c.vocabulary,
                            c.tied,
                            c.window,
                            c.query_scalar,
                            c.max_positions,
                            c.image_id,
                            c.vision_start_id,
                            c.vision_end_id,
                            config_axes(&c)};
        const int want[] = {7, 64, 8, 4, 16, 152, 896, 1, 20, 256, 131072, 832, 830, 831, 1};
        assert_memory_equal(have, want, sizeof want);
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
        cmocka_unit_test(the_three_layouts_say_the_same),
        cmocka_unit_test(a_text_model_has_one_axis_and_no_pictures),
        cmocka_unit_test(absent_files_and_fields_take_their_defaults),
        cmocka_unit_test(a_sparse_vision_config_means_its_class),
        cmocka_unit_test(either_place_ties_the_head),
        cmocka_unit_test(stale_rotary_parameters_at_the_top_do_not_count),
        cmocka_unit_test(the_processor_file_of_transformers_5_counts_first),
        cmocka_unit_test(both_generations_of_gemma_say_the_same),
        cmocka_unit_test(the_checkpoint_or_who_opens_it_turns_pan_and_scan_on),
        cmocka_unit_test(gemma_fields_have_the_defaults_of_their_class),
        cmocka_unit_test(a_drafter_names_its_projector),
        cmocka_unit_test(families_are_found_by_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
