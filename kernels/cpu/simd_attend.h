/* simd_attend.h - softmax(scale * q K^T) V of one query, block by block; included by simd_impl.h only.
 *
 * The running form (Milakov, Gimelshein: "Online normalizer calculation for softmax", 2018): a block's weights are taken against
 * the largest score so far, and what was summed before shrinks when that grows. A query sees its blocks in the order of positions.
 */

/* out[i] (vectors) = out[i] * factor[i] + x[i] (count) @ b (count, vectors), b's rows `stride` apart; factor NULL: out starts at
 * zero. Each number of out is one chain in the order of b's rows, so neither m nor `vectors` can change its bits; they are
 * constants where this is inlined, and total[][] are registers. */
FORCE_INLINE void product_run(float *const *out, const float *const *x, const float *b, size_t stride, int count, ptrdiff_t ahead,
                              const float *factor, const int m, const int vectors)
{
    vec total[TILE_ROWS][GROUP_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            total[i][v] = factor ? v_load(out[i] + v * LANES) * factor[i] : (vec){0};
    for (int k = 0; k < count; k++, b += stride) {
        vec row[GROUP_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            row[v] = v_load(b + v * LANES);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v += 16 / LANES) /* every cache line once */
            __builtin_prefetch(b + ahead + v * LANES, 0, 2);
#pragma GCC unroll 8
        for (int i = 0; i < m; i++)
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                total[i][v] = v_fma(v_set(x[i][k]), row[v], total[i][v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < m; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            v_store(out[i] + v * LANES, total[i][v]);
}

typedef void product_function(float *const *out, const float *const *x, const float *b, size_t stride, int count, ptrdiff_t ahead,
                              const float *factor);

#define PRODUCT(name, m, vectors)                                                                                                  \
    static void name(float *const *out, const float *const *x, const float *b, size_t stride, int count, ptrdiff_t ahead,          \
                     const float *factor)                                                                                          \
    {                                                                                                                              \
        product_run(out, x, b, stride, count, ahead, factor, m, vectors);                                                          \
    }
#define PRODUCTS(m, wide)                                                                                                          \
    PRODUCT(product_##m##_wide, m, wide)                                                                                           \
    PRODUCT(product_##m##_two, m, 2)                                                                                               \
    PRODUCT(product_##m##_one, m, 1)

/* As many vectors at once as registers allow: few queries need many, to have enough independent chains. */
enum { WIDE_1 = 8, WIDE_2 = 4, WIDE_MORE = PANEL_VECTORS };
PRODUCTS(1, WIDE_1)
PRODUCTS(2, WIDE_2)
PRODUCTS(3, WIDE_MORE)
PRODUCTS(4, WIDE_MORE)
PRODUCTS(5, WIDE_MORE)
PRODUCTS(6, WIDE_MORE)

#define PRODUCT_ROW(m, wide)                                                                                                       \
    {                                                                                                                              \
        wide, product_##m##_wide, product_##m##_two, product_##m##_one                                                             \
    }
static const struct {
    int vectors;
    product_function *wide, *two, *one;
} products[TILE_ROWS] = {PRODUCT_ROW(1, WIDE_1),    PRODUCT_ROW(2, WIDE_2),    PRODUCT_ROW(3, WIDE_MORE),
                         PRODUCT_ROW(4, WIDE_MORE), PRODUCT_ROW(5, WIDE_MORE), PRODUCT_ROW(6, WIDE_MORE)};

/* The same for `all` vectors. */
static void product(float *const *out, const float *const *x, const float *b, size_t stride, int count, ptrdiff_t ahead,
                    const float *factor, int m, int all)
{
    float *at[TILE_ROWS];
    for (int done = 0, step; done < all; done += step) {
        int left = all - done;
        product_function *run = products[m - 1].one;
        step = 1;
        if (left >= products[m - 1].vectors) {
            step = products[m - 1].vectors;
            run = products[m - 1].wide;
        } else if (left >= 2) {
            step = 2;
            run = products[m - 1].two;
        }
        for (int i = 0; i < m; i++)
            at[i] = out[i] + done * LANES;
        run(at, x, b + done * LANES, stride, count, ahead, factor);
    }
}

/* Scores (all vectors, `count` of them in use) become weights; returns by how much what was summed before shrinks. */
static float weights_make(struct attend_state *s, float *scores, int count, int all, float scale, float cap)
{
    for (int i = 0; i < all * LANES; i += LANES)
        v_store(scores + i, v_load(scores + i) * scale);
    for (int i = 0; cap > 0 && i < all * LANES; i += LANES) { /* tanh(z) = 2 / (1 + e^-2z) - 1 */
        vec z = v_load(scores + i) / cap;
        v_store(scores + i, v_sigmoid_times(v_set(2 * cap), z + z) - cap);
    }
    for (int i = count; i < all * LANES; i++) /* no key */
        scores[i] = -INFINITY;
    vec largest = v_set(s->max), total = {0};
    for (int i = 0; i < all * LANES; i += LANES)
        largest = v_max(v_load(scores + i), largest);
    float max = v_largest(largest), shrink = 1.0f;
    for (int i = 0; i < all * LANES; i += LANES) {
        vec weight = v_exp(v_load(scores + i) - max);
        total += weight;
        v_store(scores + i, weight);
    }
    if (max > s->max) {
        float lane[LANES];
        v_store(lane, v_exp(v_set(s->max - max)));
        shrink = lane[0];
    }
    s->total = s->total * shrink + v_sum(total);
    s->max = max;
    return shrink;
}

static void attend_block(struct attend_state *s, int m, int c, float scale, float cap, const struct attend_block *block)
{
    float scores[TILE_ROWS][BLOCK_POSITIONS], shrink[TILE_ROWS], *score[TILE_ROWS] = {NULL}, *sum[TILE_ROWS] = {NULL};
    const float *q[TILE_ROWS] = {NULL}, *weights[TILE_ROWS] = {NULL};
    int all = (block->count + LANES - 1) / LANES;
    for (int i = 0; i < m; i++) {
        weights[i] = score[i] = scores[i];
        sum[i] = s[i].sum;
        q[i] = s[i].q;
    }
    product(score, q, block->keys, block->key_stride, c, block->keys_ahead, NULL, m, all);
    for (int i = 0; i < m; i++)
        shrink[i] = weights_make(&s[i], scores[i], block->count, all, scale, cap);
    product(sum, weights, block->values, block->value_stride, block->count, block->values_ahead, shrink, m,
            (int)block->value_stride / LANES);
}

static void attend_finish(float *y, const struct attend_state *s, int c)
{
    for (size_t i = 0, count = (size_t)c; i < count; i += LANES)
        v_put(y + i, v_load(s->sum + i) / s->total, count - i);
}
