/* features.c - pictures to rows of features, and a folder of them */
#include "train/features.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/vision.h"
#include "proto/ask.h"

static const int64_t PIXELS_MAX = INT64_C(1) << 28; /* of a training picture: the service's limit is its own affair */

struct features {
    struct model_config config;
    const struct kernels *k;
    struct device *dev;
    struct tower *tower;
    char *folder;
};

enum { FEATURES_TENSORS = 3 }; /* of a file: features, grid (lines, columns), sum (XXH3-128 of the features) */

static int folder_make(const char *path, struct error *err)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        return fail(err, "%s: cannot be made: %s", path, strerror(errno));
    return 0;
}

/* Everything that decides what the tower sees. */
static int folder_name(struct features *f, struct safetensors *st, const char *folder, struct error *err)
{
    uint64_t tower[2];
    const struct picture_config *picture = &f->config.picture;
    if (tower_hash(st, &f->config, tower, err) || folder_make(folder, err))
        return -1;
    const uint64_t made[] = {tower[0],
                             tower[1],
                             (uint64_t)picture->min_pixels,
                             (uint64_t)picture->max_pixels,
                             (uint64_t)picture->side,
                             (uint64_t)picture->filter};
    const int bounds[] = {picture->crop_most, picture->crop_least};
    XXH3_state_t *state = XXH3_createState();
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, made, sizeof made);
    XXH3_128bits_update(state, picture->mean, sizeof picture->mean);
    XXH3_128bits_update(state, picture->std, sizeof picture->std);
    if (picture->crops) {
        XXH3_128bits_update(state, bounds, sizeof bounds);
        XXH3_128bits_update(state, &picture->crop_ratio, sizeof picture->crop_ratio);
    }
    const XXH128_hash_t sum = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    f->folder = mem_format("%s/%016" PRIx64 "%016" PRIx64, folder, sum.high64, sum.low64);
    return folder_make(f->folder, err);
}

int features_open(struct features **out, struct safetensors *st, const struct model_config *config, const struct kernels *k,
                  struct device *dev, const char *folder, struct error *err)
{
    struct features *f = mem_new(1, sizeof *f);
    *f = (struct features){.config = *config, .k = k, .dev = dev};
    if (folder_name(f, st, folder, err) || tower_open(&f->tower, st, config, k, dev, err)) {
        features_close(f);
        return -1;
    }
    *out = f;
    return 0;
}

void features_close(struct features *f)
{
    if (!f)
        return;
    tower_close(f->tower);
    free(f->folder);
    free(f);
}

int features_width(const struct features *f)
{
    return vision_joined(&f->config) * f->config.vision.d;
}

/* ---- files ---- */

static char *file_name(const struct features *f, const uint64_t hash[2])
{
    return mem_format("%s/%016" PRIx64 "%016" PRIx64 ".safetensors", f->folder, hash[0], hash[1]);
}

static int64_t rows_count(const struct picture_shape *shape)
{
    return (int64_t)shape->lines * shape->columns * (1 + shape->crops);
}

static void sum_of(int64_t sum[2], const struct feature_rows *rows, int width)
{
    size_t count = (size_t)rows_count(&rows->shape) * (size_t)width;
    const XXH128_hash_t hash = XXH3_128bits(rows->numbers, count * sizeof *rows->numbers);
    memcpy(sum, &hash, 2 * sizeof *sum);
}

static int file_write(const struct features *f, const char *path, const struct feature_rows *rows, struct error *err)
{
    int width = features_width(f);
    int64_t grid[2] = {rows->shape.lines, rows->shape.columns}, sum[2], n = rows_count(&rows->shape);
    sum_of(sum, rows, width);
    const struct tensor tensors[FEATURES_TENSORS] = {
        {"features", DTYPE_F32, 2, {n, width}, (size_t)n * (size_t)width * sizeof(float)},
        {"grid", DTYPE_I64, 1, {2}, sizeof grid},
        {"sum", DTYPE_I64, 1, {2}, sizeof sum},
    };
    const void *const data[FEATURES_TENSORS] = {rows->numbers, grid, sum};
    return safetensors_write(path, tensors, data, FEATURES_TENSORS, err);
}

static int pair_read(struct safetensors *st, const char *name, int64_t pair[2], struct error *err)
{
    const struct tensor *t = safetensors_find(st, name);
    if (!t || t->dtype != DTYPE_I64 || t->dims != 1 || t->shape[0] != 2)
        return fail(err, "has no pair of numbers named %s", name);
    return safetensors_read(st, t, 0, 1, 0, 2, pair, err);
}

static int rows_read(struct safetensors *st, int width, struct feature_rows *rows, struct error *err)
{
    int64_t grid[2], sum[2], found[2];
    if (pair_read(st, "grid", grid, err) || pair_read(st, "sum", sum, err))
        return -1;
    if (grid[0] < 1 || grid[1] < 1 || grid[0] > INT16_MAX || grid[1] > INT16_MAX)
        return fail(err, "a grid of %" PRId64 " x %" PRId64, grid[0], grid[1]);
    const struct tensor *t = safetensors_find(st, "features");
    int64_t views = t && t->dims == 2 ? t->shape[0] / (grid[0] * grid[1]) : 0; /* the picture and its crops */
    if (views < 1 || views > INT16_MAX || !safetensors_need(st, "features", views * grid[0] * grid[1], width, err))
        return views < 1 || views > INT16_MAX ? fail(err, "has no features of its grid") : -1;
    if (t->dtype != DTYPE_F32)
        return fail(err, "features are not F32");
    *rows = (struct feature_rows){{(int)grid[0], (int)grid[1], (int)views - 1}, malloc(t->bytes)};
    if (!rows->numbers)
        return fail(err, "no memory for %zu bytes of features", t->bytes);
    if (!safetensors_read(st, t, 0, t->shape[0], 0, width, rows->numbers, err)) {
        sum_of(found, rows, width);
        if (!memcmp(found, sum, sizeof sum))
            return 0;
        fail(err, "the features are not those that were written");
    }
    free(rows->numbers);
    rows->numbers = NULL;
    return -1;
}

int features_read(const struct features *f, const uint64_t hash[2], struct feature_rows *rows, struct error *err)
{
    struct safetensors *st = NULL;
    char *path = file_name(f, hash);
    int result = safetensors_open(&st, path, err);
    if (!result && rows_read(st, features_width(f), rows, err))
        result = fail_in(err, "%s", path);
    safetensors_close(st);
    free(path);
    return result;
}

/* ---- pictures ---- */

/* What every projector reads of the states: (count) numbers. */
static int cells_take(const struct features *f, const struct vision_states *states, float *numbers, size_t count, struct error *err)
{
    const struct vision_reader reader = {&f->config, f->k, f->dev};
    float *cells = f->k->alloc(f->dev, count * sizeof *cells);
    int result = cells ? vision_cells(&reader, states, cells, err) : fail(err, "no memory on the device for %zu numbers", count);
    if (!result)
        f->k->download(f->dev, numbers, cells, count * sizeof *cells);
    f->k->free(f->dev, cells);
    return result;
}

static int views_see(const struct features *f, const struct views *views, struct feature_rows *rows, struct error *err)
{
    rows->shape = views_shape(views, &f->config);
    size_t count = (size_t)(rows->shape.lines * rows->shape.columns) * (size_t)features_width(f);
    rows->numbers = mem_new((size_t)views->n * count, sizeof *rows->numbers);
    for (int v = 0; v < views->n; v++) {
        struct vision_states states;
        if (tower_run(f->tower, &views->patches[v], &states, err))
            return -1;
        int result = cells_take(f, &states, rows->numbers + (size_t)v * count, count, err);
        vision_states_free(f->tower, &states);
        if (result)
            return -1;
    }
    return 0;
}

/* rows are empty where that fails. */
static int picture_see(const struct features *f, const struct generate_picture *file, struct feature_rows *rows, struct error *err)
{
    struct image image;
    struct views views;
    if (image_decode(&image, file->bytes, file->size, PIXELS_MAX, err))
        return -1;
    int result = views_make(&views, &image, &f->config, err);
    image_free(&image);
    if (result)
        return -1;
    result = views_see(f, &views, rows, err);
    views_free(&views);
    if (result) {
        free(rows->numbers);
        rows->numbers = NULL;
    }
    return result;
}

/* Into the folder; rows are empty where that fails. */
static int rows_keep(const struct features *f, const uint64_t hash[2], struct feature_rows *rows, struct error *err)
{
    char *path = file_name(f, hash);
    int result = file_write(f, path, rows, err);
    free(path);
    if (result) {
        free(rows->numbers);
        rows->numbers = NULL;
    }
    return result;
}

int features_add(struct features *f, const char *path, uint64_t hash[2], struct feature_rows *rows, struct error *err)
{
    struct generate_picture file = {0};
    struct error ignored;
    int result = ask_picture(&file, path, err) ? 1 : 0;
    if (!result) {
        const XXH128_hash_t sum = XXH3_128bits(file.bytes, file.size);
        hash[0] = sum.high64;
        hash[1] = sum.low64;
        if (features_read(f, hash, rows, &ignored))
            result = picture_see(f, &file, rows, err) ? -fail_in(err, "%s", path) : rows_keep(f, hash, rows, err);
    }
    free(file.bytes);
    return result;
}
