/* simd_linear.h - y = x @ W^T, the core; included by simd_impl.h only.
 *
 * Output features lie in the lanes of a vector, so an output is one chain of multiply-adds over k, in the order of k: neither the
 * rows beside it, nor the cut into panels, tiles and chunks of K (sums are stored and loaded again, exactly), nor threads can
 * change its bits. */

enum {
    PANEL = LANES * PANEL_VECTORS,
    GROUP_ONE = 8 / PANEL_VECTORS,
    GROUP_TWO = PANEL_VECTORS == 2 ? 2 : 1,
    GROUP_VECTORS = 8,
    FEW_TILES = 3
};

/* How a panel's pair of k lies in memory. */
enum format { FORMAT_F32, FORMAT_F16, FORMAT_BF16, FORMAT_DOT, FORMATS };

FORCE_INLINE size_t pair_bytes(enum format format)
{
    return PANEL * (format == FORMAT_F32 ? 8u : 4u);
}

/* Weights k (0, 1) of a pair, lanes of vector v, as f32. */
FORCE_INLINE vec weights_get(const char *w, int k, int v, enum format format)
{
    if (format == FORMAT_F32)
        return v_load(w + (size_t)(k * PANEL + v * LANES) * sizeof(float));
    if (format == FORMAT_F16)
        return v_from_f16((const uint16_t *)(const void *)w + k * PANEL + v * LANES);
    vec_int pair = (vec_int)v_load(w + (size_t)(v * LANES) * sizeof(uint32_t));
    return (vec)(k ? pair & (int32_t)0xffff0000 : pair << 16);
}

/* sums (group, m, PANEL) += the products of `pairs` pairs of k; `first`: they start at zero. Panels are w_stride bytes apart. All
 * but the pointers are constants where this is inlined, and sum[][] are registers. */
FORCE_INLINE void tile_run(float *sums, const char *w, size_t w_stride, const uint32_t *x, int pairs, bool first,
                           enum format format, const int m, const int group)
{
    vec sum[TILE_ROWS][GROUP_VECTORS];
    const int vectors = group * PANEL_VECTORS;
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sum[i][v] = first ? (vec){0} : v_load(sums + (v / PANEL_VECTORS * m + i) * PANEL + v % PANEL_VECTORS * LANES);
    for (int pair = 0; pair < pairs; pair++, w += pair_bytes(format)) {
#pragma GCC unroll 8
        for (int g = 0; g < group; g++)
#pragma GCC unroll 8
            for (size_t line = 0; line < pair_bytes(format); line += 64)
                __builtin_prefetch(w + (size_t)g * w_stride + PREFETCH_BYTES + line);
#ifdef SIMD_DOT
        if (format == FORMAT_DOT) {
#pragma GCC unroll 8
            for (int i = 0; i < m; i++)
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++)
                    sum[i][v] =
                        v_dot(sum[i][v], w + (size_t)(v / PANEL_VECTORS) * w_stride + v % PANEL_VECTORS * (int)sizeof(vec), x[i]);
            x += m;
            continue;
        }
#endif
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++, x += m) {
            vec b[GROUP_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                b[v] = weights_get(w + (size_t)(v / PANEL_VECTORS) * w_stride, k, v % PANEL_VECTORS, format);
#pragma GCC unroll 8
            for (int i = 0; i < m; i++) {
                float xi;
                memcpy(&xi, &x[i], sizeof xi);
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = v_fma(v_set(xi), b[v], sum[i][v]);
            }
            if (format == FORMAT_BF16 && m * vectors > 8) /* load the pair again: registers are too few to keep it */
                __asm__ volatile("" ::: "memory");
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            v_store(sums + (v / PANEL_VECTORS * m + i) * PANEL + v % PANEL_VECTORS * LANES, sum[i][v]);
}

/* With its usual allocator gcc 12 keeps one sum of a full tile of bf16 in memory, and that chain of additions waits for every
 * store. The smaller tiles are faster with the usual one. */
#define FULL_TILE __attribute__((optimize("ira-algorithm=priority")))

typedef void tile_function(float *sums, const char *w, size_t w_stride, const uint32_t *x, int pairs, bool first);

#define TILE(name, format, m, group)                                                                                               \
    static void name(float *sums, const char *w, size_t w_stride, const uint32_t *x, int pairs, bool first)                        \
    {                                                                                                                              \
        tile_run(sums, w, w_stride, x, pairs, first, format, m, group);                                                            \
    }
#define TILES(name, format)                                                                                                        \
    TILE(name##_1, format, 1, 1)                                                                                                   \
    TILE(name##_2, format, 2, 1)                                                                                                   \
    TILE(name##_3, format, 3, 1)                                                                                                   \
    TILE(name##_4, format, 4, 1)                                                                                                   \
    TILE(name##_5, format, 5, 1)                                                                                                   \
    FULL_TILE TILE(name##_6, format, 6, 1) TILE(name##_1_group, format, 1, GROUP_ONE) TILE(name##_2_group, format, 2, GROUP_TWO)
TILES(tile_f32, FORMAT_F32)
TILES(tile_f16, FORMAT_F16)
TILES(tile_bf16, FORMAT_BF16)
#ifdef SIMD_DOT
TILES(tile_dot, FORMAT_DOT)
#endif

#define TILE_TABLE(name)                                                                                                           \
    {                                                                                                                              \
        name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_1_group, name##_2_group                                 \
    }
static tile_function *const tile_functions[FORMATS][TILE_ROWS + 2] = {
    [FORMAT_F32] = TILE_TABLE(tile_f32),
    [FORMAT_F16] = TILE_TABLE(tile_f16),
    [FORMAT_BF16] = TILE_TABLE(tile_bf16),
#ifdef SIMD_DOT
    [FORMAT_DOT] = TILE_TABLE(tile_dot),
#endif
};

/* A chunk of a panel as f32, once for many tiles; the values are the same. */
static void panel_widen(float *wide, const char *w, int pairs, enum format format)
{
    for (int pair = 0; pair < pairs; pair++, w += pair_bytes(format))
        for (int k = 0; k < 2; k++)
            for (int v = 0; v < PANEL_VECTORS; v++, wide += LANES)
                v_store(wide, format == FORMAT_F16 ? weights_get(w, k, v, FORMAT_F16) : weights_get(w, k, v, FORMAT_BF16));
}

/* The part of y that one work item computes. */
struct linear_part {
    int panel0, panel1, tile0, tile1, row0, rows;
    enum format format;
    float *sums, *wide; /* sums (panel, row of the part, PANEL) */
};

static struct linear_part linear_part(const struct linear_job *job, int item, float *scratch)
{
    static const enum format formats[] = {[DTYPE_F32] = FORMAT_F32, [DTYPE_F16] = FORMAT_F16, [DTYPE_BF16] = FORMAT_BF16};
    struct linear_part part = {.format = job->dot ? FORMAT_DOT : formats[job->dtype], .sums = scratch};
    part.panel0 = item % job->panel_items * job->panels_per_item;
    part.panel1 = part.panel0 + job->panels_per_item < job->panels ? part.panel0 + job->panels_per_item : job->panels;
    part.tile0 = item / job->panel_items * job->tiles_per_item;
    part.tile1 = part.tile0 + job->tiles_per_item < job->tiles ? part.tile0 + job->tiles_per_item : job->tiles;
    part.row0 = tile_first(job->n, job->tiles, part.tile0);
    part.rows = tile_first(job->n, job->tiles, part.tile1) - part.row0;
    part.wide = scratch + (part.panel1 - part.panel0) * part.rows * PANEL;
    return part;
}

/* Sums of all tiles of the part with `count` panels from `panel` on, over one chunk of K; count > 1 only with a single tile. */
static void linear_panels(const struct linear_job *job, const struct linear_part *part, int panel, int count, int pair0, int pairs)
{
    enum format format = part->format;
    const char *w = job->weights + (size_t)panel * job->panel_bytes + (size_t)pair0 * pair_bytes(format);
    float *sums = part->sums + (panel - part->panel0) * part->rows * PANEL;
    if (part->tile1 - part->tile0 > 2 && (format == FORMAT_F16 || format == FORMAT_BF16)) {
        panel_widen(part->wide, w, pairs, format);
        w = (const char *)part->wide;
        format = FORMAT_F32;
    }
    const size_t words = part->format == FORMAT_DOT ? 1 : 2; /* of x per pair and row */
    for (int tile = part->tile0; tile < part->tile1; tile++) {
        int first = tile_first(job->n, job->tiles, tile), m = tile_first(job->n, job->tiles, tile + 1) - first;
        const uint32_t *x = job->x + ((size_t)first * (size_t)job->pairs + (size_t)pair0 * (size_t)m) * words;
        tile_function *run = tile_functions[format][count > 1 ? TILE_ROWS + m - 1 : m - 1];
        run(sums + (first - part->row0) * PANEL, w, job->panel_bytes, x, pairs, pair0 == 0);
    }
}

/* Adds the bias and puts the sums into y, without the lanes beyond its last column. */
static void linear_finish(const struct linear_job *job, const struct linear_part *part)
{
    for (int panel = part->panel0; panel < part->panel1; panel++)
        for (int row = 0; row < part->rows; row++) {
            const float *sums = part->sums + ((panel - part->panel0) * part->rows + row) * PANEL;
            size_t column = (size_t)panel * PANEL, left = (size_t)job->rows - column;
            float *y = job->y + (size_t)(part->row0 + row) * (size_t)job->rows + column;
            for (size_t i = 0; i < PANEL && i < left; i += LANES) {
                vec sum = v_load(sums + i);
                v_put(y + i, job->bias ? sum + v_get(job->bias + column + i, left - i) : sum, left - i);
            }
        }
}

/* Few tiles stay with a panel to its end, so that it is read as one long run; many stay with a chunk of x over all panels. */
static void linear_item(const struct linear_job *job, int item, float *scratch)
{
    struct linear_part part = linear_part(job, item, scratch);
    int tiles = part.tile1 - part.tile0, chunk = tiles == 1 ? job->pairs : (PANEL > 32 ? 64 : 128);
    int group = tiles > 1 ? 1 : part.rows == 1 ? GROUP_ONE : part.rows == 2 ? GROUP_TWO : 1;
    int step = tiles <= FEW_TILES ? group : part.panel1 - part.panel0;
    for (int panel0 = part.panel0, panel1; panel0 < part.panel1; panel0 = panel1) {
        panel1 = panel0 + step < part.panel1 ? panel0 + step : part.panel1;
        for (int pair = 0; pair < job->pairs; pair += chunk) {
            int pairs = job->pairs - pair < chunk ? job->pairs - pair : chunk;
            for (int panel = panel0, count; panel < panel1; panel += count) {
                count = panel1 - panel >= group ? group : 1;
                linear_panels(job, &part, panel, count, pair, pairs);
            }
        }
    }
    linear_finish(job, &part);
}
