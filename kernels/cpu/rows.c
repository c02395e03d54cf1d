/* rows.c - gives rows, or pieces of them where numbers do not meet, to the threads */
#include "kernels/cpu/rows.h"

#include <math.h>
#include <string.h>

enum { PIECE = 4096 }; /* numbers of an item where each number stands alone */

struct rows_job {
    const struct device *dev;
    float *y;
    const float *x, *weight, *bias, *cosine, *sine;
    const int32_t *index;
    int32_t *id;
    int d, stride, heads, pieces;
    float offset, eps, factor;
    size_t count;
    void (*gate)(float *y, const float *gate, const float *up, int d);
    void (*in_place)(float *x, size_t count);
};

static size_t at(int row, int stride)
{
    return (size_t)row * (size_t)stride;
}

static void rms_norm_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    j->dev->simd->rms_norm(j->y + at(r, j->d), j->x + at(r, j->stride), j->d, j->weight, j->offset, j->eps);
}

void rows_rms_norm(struct device *dev, float *y, const float *x, int n, int d, int stride, const float *weight, float offset,
                   float eps)
{
    struct rows_job job = {.dev = dev, .y = y, .x = x, .d = d, .stride = stride, .weight = weight, .offset = offset, .eps = eps};
    /* In place with a stride, a row's result may lie where another's input does: then their order matters. */
    bool moves = y == x && stride != d;
    device_run(dev, n, moves ? 0 : at(n, d), rms_norm_row, &job);
}

static void rms_norm_heads_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    float *head = j->y + at(r, j->stride);
    for (int i = 0; i < j->heads; i++, head += j->d)
        j->dev->simd->rms_norm(head, head, j->d, j->weight, j->offset, j->eps);
}

void rows_rms_norm_heads(struct device *dev, float *x, int n, int heads, int c, int stride, const float *weight, float offset,
                         float eps)
{
    struct rows_job job = {.dev = dev, .y = x, .d = c, .heads = heads, .stride = stride};
    job.weight = weight;
    job.offset = offset;
    job.eps = eps;
    device_run(dev, n, at(n, heads * c), rms_norm_heads_row, &job);
}

static void layer_norm_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    j->dev->simd->layer_norm(j->y + at(r, j->d), j->x + at(r, j->d), j->d, j->weight, j->bias, j->eps);
}

void rows_layer_norm(struct device *dev, float *y, const float *x, int n, int d, const float *weight, const float *bias, float eps)
{
    struct rows_job job = {.dev = dev, .y = y, .x = x, .d = d, .weight = weight, .bias = bias, .eps = eps};
    device_run(dev, n, at(n, d), layer_norm_row, &job);
}

static void rope_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    j->dev->simd->rope(j->y + at(r, j->stride), j->heads, j->d, j->cosine + at(r, j->d / 2), j->sine + at(r, j->d / 2));
}

void rows_rope(struct device *dev, float *x, int n, int heads, int c, int stride, const float *cosine, const float *sine)
{
    struct rows_job job = {.dev = dev, .y = x, .d = c, .heads = heads, .stride = stride, .cosine = cosine, .sine = sine};
    device_run(dev, n, at(n, heads * c), rope_row, &job);
}

static void gate_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    int row = item / j->pieces, first = item % j->pieces * PIECE, count = j->d - first < PIECE ? j->d - first : PIECE;
    const float *x = j->x + 2 * at(row, j->d) + first;
    j->gate(j->y + at(row, j->d) + first, x, x + j->d, count);
}

static void gate_run(struct device *dev, struct rows_job job, int n)
{
    job.pieces = (job.d + PIECE - 1) / PIECE;
    device_run(dev, n * job.pieces, at(n, job.d) * 4, gate_piece, &job);
}

void rows_silu_gate(struct device *dev, float *y, const float *x, int n, int d)
{
    gate_run(dev, (struct rows_job){.y = y, .x = x, .d = d, .gate = dev->simd->silu_gate}, n);
}

void rows_gelu_tanh_gate(struct device *dev, float *y, const float *x, int n, int d)
{
    gate_run(dev, (struct rows_job){.y = y, .x = x, .d = d, .gate = dev->simd->gelu_tanh_gate}, n);
}

static size_t piece_count(const struct rows_job *j, size_t first)
{
    return j->count - first < PIECE ? j->count - first : PIECE;
}

static int pieces_of(size_t count)
{
    return (int)((count + PIECE - 1) / PIECE);
}

static void in_place_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->in_place(j->y + first, piece_count(j, first));
}

void rows_gelu_erf(struct device *dev, float *x, size_t count)
{
    struct rows_job job = {.y = x, .count = count, .in_place = dev->simd->gelu_erf};
    device_run(dev, pieces_of(count), count * 8, in_place_piece, &job);
}

void rows_gelu_tanh(struct device *dev, float *x, size_t count)
{
    struct rows_job job = {.y = x, .count = count, .in_place = dev->simd->gelu_tanh};
    device_run(dev, pieces_of(count), count * 4, in_place_piece, &job);
}

static void add_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->dev->simd->add(j->y + first, j->x + first, piece_count(j, first));
}

void rows_add(struct device *dev, float *x, const float *y, size_t count)
{
    struct rows_job job = {.dev = dev, .y = x, .x = y, .count = count};
    device_run(dev, pieces_of(count), count, add_piece, &job);
}

/* What follows is one operation for each number: its bits cannot depend on how numbers are cut into pieces. */
static void scale_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    size_t first = (size_t)item * PIECE, count = piece_count(j, first);
    for (size_t i = first; i < first + count; i++)
        j->y[i] *= j->factor;
}

void rows_scale(struct device *dev, float *x, float factor, size_t count)
{
    struct rows_job job = {.y = x, .count = count, .factor = factor};
    device_run(dev, pieces_of(count), count, scale_piece, &job);
}

static void soft_cap_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    size_t first = (size_t)item * PIECE, count = piece_count(j, first);
    for (size_t i = first; i < first + count; i++)
        j->y[i] = j->factor * tanhf(j->y[i] / j->factor);
}

void rows_soft_cap(struct device *dev, float *x, float cap, size_t count)
{
    struct rows_job job = {.y = x, .count = count, .factor = cap};
    device_run(dev, pieces_of(count), count * 16, soft_cap_piece, &job);
}

static void mean_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    const float *x = j->x + at(r, j->stride * j->d);
    float *y = j->y + at(r, j->d);
    for (int i = 0; i < j->d; i++) {
        float sum = 0;
        for (int k = 0; k < j->stride; k++)
            sum += x[at(k, j->d) + (size_t)i];
        y[i] = sum / (float)j->stride;
    }
}

void rows_mean(struct device *dev, float *y, const float *x, int n, int group, int d)
{
    struct rows_job job = {.y = y, .x = x, .d = d, .stride = group};
    device_run(dev, n, at(n, group * d), mean_row, &job);
}

void rows_gather(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d)
{
    (void)dev;
    for (int r = 0; r < n; r++)
        memcpy(y + at(r, d), x + at(index[r], d), (size_t)d * sizeof *y);
}

void rows_scatter(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d)
{
    (void)dev;
    for (int r = 0; r < n; r++)
        memcpy(y + at(index[r], d), x + at(r, d), (size_t)d * sizeof *y);
}

static void best_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct rows_job *j = arg;
    const float *x = j->x + at(r, j->d);
    j->id[r] = j->dev->simd->best(x, j->d);
    j->y[r] = j->id[r] < 0 ? NAN : x[j->id[r]];
}

void rows_best(struct device *dev, float *value, int32_t *id, const float *x, int n, int d)
{
    struct rows_job job = {.dev = dev, .y = value, .id = id, .x = x, .d = d};
    device_run(dev, n, at(n, d), best_row, &job);
}

/* seen: a bit per column, zeros before and after. */
static void penalize_row(float *x, int d, const int32_t *ids, int count, float penalty, uint8_t *seen)
{
    for (int i = 0; i < count; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= d || seen[id / 8] & 1 << id % 8)
            continue;
        seen[id / 8] |= (uint8_t)(1 << id % 8);
        x[id] = x[id] > 0.0f ? x[id] / penalty : x[id] * penalty;
    }
    for (int i = 0; i < count; i++)
        if (ids[i] >= 0 && ids[i] < d)
            seen[ids[i] / 8] = 0;
}

void rows_penalize(struct device *dev, float *x, int n, int d, const int32_t *ids, const int32_t *count, int ids_stride,
                   const float *penalty)
{
    size_t bytes = (size_t)d / 8 + 1;
    uint8_t *seen = device_scratch(dev, SCRATCH_PLAN, bytes);
    memset(seen, 0, bytes);
    for (int r = 0; r < n; r++)
        penalize_row(x + at(r, d), d, ids + at(r, ids_stride), count[r], penalty[r], seen);
}
