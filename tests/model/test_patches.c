/* test_patches.c - the size of a picture in patches, and its rows, against the reference */
#include "tests/check.h"

#include "model/patches.h"
#include "tests/model/cases.h"

/* What the published files say; the second limit is that of the processor's class. */
enum { MIN = 56 * 56, MAX = 12845056, MAX_CLASS = 28 * 28 * 1280 };

static void sizes_are_those_of_the_reference(void **state)
{
    (void)state;
    static const struct {
        int height, width, out_height, out_width, small_height, small_width;
    } cases[] = {
        {375, 500, 364, 504, 364, 504}, {1080, 1920, 1092, 1932, 728, 1316}, {1365, 2048, 1372, 2044, 812, 1204},
        {42, 42, 56, 56, 56, 56},       {14, 1000, 28, 476, 28, 476},        {28, 28, 56, 56, 56, 56},
        {896, 896, 896, 896, 896, 896}, {4000, 6000, 2912, 4368, 812, 1204}, {70, 98, 56, 112, 56, 112}, /* 2.5 is 2 */
        {126, 126, 112, 112, 112, 112}, {336, 336, 336, 336, 336, 336},      {480, 640, 476, 644, 476, 644},
        {1, 1, 56, 56, 56, 56},         {200, 1, 812, 28, 812, 28},          {1, 200, 28, 812, 28, 812},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int h, w;
        assert_int_equal(patches_size(cases[i].height, cases[i].width, 28, MIN, MAX, &h, &w, NULL), 0);
        if (h != cases[i].out_height || w != cases[i].out_width)
            fail_msg("%d x %d: %d x %d", cases[i].height, cases[i].width, h, w);
        assert_int_equal(patches_size(cases[i].height, cases[i].width, 28, MIN, MAX_CLASS, &h, &w, NULL), 0);
        if (h != cases[i].small_height || w != cases[i].small_width)
            fail_msg("%d x %d, small: %d x %d", cases[i].height, cases[i].width, h, w);
    }
}

static void sizes_that_make_no_patches_are_refused(void **state)
{
    (void)state;
    static const struct {
        int height, width;
        int64_t least, most;
        const char *why;
    } bad[] = {
        {1, 201, MIN, MAX, "a picture of 201 x 1 pixels is too thin: sides may differ by a factor of at most 200"},
        {20100, 100, MIN, MAX, "is too thin"},
        {0, 5, MIN, MAX, "is empty"},
        {5, 0, MIN, MAX, "is empty"},
        {-3, 5, MIN, MAX, "is empty"},
        {100, 100, (int64_t)1 << 40, (int64_t)1 << 41, "cannot be resized within min_pixels"},
        {100000, 100000, MIN, (int64_t)1 << 60, "cannot be resized within"},
        {0x7fffffff, 0x7fffffff, MIN, INT64_MAX, "cannot be resized within"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int h, w;
        struct error err = {""};
        assert_int_equal(patches_size(bad[i].height, bad[i].width, 28, bad[i].least, bad[i].most, &h, &w, &err), -1);
        if (!strstr(err.text, bad[i].why))
            fail_msg("case %zu: %s", i, err.text);
    }
}

static void expect_grid(const struct patches *patches, const struct model_config *config, struct safetensors *st, int i)
{
    int64_t *grid = case_tensor(st, "grid_thw", i, NULL);
    assert_int_equal(patches->grid_h, grid[1]);
    assert_int_equal(patches->grid_w, grid[2]);
    assert_int_equal(patches_tokens(patches, config), grid[1] * grid[2] / 4);
    free(grid);
}

static void expect_golden(const char *folder, const struct model_config *config, struct safetensors *st, const char *picture, int i)
{
    char path[200];
    struct image image;
    struct patches patches;
    struct error err = {""};
    size_t size;
    snprintf(path, sizeof path, "tests/golden/images/%s", picture);
    unsigned char *bytes = case_file(path, &size);
    if (image_decode(&image, bytes, size, 1 << 22, &err) || patches_make(&patches, &image, config, &err))
        fail_msg("%s: %s", path, err.text);
    const struct tensor *t;
    float *want = case_tensor(st, "pixel_values", i, &t), *planes = NULL;
    size_t count = t->bytes / sizeof *want;
    assert_int_equal(count, (size_t)patches.grid_h * (size_t)patches.grid_w * (size_t)patches.width);
    if (config->picture.side) {
        planes = malloc(t->bytes);
        patches_planes(planes, &patches, config);
    } else {
        expect_grid(&patches, config, st, i);
        assert_int_equal(patches.width, t->shape[1]);
    }
    double off = case_difference(planes ? planes : patches.rows, want, count);
    if (!(off <= 1e-6)) /* the same roundings in the same order: a few units in the last place of numbers around 1 */
        fail_msg("%s, %s: off by %g", folder, picture, off);
    free(want);
    free(planes);
    free(bytes);
    patches_free(&patches);
    image_free(&image);
}

static void rows_of_golden_pictures_are_those_of_the_reference(void **state)
{
    (void)state;
    static const char *const folders[] = {"qwen25vl-tiny", "massv-tiny", "gemma3-tiny"};
    for (size_t f = 0; f < 3; f++) {
        char dir[100];
        struct model_config config;
        struct error err;
        snprintf(dir, sizeof dir, "tests/golden/%s", folders[f]);
        if (config_read(&config, dir, &err))
            fail_msg("%s", err.text);
        json_t *cases = cases_read(folders[f]);
        for (size_t k = 0; k < json_array_size(cases); k++) {
            const json_t *test = json_array_get(cases, k), *images = json_object_get(test, "images");
            struct safetensors *st = case_open(folders[f], test);
            for (size_t i = 0; i < json_array_size(images); i++)
                expect_golden(folders[f], &config, st, json_string_value(json_array_get(images, i)), (int)i);
            safetensors_close(st);
        }
        json_decref(cases);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_those_of_the_reference),
        cmocka_unit_test(sizes_that_make_no_patches_are_refused),
        cmocka_unit_test(rows_of_golden_pictures_are_those_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
