/* test_config_qwen.c - Qwen2.5-VL and Qwen2.5: configurations in their three layouts, and what is refused with which words */
#include "tests/model/config_folder.h"

#include "model/family.h"

static const struct bad_field bad[] = {
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
};

static void an_impossible_field_is_refused_by_name(void **state)
{
    (void)state;
    check_bad_fields(bad, sizeof bad / sizeof *bad);
}

static void the_three_layouts_say_the_same(void **state)
{
    (void)state;
    const char *const folders[] = {VL, NEW, "tests/golden/qwen25vl-tiny-names", "tests/golden/qwen25vl-tiny-bf16/"};
    for (int i = 0; i < 4; i++) {
        struct model_config c = read_of(folders[i]);
        check_sizes(&c, (const int[]){3, 128, 4, 2, 32, 232, 672, 0, 4096, 652, 649, 650});
        const int sections[] = {4, 6, 6};
        assert_memory_equal(c.mrope_section, sections, sizeof sections);
        assert_true(c.has_vision);
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
        folder_path(&folder, config_files[i], path);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_impossible_field_is_refused_by_name),
        cmocka_unit_test(the_three_layouts_say_the_same),
        cmocka_unit_test(a_text_model_has_one_axis_and_no_pictures),
        cmocka_unit_test(absent_files_and_fields_take_their_defaults),
        cmocka_unit_test(a_sparse_vision_config_means_its_class),
        cmocka_unit_test(either_place_ties_the_head),
        cmocka_unit_test(stale_rotary_parameters_at_the_top_do_not_count),
        cmocka_unit_test(the_processor_file_of_transformers_5_counts_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
