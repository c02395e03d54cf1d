/* vision_weights.c - the weights of towers and projectors: from the checkpoint to the device, piece by piece */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/vision_parts.h"

enum { PIECE = 2 << 20 }; /* bytes read at once */

const char *vision_find_prefix(const struct safetensors *st, const char *const *prefixes, const char *probe)
{
    char name[256];
    for (const char *const *prefix = prefixes; *prefix; prefix++) {
        snprintf(name, sizeof name, "%s%s", *prefix, probe);
        if (safetensors_find(st, name))
            return *prefix;
    }
    return prefixes[0];
}

const struct tensor *vision_need(struct vision_loader *l, int block, const char *rest, int64_t rows, int64_t cols)
{
    if (block < 0)
        snprintf(l->name, sizeof l->name, "%s%s", l->prefix, rest);
    else
        snprintf(l->name, sizeof l->name, "%s%s%d.%s", l->prefix, l->block, block, rest);
    return safetensors_need(l->st, l->name, rows, cols, l->err);
}

/* A vector of n numbers to f32 memory of the device, from *to on. */
static int load_vector_at(struct vision_loader *l, float *to, int block, const char *rest, int n)
{
    const struct tensor *t = vision_need(l, block, rest, 1, n);
    if (!t)
        return -1;
    char *stored = mem_new(t->bytes, 1);
    float *host = mem_new((size_t)n, sizeof *host);
    int rc = safetensors_read(l->st, t, 0, 1, 0, n, stored, l->err);
    if (!rc) {
        dtype_to_f32(host, stored, t->dtype, (size_t)n);
        l->k->upload(l->dev, to, host, (size_t)n * sizeof *host);
    }
    free(host);
    free(stored);
    return rc;
}

static int vector_create(struct vision_loader *l, float **vector, int n)
{
    *vector = l->k->alloc(l->dev, (size_t)n * sizeof **vector);
    return *vector ? 0 : fail(l->err, "no memory on the device for the vision weights");
}

int vision_load_vector(struct vision_loader *l, float **vector, int block, const char *rest, int n)
{
    return vector_create(l, vector, n) || load_vector_at(l, *vector, block, rest, n) ? -1 : 0;
}

int vision_load_norm(struct vision_loader *l, struct vision_norm *norm, int block, const char *stem, int n, bool bias)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", stem);
    if (vision_load_vector(l, &norm->w, block, name, n))
        return -1;
    snprintf(name, sizeof name, "%s.bias", stem);
    return bias ? vision_load_vector(l, &norm->b, block, name, n) : 0;
}

/* All of tensor t (rows, cols) to rows [at, at + rows) of m. */
static int write_rows(struct vision_loader *l, struct matrix *m, int at, const struct tensor *t, int rows, int cols)
{
    size_t row_bytes = (size_t)cols * dtype_size(t->dtype);
    int step = row_bytes < PIECE ? (int)(PIECE / row_bytes) : 1, rc = 0;
    char *piece = mem_new((size_t)step, row_bytes);
    for (int row = 0; row < rows && !rc; row += step) {
        int n = rows - row < step ? rows - row : step;
        rc = safetensors_read(l->st, t, row, n, 0, cols, piece, l->err);
        if (!rc)
            l->k->matrix_write(l->dev, m, at + row, n, piece);
    }
    free(piece);
    return rc;
}

int vision_load_matrix(struct vision_loader *l, struct matrix **m, int block, const char *const *names, int count, int rows,
                       int cols)
{
    enum dtype dtype = DTYPE_F32;
    for (int i = 0; i < count; i++) {
        const struct tensor *t = vision_need(l, block, names[i], rows, cols);
        if (!t)
            return -1;
        if (i == 0) {
            dtype = t->dtype;
            *m = l->k->matrix_create(l->dev, dtype, count * rows, cols, l->err);
            if (!*m)
                return fail_in(l->err, "tensor %s", l->name);
        }
        if (t->dtype != dtype)
            return fail(l->err, "tensor %s is %s, but %s, which stands beside it, is %s", l->name, dtype_name(t->dtype), names[0],
                        dtype_name(dtype));
        if (write_rows(l, *m, i * rows, t, rows, cols))
            return -1;
    }
    return 0;
}

/* to (cols, rows) = from (rows, cols), elements of `size` bytes. */
static void transpose(char *to, const char *from, size_t rows, size_t cols, size_t size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            memcpy(to + (col * rows + row) * size, from + (row * cols + col) * size, size);
}

int vision_load_turned(struct vision_loader *l, struct matrix **m, const char *name, int rows, int cols)
{
    const struct tensor *t = vision_need(l, -1, name, cols, rows);
    if (!t)
        return -1;
    *m = l->k->matrix_create(l->dev, t->dtype, rows, cols, l->err);
    if (!*m)
        return fail_in(l->err, "tensor %s", l->name);
    char *stored = mem_new(t->bytes, 1), *turned = mem_new(t->bytes, 1);
    int rc = safetensors_read(l->st, t, 0, cols, 0, rows, stored, l->err);
    if (!rc) {
        transpose(turned, stored, (size_t)cols, (size_t)rows, dtype_size(t->dtype));
        l->k->matrix_write(l->dev, *m, 0, rows, turned);
    }
    free(stored);
    free(turned);
    return rc;
}

enum { MOST_STEMS = 3 };

int vision_load_layer(struct vision_loader *l, struct vision_layer *layer, int block, const char *const *stems, int count, int rows,
                      int cols, bool bias)
{
    char weights[MOST_STEMS][64], name[64];
    const char *names[MOST_STEMS] = {weights[0], weights[1], weights[2]};
    for (int i = 0; i < count; i++)
        snprintf(weights[i], sizeof weights[i], "%s.weight", stems[i]);
    if (vision_load_matrix(l, &layer->w, block, names, count, rows, cols) || (bias && vector_create(l, &layer->b, count * rows)))
        return -1;
    for (int i = 0; i < count && bias; i++) {
        snprintf(name, sizeof name, "%s.bias", stems[i]);
        if (load_vector_at(l, layer->b + (size_t)i * (size_t)rows, block, name, rows))
            return -1;
    }
    return 0;
}

int vision_patch_width(const struct vision_config *v)
{
    return v->channels * v->temporal_patch * v->patch * v->patch;
}
