/* test_features.c - the cached features of a picture file are what the reference's tower sees: rows side by side of the one family,
 * averages of the other; a second reader finds them, and other preprocessing does not */
#include "tests/check.h"

#include "model/vision.h"
#include "tests/model/cases.h"
#include "tests/model/folder.h"
#include "train/features.h"

#define ALLOWED 1e-4 /* of the golden states */

struct cache {
    struct folder folder;
    struct model_config config;
    struct device *dev;
    struct features *features;
};

static void cache_open(struct cache *c, const char *model)
{
    struct error err;
    struct safetensors *st;
    char dir[100];
    const struct device_options options = {.threads = 2};
    snprintf(dir, sizeof dir, "tests/golden/%s", model);
    c->dev = kernels_cpu()->open(&options, &err);
    if (!c->dev || config_read(&c->config, dir, &err) || safetensors_open(&st, dir, &err) ||
        features_open(&c->features, st, &c->config, kernels_cpu(), c->dev, c->folder.path, &err))
        fail_msg("%s: %s", model, err.text);
    safetensors_close(st);
}

static void cache_close(struct cache *c)
{
    features_close(c->features);
    kernels_cpu()->close(c->dev);
}

/* The folder of features that is the only thing in c's. */
static struct folder cache_inner(const struct cache *c)
{
    struct folder inner = {""};
    DIR *dir = opendir(c->folder.path);
    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.')
            assert_true(snprintf(inner.path, sizeof inner.path, "%s/%.40s", c->folder.path, e->d_name) < (int)sizeof inner.path);
    closedir(dir);
    return inner;
}

/* What the reference's projector reads, (rows, width) in raster order. */
static float *golden_rows(struct safetensors *st, const struct model_config *config, int i, size_t *count)
{
    const struct tensor *t;
    if (vision_joined(config) == 1) {
        float *pooled = case_tensor(st, "pooled", i, &t);
        *count = t->bytes / sizeof *pooled;
        return pooled;
    }
    float *hidden = case_tensor(st, "vision_hidden", i, &t);
    int64_t *order = case_tensor(st, "window_index", i, NULL);
    *count = t->bytes / sizeof *hidden;
    size_t width = (size_t)(vision_joined(config) * config->vision.d), rows = *count / width;
    float *raster = malloc(t->bytes);
    for (size_t row = 0; row < rows; row++)
        memcpy(raster + (size_t)order[row] * width, hidden + row * width, width * sizeof *raster);
    free(hidden);
    free(order);
    return raster;
}

static void check_picture(const struct cache *c, struct safetensors *st, const char *name, int i)
{
    struct error err;
    struct feature_rows made, rows;
    uint64_t hash[2];
    size_t count;
    char path[200];
    snprintf(path, sizeof path, "tests/golden/images/%s", name);
    if (features_add(c->features, path, hash, &made, &err) || features_read(c->features, hash, &rows, &err))
        fail_msg("%s: %s", name, err.text);
    float *want = golden_rows(st, &c->config, i, &count);
    assert_int_equal((size_t)(rows.shape.lines * rows.shape.columns * features_width(c->features)), count);
    assert_memory_equal(made.numbers, rows.numbers, count * sizeof *rows.numbers);
    double off = case_difference(rows.numbers, want, count);
    if (!(off <= ALLOWED))
        fail_msg("%s: off by %g", name, off);
    free(made.numbers);
    free(rows.numbers);
    free(want);
}

static void features_of_files_are_the_references(void **state)
{
    (void)state;
    static const char *const models[] = {"qwen25vl-tiny", "gemma3-tiny"};
    for (size_t m = 0; m < 2; m++) {
        struct cache c = {.folder = folder_make()};
        json_t *cases = cases_read(models[m]);
        cache_open(&c, models[m]);
        for (size_t k = 0; k < json_array_size(cases); k++) {
            const json_t *test = json_array_get(cases, k), *images = json_object_get(test, "images");
            struct safetensors *st = case_open(models[m], test);
            for (int i = 0; i < (int)json_array_size(images); i++)
                check_picture(&c, st, json_string_value(json_array_get(images, (size_t)i)), i);
            safetensors_close(st);
        }
        struct folder inner = cache_inner(&c);
        assert_int_equal(folder_empty(&inner), 11); /* pictures; some are in several cases */
        folder_remove(&inner);
        json_decref(cases);
        cache_close(&c);
        folder_remove(&c.folder);
    }
}

/* Towers that differ in the numbers of their file alone, or in what is done to pictures, have folders of their own. */
static void another_preprocessing_is_another_folder(void **state)
{
    (void)state;
    struct error err;
    struct safetensors *st;
    struct cache c = {.folder = folder_make()};
    cache_open(&c, "gemma3-tiny");
    struct folder first = cache_inner(&c);
    folder_remove(&first);
    if (safetensors_open(&st, "tests/golden/gemma3-tiny", &err))
        fail_msg("%s", err.text);
    for (int other = 0; other < 2; other++) {
        struct model_config config = c.config;
        struct features *features;
        config.picture.filter = other ? IMAGE_BILINEAR : IMAGE_BICUBIC;
        config.picture.crops = other;
        if (features_open(&features, st, &config, kernels_cpu(), c.dev, c.folder.path, &err))
            fail_msg("%s", err.text);
        struct folder second = cache_inner(&c);
        assert_string_not_equal(first.path, second.path);
        folder_remove(&second);
        features_close(features);
    }
    safetensors_close(st);
    cache_close(&c);
    folder_remove(&c.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_of_files_are_the_references),
        cmocka_unit_test(another_preprocessing_is_another_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
