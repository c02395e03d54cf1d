/* grad_attend.c - the backward pass of attention, a segment and a key head at a time.
 *
 * Scores are computed again, a block of queries over the keys that it sees (Dao et al.: "FlashAttention", 2022, keeps them out of
 * memory in the same way). With P = softmax(scale Q K^T), Y = P V: dV = P^T dY, dP = dY V^T, dS = P (dP - rows of dY Y) scale,
 * dQ = dS K, dK = dS^T Q; where scores have a cap, dS takes its slope too. The sums over queries run in the order of blocks, then
 * of the heads that share the key head. */
#include "kernels/cpu/grad.h"

#include <string.h>

enum { QUERY_ROWS = 8 * TILE_ROWS };

struct attend_job {
    struct device *dev;
    float *dq, *dk, *dv;
    const float *dy, *y, *q, *k, *v;
    size_t stride;
    struct attention a;
    const int32_t *bound;
};

/* One segment and key head: its rows are [row, row + n). The packed factors of the four products, and two blocks of scores. */
struct unit {
    const struct attend_job *j;
    int row, n, key_head;
    float *keys_across, *values_across; /* (c, n) */
    float *keys;                        /* (n, c) */
    float *queries, *slopes;            /* (QUERY_ROWS, c) of q and dy */
    float *p, *dp;                      /* (QUERY_ROWS, n) */
    float *slope;                       /* (QUERY_ROWS, n) where scores have a cap: its derivative */
};

static size_t padded(int columns)
{
    return ((size_t)columns + 15) / 16 * 16;
}

static size_t unit_floats(int n, const struct attention *a)
{
    size_t width = padded(a->c), keys = padded(n), blocks = a->cap > 0 ? 3 : 2;
    return 2 * (size_t)a->c * keys + (size_t)n * width + 2 * QUERY_ROWS * width + blocks * QUERY_ROWS * keys;
}

static struct unit unit_at(const struct attend_job *j, int segment, int key_head, float *scratch)
{
    struct unit u = {.j = j, .row = j->bound[segment], .key_head = key_head};
    u.n = j->bound[segment + 1] - u.row;
    size_t width = padded(j->a.c), keys = padded(u.n);
    u.keys_across = scratch;
    u.values_across = u.keys_across + (size_t)j->a.c * keys;
    u.keys = u.values_across + (size_t)j->a.c * keys;
    u.queries = u.keys + (size_t)u.n * width;
    u.slopes = u.queries + QUERY_ROWS * width;
    u.p = u.slopes + QUERY_ROWS * width;
    u.dp = u.p + QUERY_ROWS * keys;
    u.slope = u.dp + QUERY_ROWS * keys;
    return u;
}

/* b (rows, columns) in panels, from element (k, column) at from[k * row_step + column * column_step]. */
static void pack(const struct device *dev, float *b, int rows, int columns, const float *from, size_t row_step, size_t column_step)
{
    const struct product_source source = {.p = from, .dtype = DTYPE_F32, .row_step = row_step, .column_step = column_step};
    int panels = dev->simd->product_panels(columns);
    for (int panel = 0; panel < panels; panel++)
        dev->simd->product_pack(b, rows, columns, panel, 0, rows, &source);
}

/* Keys of a unit that a block of queries sees: [from, to), from at the beginning of a panel. */
struct range {
    int from, to;
};

/* Columns [from, to) of job's c (m rows); whole panels are computed, and what stands behind whole ones goes together. */
static void run(const struct device *dev, const struct product_job *job, int m, struct range columns)
{
    int panel = dev->simd->panel, most = (columns.to + panel - 1) / panel, whole = job->columns / panel;
    dev->simd->product_part(job, 0, m, columns.from / panel, most <= whole ? most : dev->simd->product_panels(job->columns));
}

/* Scores become probabilities, zero where a row sees no key; keys out of the range are left alone. */
static void rows_softmax(const struct unit *u, int row, int m, struct range seen)
{
    const struct attention *a = &u->j->a;
    const struct simd *simd = u->j->dev->simd;
    for (int i = 0; i < m; i++) {
        size_t at = (size_t)i * padded(u->n);
        float *p = u->p + at;
        int from = a->first[u->row + row + i] - u->row, to = a->last[u->row + row + i] - u->row;
        memset(p + seen.from, 0, (size_t)(from - seen.from) * sizeof *p);
        if (a->cap > 0) {
            memset(u->slope + at + seen.from, 0, (size_t)(seen.to - seen.from) * sizeof *u->slope);
            simd->cap_scores(p + from, u->slope + at + from, a->scale, a->cap, (size_t)(to - from));
        }
        simd->softmax(p + from, to - from, a->cap > 0 ? 1.0f : a->scale);
        memset(p + to, 0, (size_t)(seen.to - to) * sizeof *p);
    }
}

/* dp <- dS */
static void rows_slopes(const struct unit *u, int m, struct range seen, const float *dy, const float *y)
{
    const struct attention *a = &u->j->a;
    const struct simd *simd = u->j->dev->simd;
    size_t count = (size_t)(seen.to - seen.from);
    for (int i = 0; i < m; i++) {
        size_t row = (size_t)i * (size_t)(a->h * a->c), at = (size_t)i * padded(u->n) + (size_t)seen.from;
        float mean = simd->dot(dy + row, y + row, (size_t)a->c);
        simd->softmax_backward(u->dp + at, u->p + at, mean, a->cap > 0 ? 1.0f : a->scale, count);
        if (a->cap > 0)
            simd->multiply(u->dp + at, u->slope + at, count);
    }
}

/* The queries [row, row + m) of one head. */
static void block_backward(const struct unit *u, int row, int m, struct range seen, int head)
{
    const struct attend_job *j = u->j;
    const struct device *dev = j->dev;
    const struct range all = {0, j->a.c};
    int c = j->a.c, count = seen.to - seen.from;
    size_t wide = (size_t)(j->a.h * c), keys = padded(u->n);
    size_t key_at = (size_t)(u->row + seen.from) * j->stride + (size_t)(u->key_head * c);
    size_t q_at = (size_t)(u->row + row) * j->stride + (size_t)(head * c),
           y_at = (size_t)(u->row + row) * wide + (size_t)(head * c);
    const float *q = j->q + q_at, *dy = j->dy + y_at;

    struct product_job job = {.c = u->p, .c_stride = keys, .columns = u->n, .k = c, .b_rows = c, .a_col = 1};
    job.a = q, job.a_row = j->stride, job.b = u->keys_across;
    run(dev, &job, m, seen);
    rows_softmax(u, row, m, seen);
    job.c = u->dp, job.a = dy, job.a_row = wide, job.b = u->values_across;
    run(dev, &job, m, seen);
    rows_slopes(u, m, seen, dy, j->y + y_at);

    job = (struct product_job){.c = j->dq + q_at, .c_stride = j->stride, .columns = c, .k = count, .b_rows = u->n, .b = u->keys};
    job.a = u->dp + seen.from, job.a_row = keys, job.a_col = 1, job.b_row = seen.from;
    run(dev, &job, m, all);

    pack(dev, u->queries, m, c, q, j->stride, 1);
    pack(dev, u->slopes, m, c, dy, wide, 1);
    job = (struct product_job){.c_stride = j->stride, .columns = c, .k = m, .b_rows = m, .a_row = 1, .a_col = keys, .add = true};
    job.c = j->dk + key_at, job.a = u->dp + seen.from, job.b = u->queries;
    run(dev, &job, count, all);
    job.c = j->dv + key_at, job.a = u->p + seen.from, job.b = u->slopes;
    run(dev, &job, count, all);
}

static struct range keys_seen(const struct unit *u, int row, int m)
{
    const struct attention *a = &u->j->a;
    struct range seen = {u->n, 0};
    for (int i = u->row + row; i < u->row + row + m; i++) {
        seen.from = a->first[i] - u->row < seen.from ? a->first[i] - u->row : seen.from;
        seen.to = a->last[i] - u->row > seen.to ? a->last[i] - u->row : seen.to;
    }
    seen.from -= seen.from % u->j->dev->simd->panel;
    return seen;
}

static void unit_run(void *arg, int item, int worker)
{
    const struct attend_job *j = arg;
    struct unit u = unit_at(j, item / j->a.g, item % j->a.g, device_worker(j->dev, worker));
    int c = j->a.c, group = j->a.h / j->a.g;
    size_t key_at = (size_t)u.row * j->stride + (size_t)(u.key_head * c);
    pack(j->dev, u.keys_across, c, u.n, j->k + key_at, 1, j->stride);
    pack(j->dev, u.values_across, c, u.n, j->v + key_at, 1, j->stride);
    pack(j->dev, u.keys, u.n, c, j->k + key_at, j->stride, 1);
    for (int r = 0; r < u.n; r++) {
        memset(j->dk + key_at + (size_t)r * j->stride, 0, (size_t)c * sizeof(float));
        memset(j->dv + key_at + (size_t)r * j->stride, 0, (size_t)c * sizeof(float));
    }
    for (int row = 0; row < u.n; row += QUERY_ROWS) {
        int m = u.n - row < QUERY_ROWS ? u.n - row : QUERY_ROWS;
        struct range seen = keys_seen(&u, row, m);
        for (int head = u.key_head * group; head < (u.key_head + 1) * group; head++)
            block_backward(&u, row, m, seen, head);
    }
}

void grad_attend_rows(struct device *dev, float *dq, float *dk, float *dv, const float *dy, const float *y, const float *q,
                      const float *k, const float *v, int n, int stride, const struct attention *a,
                      const struct grad_segments *segments)
{
    struct attend_job job = {.dev = dev,
                             .dq = dq,
                             .dk = dk,
                             .dv = dv,
                             .dy = dy,
                             .y = y,
                             .q = q,
                             .k = k,
                             .v = v,
                             .stride = (size_t)stride,
                             .a = *a,
                             .bound = segments->bound};
    int longest = 1;
    for (int s = 0; s < segments->n; s++) {
        int rows = segments->bound[s + 1] - segments->bound[s];
        longest = rows > longest ? rows : longest;
    }
    device_reserve(dev, unit_floats(longest, a));
    device_run(dev, segments->n * a->g, (size_t)n * (size_t)(longest * a->h * a->c), unit_run, &job);
}
