/* simd_attend.h - softmax(scale * q K^T) V of one query, block by block; included by simd_impl.h only.
 *
 * The running form (Milakov, Gimelshein: "Online normalizer calculation for softmax", 2018): a block's weights are taken against
 * the largest score so far, and what was summed before shrinks when that grows. A query sees its blocks in the order of positions.
 */

enum { SCORE_VECTORS = BLOCK_POSITIONS / LANES };

/* Scores of v vectors of keys; v is a constant where this is inlined. */
FORCE_INLINE void scores_run(float *scores, const float *q, int c, float scale, const float *keys, size_t stride, const int v)
{
    vec sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < v; i++)
        sum[i] = (vec){0};
    for (int j = 0; j < c; j++, keys += stride)
#pragma GCC unroll 8
        for (int i = 0; i < v; i++)
            sum[i] = v_fma(v_set(q[j]), v_load(keys + i * LANES), sum[i]);
#pragma GCC unroll 8
    for (int i = 0; i < v; i++)
        v_store(scores + i * LANES, sum[i] * scale);
}

/* sum = sum * shrink + weights (count) @ values (count, v vectors). */
FORCE_INLINE void values_run(float *sum, float shrink, const float *weights, int count, const float *values, size_t stride,
                             const int v)
{
    vec total[8];
#pragma GCC unroll 8
    for (int i = 0; i < v; i++)
        total[i] = v_load(sum + i * LANES) * shrink;
    for (int p = 0; p < count; p++, values += stride)
#pragma GCC unroll 8
        for (int i = 0; i < v; i++)
            total[i] = v_fma(v_set(weights[p]), v_load(values + i * LANES), total[i]);
#pragma GCC unroll 8
    for (int i = 0; i < v; i++)
        v_store(sum + i * LANES, total[i]);
}

#define ATTEND_CASES(call)                                                                                                         \
    switch (vectors) {                                                                                                             \
    case 1:                                                                                                                        \
        call(1);                                                                                                                   \
        break;                                                                                                                     \
    case 2:                                                                                                                        \
        call(2);                                                                                                                   \
        break;                                                                                                                     \
    case 3:                                                                                                                        \
        call(3);                                                                                                                   \
        break;                                                                                                                     \
    case 4:                                                                                                                        \
        call(4);                                                                                                                   \
        break;                                                                                                                     \
    case 5:                                                                                                                        \
        call(5);                                                                                                                   \
        break;                                                                                                                     \
    case 6:                                                                                                                        \
        call(6);                                                                                                                   \
        break;                                                                                                                     \
    case 7:                                                                                                                        \
        call(7);                                                                                                                   \
        break;                                                                                                                     \
    default:                                                                                                                       \
        call(8);                                                                                                                   \
    }

static void scores_compute(float *scores, const float *q, int c, float scale, const struct attend_block *block)
{
    int all = (block->count + LANES - 1) / LANES;
    for (int done = 0, vectors; done < all; done += vectors) {
        vectors = all - done < 8 ? all - done : 8;
#define SCORES(v) scores_run(scores + done * LANES, q, c, scale, block->keys + done * LANES, block->key_stride, v)
        ATTEND_CASES(SCORES)
    }
    for (int i = block->count; i < all * LANES; i++)
        scores[i] = -INFINITY;
}

static void values_add(struct attend_state *s, float shrink, const float *weights, const struct attend_block *block)
{
    int all = (int)block->value_stride / LANES, groups = (all + 7) / 8;
    for (int group = 0; group < groups; group++) {
        int done = tile_first(all, groups, group), vectors = tile_first(all, groups, group + 1) - done;
#define VALUES(v)                                                                                                                  \
    values_run(s->sum + done * LANES, shrink, weights, block->count, block->values + done * LANES, block->value_stride, v)
        ATTEND_CASES(VALUES)
    }
}

static void attend_block(struct attend_state *s, const float *q, int c, float scale, const struct attend_block *block)
{
    float scores[BLOCK_POSITIONS];
    int all = (block->count + LANES - 1) / LANES;
    scores_compute(scores, q, c, scale, block);
    vec largest = v_set(s->max), total = {0};
    for (int i = 0; i < all; i++)
        largest = v_max(v_load(scores + i * LANES), largest);
    float max = v_largest(largest), shrink = 1.0f;
    for (int i = 0; i < all; i++) {
        vec weight = v_exp(v_load(scores + i * LANES) - max);
        total += weight;
        v_store(scores + i * LANES, weight);
    }
    if (max > s->max) {
        float lane[LANES];
        v_store(lane, v_exp(v_set(s->max - max)));
        shrink = lane[0];
    }
    s->total = s->total * shrink + v_sum(total);
    s->max = max;
    values_add(s, shrink, scores, block);
}

static void attend_finish(float *y, const struct attend_state *s, int c)
{
    for (size_t i = 0, count = (size_t)c; i < count; i += LANES)
        v_put(y + i, v_load(s->sum + i) / s->total, count - i);
}
