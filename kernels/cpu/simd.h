/* simd.h - the inner loops that exist once per instruction set, and the jobs that they work on.
 *
 * Each loop computes whole rows, heads or output panels by itself; who calls it for which of them is decided in the files named
 * after the operations. simd_impl.h writes them once; simd_<set>.c names the vectors of its set and includes it. */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

struct adamw; /* kernels/grad.h */

enum {
    TILE_ROWS = 6,        /* rows of x whose sums with one panel stay in registers */
    ITEM_ROWS = 240,      /* rows of x that one work item takes: with a chunk of K they stay in the second-level cache */
    ITEM_OUTPUTS = 256,   /* most outputs of one work item */
    CHUNK_FLOATS = 8192,  /* most weights of a panel's chunk of K when there are several tiles: widened, it stays in a near cache */
    BLOCK_POSITIONS = 64, /* keys that attention takes at a time */
    UNIT_QUERIES = 96,    /* queries (rows times heads) that share one pass over the keys: their sums stay in a near cache */
};

/* y (n, rows) = x @ W^T + b. Weights: see matrix.h. x lies in tiles: tile t has the rows [tile_first(n, tiles, t), tile_first(n,
 * tiles, t + 1)), as f32 [k][row of tile], or, for the dot instruction, as bf16 pairs [k/2][row of tile]. */
struct linear_job {
    const char *weights;
    enum dtype dtype;
    bool dot;
    int rows, pairs, panels;
    size_t panel_bytes;
    const uint32_t *x;
    int n, tiles;
    float *y;
    const float *bias;
    int panels_per_item, panel_items, tiles_per_item;
};

static inline int tile_first(int n, int tiles, int tile)
{
    return (int)((int64_t)n * tile / tiles);
}

/* Queries over keys that lie in blocks: keys transposed [c][key_stride], values [position][value_stride]. */
struct attend_block {
    const float *keys, *values;
    size_t key_stride, value_stride;
    int count;                          /* 1..BLOCK_POSITIONS; keys may be read up to a multiple of 16, their scores are not used */
    ptrdiff_t keys_ahead, values_ahead; /* floats from here to the block that follows, which is fetched meanwhile */
};

/* One query on its way over its blocks. q (c); sum (value_stride) is padded. */
struct attend_state {
    float max, total;
    const float *q;
    float *sum;
};

/* Where a product's second factor comes from: element (k, column) at p[k * row_step + column * column_step]. */
struct product_source {
    const void *p;
    enum dtype dtype; /* DTYPE_F32, DTYPE_BF16 */
    size_t row_step, column_step;
};

/* c (m, columns) = [c +] a (m, k) @ b (k, columns) [+ bias]. a's element (i, k) at a[i * a_row + k * a_col]. b: rows [b_row, b_row
 * + k) of panels that product_pack made of b_rows rows; their floats: b_rows * columns, columns rounded up to 16. */
struct product_job {
    float *c;
    size_t c_stride;
    const float *a;
    size_t a_row, a_col;
    const float *b;
    int b_rows, b_row;
    const float *bias; /* (columns) or NULL; none with add */
    bool add;
    int columns, k;
};

struct simd {
    const char *name;
    int panel; /* outputs of a weight panel: each has a lane */
    void (*linear_item)(const struct linear_job *job, int item, float *scratch);
    void (*rms_norm)(float *y, const float *x, int d, const float *weight, float offset, float eps);
    void (*layer_norm)(float *y, const float *x, int d, const float *weight, const float *bias, float eps);
    void (*rope)(float *x, int heads, int c, const float *cosine, const float *sine);
    void (*silu_gate)(float *y, const float *gate, const float *up, int d);
    void (*gelu_tanh_gate)(float *y, const float *gate, const float *up, int d);
    void (*gelu_erf)(float *x, size_t count);
    void (*gelu_tanh)(float *x, size_t count);
    void (*add)(float *x, const float *y, size_t count);
    int32_t (*best)(const float *x, int d); /* -1: all NaN */
    /* m <= TILE_ROWS queries that see the same keys */
    void (*attend_block)(struct attend_state *s, int m, int c, float scale, float cap, const struct attend_block *block);
    void (*attend_finish)(float *y, const struct attend_state *s, int c);
    /* Of training: products, then rows and pieces (kernels/grad.h). */
    int (*product_panels)(int columns);
    void (*product_pack)(float *b, int b_rows, int columns, int panel, int row, int n, const struct product_source *s);
    void (*product_part)(const struct product_job *job, int row0, int row1, int panel0, int panel1);
    float (*rms_norm_backward)(float *dx, bool add, const float *dy, const float *x, int d, const float *weight, float offset,
                               float eps);
    void (*rows_sum)(float *sum, const float *dy, const float *x, const float *scale, int n, size_t stride, size_t count);
    void (*silu_gate_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int d);
    void (*gelu_tanh_gate_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int d);
    void (*gelu_erf_backward)(float *dx, const float *dy, const float *x, size_t count);
    void (*soft_cap_backward)(float *dx, const float *y, float cap, size_t count);
    void (*cap_scores)(float *x, float *slope, float scale, float cap, size_t count);
    void (*multiply)(float *x, const float *y, size_t count);
    float (*softmax)(float *x, int d, float scale);
    void (*softmax_backward)(float *dp, const float *p, float mean, float scale, size_t count);
    float (*dot)(const float *x, const float *y, size_t count);
    void (*scale)(float *x, float scale, size_t count);
    void (*adamw)(float *w, float *m, float *v, const float *g, size_t count, const struct adamw *o);
    double (*square_sum)(const float *x, size_t count);
    float (*probe_read)(const float *x, size_t count);
    double (*probe_fma)(long rounds, float *sink);      /* returns operations done */
    double (*probe_bf16_dot)(long rounds, float *sink); /* NULL where there is no such instruction */
};

/* Floats that linear_item needs: sums of an item, and a widened chunk. */
enum { LINEAR_SCRATCH = ITEM_OUTPUTS * ITEM_ROWS + CHUNK_FLOATS };

extern const struct simd simd_generic, simd_avx2, simd_avx512, simd_avx512bf16;

#endif
