/* cases.h - the tensors and cases of tests/golden, for tests that compare with them */
#ifndef TESTS_MODEL_CASES_H
#define TESTS_MODEL_CASES_H

#include "tests/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

/* cases.json of a folder of tests/golden. */
static inline json_t *cases_read(const char *folder)
{
    char path[160];
    snprintf(path, sizeof path, "tests/golden/%s/golden/cases.json", folder);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    json_t *cases = json_incref(json_object_get(root, "cases"));
    json_decref(root);
    assert_true(json_array_size(cases) > 0);
    return cases;
}

static inline struct safetensors *case_open(const char *folder, const json_t *test)
{
    char path[200];
    struct error err;
    struct safetensors *st;
    snprintf(path, sizeof path, "tests/golden/%s/golden/%s", folder, json_string_value(json_object_get(test, "file")));
    if (safetensors_open(&st, path, &err))
        fail_msg("%s", err.text);
    return st;
}

/* Tensor "name.i" ("name" for i < 0): its data, malloc'ed, and itself. */
static inline void *case_tensor(struct safetensors *st, const char *name, int i, const struct tensor **tensor)
{
    char full[80];
    snprintf(full, sizeof full, i < 0 ? "%s" : "%s.%d", name, i);
    const struct tensor *t = safetensors_find(st, full);
    if (!t)
        fail_msg("no golden tensor %s", full);
    int64_t rows = t->dims > 1 ? t->shape[0] : 1, cols = (int64_t)(t->bytes / dtype_size(t->dtype)) / rows;
    void *data = malloc(t->bytes);
    assert_int_equal(safetensors_read(st, t, 0, rows, 0, cols, data, NULL), 0);
    if (tensor)
        *tensor = t;
    return data;
}

/* Largest difference of n numbers; NaN counts as infinite. */
static inline double case_difference(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        most = d <= most ? most : isnan(d) ? INFINITY : d;
    }
    return most;
}

/* A whole file; *size says how large. malloc'ed. */
static inline unsigned char *case_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be read", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

#endif
