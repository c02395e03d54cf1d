/* parameters.c - layout, loading and fresh values of the parameters */
#include "train/parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum {
    ALIGNED = 16,    /* numbers; a group begins on a cache line */
    PIECE = 4 << 20, /* numbers that pass through host memory at once */
};

#define FRESH_DEVIATION 0.02f /* as transformers initialises the merger */

int parameters_add(struct parameters *p, const char *name, int rows, int cols, enum parameter_fresh fresh, bool follows)
{
    if (p->n == p->room)
        p->list = mem_grow(p->list, (size_t)(p->room = 2 * p->room + 16), sizeof *p->list);
    struct parameter *new = &p->list[p->n];
    *new = (struct parameter){.dims = rows ? 2 : 1, .fresh = fresh, .follows = follows};
    snprintf(new->name, sizeof new->name, "%s", name);
    new->shape[0] = rows ? rows : cols;
    new->shape[1] = rows ? cols : 0;
    new->count = (size_t)(rows ? rows : 1) * (size_t)cols;
    return p->n++;
}

static size_t place(size_t *end, const struct parameter *parameter)
{
    size_t at = parameter->follows ? *end : (*end + ALIGNED - 1) / ALIGNED * ALIGNED;
    *end = at + parameter->count;
    return at;
}

static void *room(const struct parameters *p, size_t count, size_t size)
{
    return p->k->alloc(p->dev, count ? count * size : size);
}

int parameters_place(struct parameters *p, int trained, enum dtype dtype, struct error *err)
{
    for (int i = 0; i < p->n; i++) {
        struct parameter *parameter = &p->list[i];
        parameter->trained = i < trained;
        parameter->has_copy = dtype == DTYPE_BF16 && parameter->dims == 2;
        parameter->has_value = parameter->trained || !parameter->has_copy;
        if (parameter->has_value)
            parameter->value_at = place(&p->floats, parameter);
        if (parameter->has_copy)
            parameter->copy_at = place(&p->copies, parameter);
        if (parameter->trained)
            p->trained_floats = p->floats;
    }
    p->values = room(p, p->floats, sizeof *p->values);
    p->gradients = room(p, p->trained_floats, sizeof *p->gradients);
    p->moment1 = room(p, p->trained_floats, sizeof *p->moment1);
    p->moment2 = room(p, p->trained_floats, sizeof *p->moment2);
    p->rounded = room(p, p->copies, sizeof *p->rounded);
    if (!p->values || !p->gradients || !p->moment1 || !p->moment2 || !p->rounded)
        return fail(err, "no memory on the device for %.1f million numbers, of which %.1f million are trained (16 bytes each)",
                    (double)(p->floats + p->copies) * 1e-6, (double)p->trained_floats * 1e-6);
    p->g->zero(p->dev, p->values, p->floats); /* what stands between groups, too */
    p->g->zero(p->dev, p->gradients, p->trained_floats);
    p->g->zero(p->dev, p->moment1, p->trained_floats);
    p->g->zero(p->dev, p->moment2, p->trained_floats);
    return 0;
}

void parameters_free(struct parameters *p)
{
    if (!p->k)
        return;
    void *all[] = {p->values, p->gradients, p->moment1, p->moment2, p->rounded};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        p->k->free(p->dev, all[i]);
    free(p->list);
}

int parameters_load(struct parameters *p, int i, struct safetensors *st, const char *tensor, struct error *err)
{
    const struct parameter *parameter = &p->list[i];
    int64_t rows = parameter->dims == 2 ? parameter->shape[0] : 1, cols = parameter->shape[parameter->dims - 1];
    const struct tensor *t = safetensors_need(st, tensor, rows, cols, err);
    if (!t)
        return -1;
    int64_t step = PIECE / cols ? PIECE / cols : 1;
    size_t most = (size_t)(step < rows ? step : rows) * (size_t)cols;
    void *stored = mem_new(most, dtype_size(t->dtype));
    float *numbers = mem_new(most, sizeof *numbers);
    int status = 0;
    for (int64_t row = 0; row < rows && !status; row += step) {
        int64_t n = rows - row < step ? rows - row : step;
        status = safetensors_read(st, t, row, n, 0, cols, stored, err);
        if (!status) {
            dtype_to_f32(numbers, stored, t->dtype, (size_t)(n * cols));
            parameters_write(p, i, (size_t)(row * cols), (size_t)(n * cols), numbers);
        }
    }
    free(stored);
    free(numbers);
    return status;
}

/* Two normal numbers from one counter (Box, Muller 1958). */
static void normal_pair(float out[2], uint64_t seed, uint64_t parameter, uint64_t pair)
{
    uint32_t bits[4];
    random_bits(bits, seed, parameter, pair);
    float radius = FRESH_DEVIATION * sqrtf(-2.0f * logf(1.0f - random_unit(bits[0]))),
          angle = 0x1.921fb6p+2f * random_unit(bits[1]);
    out[0] = radius * cosf(angle);
    out[1] = radius * sinf(angle);
}

void parameters_fresh(struct parameters *p, int i, uint64_t seed)
{
    const struct parameter *parameter = &p->list[i];
    size_t most = parameter->count < PIECE ? parameter->count : PIECE; /* PIECE is even: pairs stay together */
    float *numbers = mem_new(most + 1, sizeof *numbers);
    for (size_t first = 0; first < parameter->count; first += PIECE) {
        size_t n = parameter->count - first < PIECE ? parameter->count - first : PIECE;
        for (size_t j = 0; j < n; j += 2) {
            numbers[j] = numbers[j + 1] = parameter->fresh == FRESH_ONE ? 1.0f : 0.0f;
            if (parameter->fresh == FRESH_NORMAL)
                normal_pair(numbers + j, seed, (uint64_t)i, (first + j) / 2);
        }
        parameters_write(p, i, first, n, numbers);
    }
    free(numbers);
}

struct grad_weights parameters_weights(const struct parameters *p, int i, int count)
{
    const struct parameter *parameter = &p->list[i];
    struct grad_weights w = {.dtype = parameter->has_copy ? DTYPE_BF16 : DTYPE_F32, .cols = (int)parameter->shape[1]};
    w.p = parameter->has_copy ? (const void *)(p->rounded + parameter->copy_at) : p->values + parameter->value_at;
    for (int j = 0; j < count; j++)
        w.rows += (int)parameter[j].shape[0];
    return w;
}

float *parameters_vector(const struct parameters *p, int i)
{
    return i < 0 ? NULL : p->values + p->list[i].value_at;
}

float *parameters_gradient(const struct parameters *p, int i)
{
    return i < 0 || !p->list[i].trained ? NULL : p->gradients + p->list[i].value_at;
}

void parameters_read(const struct parameters *p, int i, size_t first, size_t n, float *host)
{
    const struct parameter *parameter = &p->list[i];
    if (parameter->has_value) {
        p->k->download(p->dev, host, p->values + parameter->value_at + first, n * sizeof *host);
        return;
    }
    uint16_t *rounded = mem_new(n, sizeof *rounded);
    p->k->download(p->dev, rounded, p->rounded + parameter->copy_at + first, n * sizeof *rounded);
    dtype_to_f32(host, rounded, DTYPE_BF16, n);
    free(rounded);
}

void parameters_write(struct parameters *p, int i, size_t first, size_t n, const float *host)
{
    const struct parameter *parameter = &p->list[i];
    if (parameter->has_value)
        p->k->upload(p->dev, p->values + parameter->value_at + first, host, n * sizeof *host);
    if (!parameter->has_copy)
        return;
    uint16_t *rounded = mem_new(n, sizeof *rounded);
    for (size_t j = 0; j < n; j++)
        rounded[j] = bf16_from_f32(host[j]);
    p->k->upload(p->dev, p->rounded + parameter->copy_at + first, rounded, n * sizeof *rounded);
    free(rounded);
}

void parameters_round(struct parameters *p)
{
    for (int i = 0; i < p->n && p->list[i].trained; i++)
        if (p->list[i].has_copy)
            p->g->narrow(p->dev, p->rounded + p->list[i].copy_at, p->values + p->list[i].value_at, p->list[i].count);
}
