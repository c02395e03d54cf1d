/* grad_rows.c - gives rows, columns or pieces to the threads: what of the backward pass and the optimizer is no product.
 *
 * A sum over rows belongs to one thread for a few columns each: it runs in the order of the rows, whatever the threads. */
#include "kernels/cpu/grad.h"

#include <string.h>

enum {
    PIECE = 4096, /* numbers of an item where each number stands alone */
    COLUMNS = 64  /* of an item that sums over rows: whole cache lines */
};

struct grad_job {
    struct device *dev;
    float *dx, *sum, *scale, *m, *v;
    uint16_t *narrow;
    double *squares;
    const float *dy, *x, *weight;
    const int32_t *index;
    const struct grad_weights *w;
    const struct adamw *adamw;
    void (*gate)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int d);
    int n, d, heads, stride;
    float offset, eps, cap;
    size_t count;
};

static size_t at(int row, int stride)
{
    return (size_t)row * (size_t)stride;
}

static int pieces_of(size_t count)
{
    return (int)((count + PIECE - 1) / PIECE);
}

static size_t piece_count(const struct grad_job *j, size_t first)
{
    return j->count - first < PIECE ? j->count - first : PIECE;
}

static int column_items(int d)
{
    return (d + COLUMNS - 1) / COLUMNS;
}

static size_t column_count(const struct grad_job *j, int first)
{
    return (size_t)(j->d - first < COLUMNS ? j->d - first : COLUMNS);
}

void grad_zero(struct device *dev, float *x, size_t count)
{
    (void)dev;
    memset(x, 0, count * sizeof *x);
}

static void narrow_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * PIECE, count = piece_count(j, first);
    for (size_t i = first; i < first + count; i++)
        j->narrow[i] = bf16_from_f32(j->x[i]);
}

void grad_narrow(struct device *dev, uint16_t *y, const float *x, size_t count)
{
    struct grad_job job = {.narrow = y, .x = x, .count = count};
    device_run(dev, pieces_of(count), count * 2, narrow_piece, &job);
}

static void embed_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t from = at(j->index[r], j->d);
    const char *row = (const char *)j->w->p + from * dtype_size(j->w->dtype);
    dtype_to_f32(j->dx + at(r, j->d), row, j->w->dtype, (size_t)j->d);
}

void grad_embed(struct device *dev, float *y, const int32_t *ids, int n, const struct grad_weights *w)
{
    struct grad_job job = {.dx = y, .index = ids, .w = w, .d = w->cols};
    device_run(dev, n, at(n, w->cols), embed_row, &job);
}

static void scatter_columns(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * COLUMNS, count = column_count(j, (int)first);
    for (int r = 0; r < j->n; r++)
        if (j->index[r] >= 0)
            j->dev->simd->add(j->sum + at(j->index[r], j->d) + first, j->dy + at(r, j->d) + first, count);
}

void grad_scatter_add(struct device *dev, float *dw, const float *dx, const int32_t *index, int n, int d)
{
    struct grad_job job = {.dev = dev, .sum = dw, .dy = dx, .index = index, .n = n, .d = d};
    device_run(dev, column_items(d), at(n, d), scatter_columns, &job);
}

static void sum_columns(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * COLUMNS;
    j->dev->simd->rows_sum(j->sum + first, j->dy + first, j->x ? j->x + first : NULL, j->scale, j->n, (size_t)j->d,
                           column_count(j, (int)first));
}

void grad_rows_sum(struct device *dev, float *sum, const float *x, int n, int d)
{
    struct grad_job job = {.dev = dev, .sum = sum, .dy = x, .n = n, .d = d};
    device_run(dev, column_items(d), at(n, d), sum_columns, &job);
}

static void rms_norm_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t row = at(r, j->d);
    j->scale[r] = j->dev->simd->rms_norm_backward(j->dx ? j->dx + row : NULL, true, j->dy + row, j->x + row, j->d, j->weight,
                                                  j->offset, j->eps);
}

void grad_rms_norm(struct device *dev, float *dx, float *dw, const float *dy, const float *x, int n, int d, const float *weight,
                   float offset, float eps)
{
    struct grad_job job = {
        .dev = dev, .dx = dx, .sum = dw, .dy = dy, .x = x, .n = n, .d = d, .weight = weight, .offset = offset, .eps = eps};
    job.scale = device_scratch(dev, SCRATCH_PLAN, (size_t)(n ? n : 1) * sizeof *job.scale);
    device_run(dev, n, at(n, d) * 2, rms_norm_row, &job);
    if (dw)
        device_run(dev, column_items(d), at(n, d), sum_columns, &job);
}

/* Scales (heads, n), and where it is wanted the gradient in place. */
static void rms_norm_heads_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    for (int head = 0; head < j->heads; head++) {
        size_t from = at(r, j->stride) + at(head, j->d);
        j->scale[at(head, j->n) + (size_t)r] = j->dev->simd->rms_norm_backward(j->dx ? j->dx + from : NULL, false, j->dy + from,
                                                                               j->x + from, j->d, j->weight, j->offset, j->eps);
    }
}

static void sum_heads(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * COLUMNS;
    for (int head = 0; head < j->heads; head++) {
        size_t from = at(head, j->d) + first;
        j->dev->simd->rows_sum(j->sum + first, j->dy + from, j->x + from, j->scale + at(head, j->n), j->n, (size_t)j->stride,
                               column_count(j, (int)first));
    }
}

/* The weight's gradient wants dy, which the row's takes the place of: scales and sums come first. */
void grad_rms_norm_heads(struct device *dev, float *dx, float *dw, const float *x, int n, int heads, int c, int stride,
                         const float *weight, float offset, float eps)
{
    struct grad_job job = {.dev = dev, .sum = dw, .dy = dx, .x = x, .n = n, .d = c, .heads = heads, .stride = stride};
    job.weight = weight;
    job.offset = offset;
    job.eps = eps;
    job.scale = device_scratch(dev, SCRATCH_PLAN, (at(heads, n) + 1) * sizeof *job.scale);
    if (dw) {
        device_run(dev, n, at(n, heads * c) * 2, rms_norm_heads_row, &job);
        device_run(dev, column_items(c), at(n, heads * c), sum_heads, &job);
    }
    job.dx = dx;
    device_run(dev, n, at(n, heads * c) * 2, rms_norm_heads_row, &job);
}

static void gate_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    float *dx = j->dx + 2 * at(r, j->d);
    const float *x = j->x + 2 * at(r, j->d);
    j->gate(dx, dx + j->d, j->dy + at(r, j->d), x, x + j->d, j->d);
}

void grad_silu_gate(struct device *dev, float *dx, const float *dy, const float *x, int n, int d)
{
    struct grad_job job = {.dx = dx, .dy = dy, .x = x, .d = d, .gate = dev->simd->silu_gate_backward};
    device_run(dev, n, at(n, d) * 8, gate_row, &job);
}

void grad_gelu_tanh_gate(struct device *dev, float *dx, const float *dy, const float *x, int n, int d)
{
    struct grad_job job = {.dx = dx, .dy = dy, .x = x, .d = d, .gate = dev->simd->gelu_tanh_gate_backward};
    device_run(dev, n, at(n, d) * 8, gate_row, &job);
}

static void gelu_erf_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->dev->simd->gelu_erf_backward(j->dx + first, j->dy + first, j->x + first, piece_count(j, first));
}

void grad_gelu_erf(struct device *dev, float *dx, const float *dy, const float *x, size_t count)
{
    struct grad_job job = {.dev = dev, .dx = dx, .dy = dy, .x = x, .count = count};
    device_run(dev, pieces_of(count), count * 12, gelu_erf_piece, &job);
}

static void soft_cap_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->dev->simd->soft_cap_backward(j->dx + first, j->x + first, j->cap, piece_count(j, first));
}

void grad_soft_cap(struct device *dev, float *dx, const float *y, float cap, size_t count)
{
    struct grad_job job = {.dev = dev, .dx = dx, .x = y, .count = count, .cap = cap};
    device_run(dev, pieces_of(count), count * 2, soft_cap_piece, &job);
}

static void square_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->squares[item] = j->dev->simd->square_sum(j->x + first, piece_count(j, first));
}

double grad_square_sum(struct device *dev, const float *x, size_t count)
{
    struct grad_job job = {.dev = dev, .x = x, .count = count};
    int pieces = pieces_of(count);
    double sum = 0;
    job.squares = device_scratch(dev, SCRATCH_PLAN, (size_t)(pieces ? pieces : 1) * sizeof *job.squares);
    device_run(dev, pieces, count, square_piece, &job);
    for (int i = 0; i < pieces; i++)
        sum += job.squares[i];
    return sum;
}

static void adamw_piece(void *arg, int item, int worker)
{
    (void)worker;
    const struct grad_job *j = arg;
    size_t first = (size_t)item * PIECE;
    j->dev->simd->adamw(j->dx + first, j->m + first, j->v + first, j->dy + first, piece_count(j, first), j->adamw);
}

void grad_adamw(struct device *dev, float *w, float *m, float *v, const float *g, size_t count, const struct adamw *options)
{
    struct grad_job job = {.dev = dev, .dx = w, .m = m, .v = v, .dy = g, .count = count, .adamw = options};
    device_run(dev, pieces_of(count), count * 4, adamw_piece, &job);
}
