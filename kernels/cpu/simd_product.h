/* simd_product.h - c (m, n) += a (m, k) @ b (k, n) with b in panels; included by simd_impl.h only.
 *
 * Columns stand in the lanes, so that every number of c is one chain over k, whatever the blocks: c goes to memory between chunks
 * of k and comes back, which is exact. */

/* Panels of b are PANEL_VECTORS wide; what is left takes one of 2, one of 1, or both. */
struct panel {
    int first, vectors; /* in vectors */
};

static struct panel panel_at(int columns, int i)
{
    int all = (columns + LANES - 1) / LANES, full = all / PANEL_VECTORS, rest = all % PANEL_VECTORS;
    if (i < full)
        return (struct panel){i * PANEL_VECTORS, PANEL_VECTORS};
    if (i == full && rest >= 2)
        return (struct panel){full * PANEL_VECTORS, 2};
    return (struct panel){all - 1, 1};
}

/* b's rows [row, row + n) of one panel from where they are: element (k, column) at from[k * row_step + column * column_step]. */
static void product_pack(float *b, int k, int columns, int panel, int row, int n, const struct product_source *s)
{
    struct panel at = panel_at(columns, panel);
    int first = at.first * LANES, width = at.vectors * LANES, have = columns - first < width ? columns - first : width;
    float *to = b + (size_t)first * (size_t)k + (size_t)row * (size_t)width;
    if (have < width)
        memset(to, 0, (size_t)n * (size_t)width * sizeof *to);
    if (s->dtype == DTYPE_BF16) {
        const uint16_t *from = (const uint16_t *)s->p + (size_t)row * s->row_step + (size_t)first * s->column_step;
        for (int j = 0; j < have; j++)
            for (int i = 0; i < n; i++)
                to[i * width + j] = bf16_to_f32(from[(size_t)i * s->row_step + (size_t)j * s->column_step]);
        return;
    }
    const float *from = (const float *)s->p + (size_t)row * s->row_step + (size_t)first * s->column_step;
    if (s->column_step == 1)
        for (int i = 0; i < n; i++)
            memcpy(to + i * width, from + (size_t)i * s->row_step, (size_t)have * sizeof *to);
    else
        for (int done = 0; done < n; done += LANES) /* few lines at a time: what is written stays near until it is whole */
            for (int j = 0; j < have; j++)
                for (int i = done; i < n && i < done + LANES; i++)
                    to[i * width + j] = from[(size_t)i * s->row_step + (size_t)j * s->column_step];
}

/* One tile of c over one chunk of k. start: NULL = zero, else what the sums start from, rows start_stride apart. */
FORCE_INLINE void block_run(float *c, size_t c_stride, size_t columns, const float *start, size_t start_stride, const float *a,
                            size_t a_row, size_t a_col, const float *b, int k, const int m, const int vectors)
{
    vec total[TILE_ROWS][PANEL_VECTORS];
    const float *x[TILE_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++) {
        x[i] = a + (size_t)i * a_row;
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            total[i][v] = start ? v_get(start + (size_t)i * start_stride + v * LANES, columns - (size_t)(v * LANES)) : (vec){0};
    }
    for (size_t at = 0; k > 0; k--, at += a_col, b += vectors * LANES) {
        vec row[PANEL_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            row[v] = v_load(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                total[i][v] = v_fma(v_set(x[i][at]), row[v], total[i][v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            v_put(c + (size_t)i * c_stride + v * LANES, total[i][v], columns - (size_t)(v * LANES));
}

typedef void block_function(float *c, size_t c_stride, size_t columns, const float *start, size_t start_stride, const float *a,
                            size_t a_row, size_t a_col, const float *b, int k);

#define BLOCK(m, vectors, name)                                                                                                    \
    static void block_##m##_##name(float *c, size_t c_stride, size_t columns, const float *start, size_t start_stride,             \
                                   const float *a, size_t a_row, size_t a_col, const float *b, int k)                              \
    {                                                                                                                              \
        block_run(c, c_stride, columns, start, start_stride, a, a_row, a_col, b, k, m, vectors);                                   \
    }
#define BLOCKS(m) BLOCK(m, 1, one) BLOCK(m, 2, two) BLOCK(m, PANEL_VECTORS, wide)
BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)
BLOCKS(5)
BLOCKS(6)

#define BLOCK_ROW(m)                                                                                                               \
    {                                                                                                                              \
        block_##m##_one, block_##m##_two, block_##m##_wide                                                                         \
    }
static block_function *const blocks[TILE_ROWS][3] = {BLOCK_ROW(1), BLOCK_ROW(2), BLOCK_ROW(3),
                                                     BLOCK_ROW(4), BLOCK_ROW(5), BLOCK_ROW(6)};

/* Rows [row0, row1) of c, panels [panel0, panel1). A chunk of a panel stays in the nearest cache while all rows pass. */
static void product_part(const struct product_job *job, int row0, int row1, int panel0, int panel1)
{
    const int chunk = CHUNK_FLOATS / PANEL;
    int tiles = (row1 - row0 + TILE_ROWS - 1) / TILE_ROWS;
    for (int k0 = 0; k0 < job->k || !k0; k0 += chunk) {
        int k = job->k - k0 < chunk ? job->k - k0 : chunk;
        for (int i = panel0; i < panel1; i++) {
            struct panel at = panel_at(job->columns, i);
            int first = at.first * LANES, width = at.vectors * LANES;
            const float *b = job->b + (size_t)first * (size_t)job->b_rows + (size_t)(job->b_row + k0) * (size_t)width;
            for (int tile = 0; tile < tiles; tile++) {
                int row = row0 + tile_first(row1 - row0, tiles, tile), m = row0 + tile_first(row1 - row0, tiles, tile + 1) - row;
                float *c = job->c + (size_t)row * job->c_stride + first;
                const float *a = job->a + (size_t)row * job->a_row + (size_t)k0 * job->a_col;
                const float *start = k0 || job->add ? c : job->bias ? job->bias + first : NULL;
                block_function *run = blocks[m - 1][at.vectors > 2 || at.vectors == PANEL_VECTORS ? 2 : at.vectors - 1];
                run(c, job->c_stride, (size_t)(job->columns - first), start, start == c ? job->c_stride : 0, a, job->a_row,
                    job->a_col, b, k);
            }
        }
    }
}

static int product_panels(int columns)
{
    int all = (columns + LANES - 1) / LANES, rest = all % PANEL_VECTORS;
    return all / PANEL_VECTORS + rest / 2 + rest % 2;
}
