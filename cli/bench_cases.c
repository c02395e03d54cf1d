/* bench_cases.c - inputs, runs and checks of the measured operations. The shapes are those of Qwen2.5-VL-7B. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "cli/bench_kernels.h"

enum { HEADS = 28, KEY_HEADS = 4, WIDTH = 128, PATCH_HEADS = 16, PATCH_WIDTH = 80, PAGE = 64, LAYERS = 4 };

static float number(uint64_t seed, size_t i)
{
    uint32_t bits[4];
    random_bits(bits, seed, 0, i / 4);
    return 2.0f * random_unit(bits[i % 4]) - 1.0f;
}

/* count numbers of device memory; after the first 2^20 they repeat, which no kernel notices. */
static float *numbers(struct bench_case *c, uint64_t seed, size_t count)
{
    enum { DISTINCT = 1 << 20 };
    float *x = c->cpu->alloc(c->dev, count * sizeof *x);
    for (size_t i = 0; x && i < count; i++)
        x[i] = i < DISTINCT ? number(seed, i) : x[i - DISTINCT];
    return x;
}

static double worse(double error, double x, double expected, double size)
{
    double e = fabs(x - expected) / size;
    return isnan(e) || e > error ? (isnan(e) ? INFINITY : e) : error;
}

static void begin(struct bench_case *c, const char *operation, struct device *dev, int copies)
{
    *c = (struct bench_case){.operation = operation, .cpu = kernels_cpu(), .dev = dev, .copies = copies};
}

static int memory_short(const struct bench_case *c, struct error *err)
{
    return fail(err, "no memory for the inputs of %s %s", c->operation, c->shape);
}

void bench_case_rows(struct bench_case *c, int n)
{
    c->n = n;
    c->set_rows(c);
}

void bench_case_close(struct bench_case *c)
{
    for (int i = 0; i < BENCH_COPIES && c->cpu; i++)
        c->cpu->matrix_destroy(c->dev, c->weights[i]);
    if (c->kv)
        c->cpu->kv_destroy(c->dev, c->kv);
    void *all[] = {c->stored, c->first, c->last, c->slot, c->sequence, c->pages};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    float *device[] = {c->x, c->y, c->weight};
    for (size_t i = 0; i < 3 && c->cpu; i++)
        c->cpu->free(c->dev, device[i]);
}

static void linear_rows(struct bench_case *c)
{
    c->bytes = (double)c->rows * c->cols * 2;
    c->flop = 2.0 * c->n * c->rows * c->cols;
}

static void linear_run(struct bench_case *c, int copy)
{
    struct rows n = c->n > 17 ? (struct rows){.prompt = c->n} : (struct rows){.generated = c->n};
    c->cpu->linear(c->dev, c->y, c->x, n, c->weights[copy], NULL);
}

/* Sixteen outputs of the first and of the last row. */
static double linear_check(const struct bench_case *c)
{
    double error = 0;
    for (int i = 0; i < 32; i++) {
        size_t row = i < 16 ? 0 : (size_t)c->n - 1, o = (size_t)(c->rows - 1) * (size_t)(i % 16) / 15, cols = (size_t)c->cols;
        double sum = 0, size = 0;
        for (size_t k = 0; k < cols; k++) {
            double product = (double)c->x[row * cols + k] * (double)bf16_to_f32(c->stored[o * cols + k]);
            sum += product;
            size += fabs(product);
        }
        error = worse(error, (double)c->y[row * (size_t)c->rows + o], sum, size);
    }
    return error;
}

int bench_linear(struct bench_case *c, struct device *dev, int rows, int cols, int max_n, struct error *err)
{
    size_t count = (size_t)rows * (size_t)cols;
    begin(c, "linear", dev, 4); /* of 32 MiB and more each: far beyond a cache */
    snprintf(c->shape, sizeof c->shape, "%d x %d bf16", rows, cols);
    c->rows = rows;
    c->cols = cols;
    c->set_rows = linear_rows;
    c->run = linear_run;
    c->check = linear_check;
    c->tolerance = 0x1p-8; /* activations may be rounded to bf16 */
    c->stored = malloc(count * sizeof *c->stored);
    c->x = numbers(c, 1, (size_t)max_n * (size_t)cols);
    c->y = c->cpu->alloc(dev, (size_t)max_n * (size_t)rows * sizeof *c->y);
    if (!c->stored || !c->x || !c->y)
        return memory_short(c, err);
    for (size_t i = 0; i < count; i++)
        c->stored[i] = i < 1 << 20 ? bf16_from_f32(number(2, i)) : c->stored[i - (1 << 20) + 1];
    for (int i = 0; i < c->copies; i++) {
        if (!(c->weights[i] = c->cpu->matrix_create(dev, DTYPE_BF16, rows, cols, err)))
            return -1;
        c->cpu->matrix_write(dev, c->weights[i], 0, rows, c->stored);
    }
    return 0;
}

/* One query head over keys [0, last), rows `stride` apart: largest error relative to the values' magnitude, 1. */
static double head_error(const float *y, const float *q, const float *k, const float *v, int last, int stride, int width)
{
    double *weights = mem_new((size_t)last, sizeof *weights), total = 0, error = 0;
    for (int p = 0; p < last; p++) {
        for (int j = 0; j < width; j++)
            weights[p] += (double)q[j] * (double)k[(size_t)p * (size_t)stride + (size_t)j];
        total += weights[p] = exp(weights[p] / sqrt(width)); /* scores are a few units: no overflow */
    }
    for (int j = 0; j < width; j++) {
        double sum = 0;
        for (int p = 0; p < last; p++)
            sum += weights[p] / total * (double)v[(size_t)p * (size_t)stride + (size_t)j];
        error = worse(error, (double)y[j], sum, 1);
    }
    free(weights);
    return error;
}

static void cached_rows(struct bench_case *c)
{
    c->bytes = 2.0 * c->cols * KEY_HEADS * WIDTH * sizeof(float);
    c->flop = 4.0 * c->n * c->cols * HEADS * WIDTH;
}

static void cached_run(struct bench_case *c, int copy)
{
    struct kv_rows rows = {c->slot, c->sequence, c->pages, c->cols / PAGE};
    struct attention a = {HEADS, KEY_HEADS, WIDTH, 1.0f / sqrtf(WIDTH), 0, c->first, c->last};
    c->cpu->attend_cached(c->dev, c->y, c->x, c->n, HEADS * WIDTH, c->kv, copy, &rows, &a);
}

/* The first row's first head and the last row's last one. Keys and values follow the queries in x. */
static double cached_check(const struct bench_case *c)
{
    size_t keys = (size_t)c->rows * HEADS * WIDTH, count = (size_t)c->cols * KEY_HEADS * WIDTH, row = (size_t)c->n - 1;
    size_t query = (row * HEADS + HEADS - 1) * WIDTH, head = (KEY_HEADS - 1) * WIDTH;
    double first = head_error(c->y, c->x, c->x + keys, c->x + keys + count, c->last[0], KEY_HEADS * WIDTH, WIDTH);
    double last = head_error(c->y + query, c->x + query, c->x + keys + head, c->x + keys + count + head, c->last[row],
                             KEY_HEADS * WIDTH, WIDTH);
    return first > last ? first : last;
}

static void indices_make(struct bench_case *c, int count)
{
    c->first = mem_new((size_t)count, sizeof *c->first);
    c->last = mem_new((size_t)count, sizeof *c->last);
    c->slot = mem_new((size_t)count, sizeof *c->slot);
    c->sequence = mem_new((size_t)count, sizeof *c->sequence);
    c->pages = mem_new((size_t)count, sizeof *c->pages);
    for (int i = 0; i < count; i++) {
        c->slot[i] = i;
        c->pages[i] = i;
    }
}

int bench_attend_cached(struct bench_case *c, struct device *dev, int positions, int max_n, struct error *err)
{
    begin(c, "attend_cached", dev, LAYERS);
    snprintf(c->shape, sizeof c->shape, "%d/%d heads of %d, %d positions", HEADS, KEY_HEADS, WIDTH, positions);
    c->rows = max_n;
    c->cols = positions;
    c->set_rows = cached_rows;
    c->run = cached_run;
    c->check = cached_check;
    c->tolerance = 1e-5;
    size_t queries = (size_t)max_n * HEADS * WIDTH, keys = (size_t)positions * KEY_HEADS * WIDTH;
    c->kv = c->cpu->kv_create(dev, LAYERS, positions / PAGE, PAGE, KEY_HEADS, WIDTH, err);
    if (!c->kv)
        return -1;
    c->x = numbers(c, 3, queries + 2 * keys);
    c->y = c->cpu->alloc(dev, queries * sizeof *c->y);
    if (!c->x || !c->y)
        return memory_short(c, err);
    indices_make(c, positions);
    struct kv_rows rows = {c->slot, c->sequence, c->pages, positions / PAGE};
    for (int layer = 0; layer < LAYERS; layer++)
        c->cpu->kv_append(dev, c->kv, layer, &rows, positions, c->x + queries, c->x + queries + keys, KEY_HEADS * WIDTH);
    for (int r = 0; r < max_n; r++)
        c->last[r] = positions - max_n + r + 1;
    return 0;
}

static void patches_rows(struct bench_case *c)
{
    c->bytes = 3.0 * c->n * PATCH_HEADS * PATCH_WIDTH * sizeof(float);
    c->flop = 4.0 * c->n * c->n * PATCH_HEADS * PATCH_WIDTH;
    for (int r = 0; r < c->n; r++)
        c->last[r] = c->n;
}

static void patches_run(struct bench_case *c, int copy)
{
    (void)copy;
    const int width = PATCH_HEADS * PATCH_WIDTH;
    struct attention a = {PATCH_HEADS, PATCH_HEADS, PATCH_WIDTH, 1.0f / sqrtf(PATCH_WIDTH), 0, c->first, c->last};
    c->cpu->attend_rows(c->dev, c->y, c->x, c->x + width, c->x + 2 * width, c->n, 3 * width, &a);
}

static double patches_check(const struct bench_case *c)
{
    size_t width = PATCH_HEADS * PATCH_WIDTH, row = (size_t)c->n - 1, head = (PATCH_HEADS - 1) * PATCH_WIDTH;
    return head_error(c->y + row * width + head, c->x + row * 3 * width + head, c->x + width + head, c->x + 2 * width + head, c->n,
                      (int)(3 * width), PATCH_WIDTH);
}

int bench_attend_rows(struct bench_case *c, struct device *dev, int max_n, struct error *err)
{
    begin(c, "attend_rows", dev, 1);
    snprintf(c->shape, sizeof c->shape, "%d heads of %d, a picture's patches", PATCH_HEADS, PATCH_WIDTH);
    c->set_rows = patches_rows;
    c->run = patches_run;
    c->check = patches_check;
    c->tolerance = 1e-5;
    size_t count = (size_t)max_n * PATCH_HEADS * PATCH_WIDTH;
    c->x = numbers(c, 4, 3 * count);
    c->y = c->cpu->alloc(dev, count * sizeof *c->y);
    if (!c->x || !c->y)
        return memory_short(c, err);
    indices_make(c, max_n);
    return 0;
}

static void norm_rows(struct bench_case *c)
{
    c->bytes = 2.0 * c->n * c->cols * sizeof(float);
    c->flop = 4.0 * c->n * c->cols;
}

static void norm_run(struct bench_case *c, int copy)
{
    (void)copy;
    c->cpu->rms_norm(c->dev, c->y, c->x, c->n, c->cols, c->cols, c->weight, 0.0f, 1e-6f);
}

static double norm_check(const struct bench_case *c)
{
    const float *x = c->x + (size_t)(c->n - 1) * (size_t)c->cols, *y = c->y + (size_t)(c->n - 1) * (size_t)c->cols;
    double squares = 0, error = 0;
    for (int i = 0; i < c->cols; i++)
        squares += (double)x[i] * (double)x[i];
    for (int i = 0; i < c->cols; i++)
        error = worse(error, (double)y[i], (double)x[i] / sqrt(squares / c->cols + 1e-6) * (double)c->weight[i], 1);
    return error;
}

int bench_rms_norm(struct bench_case *c, struct device *dev, int d, int max_n, struct error *err)
{
    begin(c, "rms_norm", dev, 1);
    snprintf(c->shape, sizeof c->shape, "rows of %d", d);
    c->cols = d;
    c->set_rows = norm_rows;
    c->run = norm_run;
    c->check = norm_check;
    c->tolerance = 1e-5;
    c->x = numbers(c, 5, (size_t)max_n * (size_t)d);
    c->weight = numbers(c, 6, (size_t)d);
    c->y = c->cpu->alloc(dev, (size_t)max_n * (size_t)d * sizeof *c->y);
    return c->x && c->weight && c->y ? 0 : memory_short(c, err);
}
