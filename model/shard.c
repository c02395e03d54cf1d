/* shard.c - the cut of a language model over ranks */
#include "model/shard.h"

#include "model/family.h"
#include "model/model.h"

/* Units [count * rank / ranks, count * (rank + 1) / ranks) of `all`, the last unit possibly short. */
static void slice(int all, int rank, int ranks, int *first, int *n)
{
    int64_t units = (all + SHARD_UNIT - 1) / SHARD_UNIT;
    int64_t begin = units * rank / ranks * SHARD_UNIT, end = units * (rank + 1) / ranks * SHARD_UNIT;
    *first = (int)begin;
    *n = (int)(end < all ? end : all) - *first;
}

int shard_plan(struct shard *shard, const struct model_config *config, int rank, int ranks, struct error *err)
{
    const struct model_config *c = config;
    int least = c->ff < c->vocabulary ? c->ff : c->vocabulary;
    if (ranks < 1 || c->h % ranks)
        return fail(err, "%s: %d ranks do not divide its %d query heads", c->name, ranks, c->h);
    if (c->g % ranks && ranks % c->g)
        return fail(err, "%s: %d ranks are neither a divisor nor a multiple of its %d key/value heads", c->name, ranks, c->g);
    if ((least + SHARD_UNIT - 1) / SHARD_UNIT < ranks)
        return fail(err, "%s: %d ranks are too many for %d MLP columns and %d vocabulary rows in units of %d", c->name, ranks,
                    c->ff, c->vocabulary, SHARD_UNIT);
    shard->h = c->h / ranks;
    shard->first_h = shard->h * rank;
    shard->g = ranks < c->g ? c->g / ranks : 1;
    shard->first_g = shard->first_h / (c->h / c->g);
    slice(c->ff, rank, ranks, &shard->first_ff, &shard->ff);
    slice(c->vocabulary, rank, ranks, &shard->first_row, &shard->rows);
    return 0;
}

int64_t shard_layer_elements(const struct shard *shard, const struct model_config *config)
{
    int64_t d = config->d, q = (int64_t)shard->h * config->c, kv = (int64_t)shard->g * config->c;
    return (q + 2 * kv) * d + d * q + 3 * d * shard->ff;
}

int model_ranks_possible(const struct model_config *config, int ranks, struct error *err)
{
    struct shard shard;
    return shard_plan(&shard, config, 0, ranks, err);
}

/* Norms and biases are kept as f32. */
static int64_t vector_bytes(const struct shard *s, const struct model_config *c)
{
    const struct family *f = c->family;
    int64_t bias = f->qkv_bias ? (int64_t)(s->h + 2 * s->g) * c->c : 0, heads = f->qk_norm ? 2 * c->c : 0;
    int64_t norms = 2 + (f->attention_after != NULL) + (f->mlp_after != NULL);
    return (c->layers * (norms * c->d + bias + heads) + c->d) * (int64_t)sizeof(float);
}

int64_t model_shard_bytes(const struct model_config *config, int ranks, enum dtype dtype)
{
    int64_t most = 0;
    for (int rank = 0; rank < ranks; rank++) {
        struct shard shard;
        if (shard_plan(&shard, config, rank, ranks, NULL))
            return -1;
        int64_t tables = (config->tied ? 1 : 2) * (int64_t)shard.rows * config->d;
        int64_t elements = config->layers * shard_layer_elements(&shard, config) + tables;
        int64_t bytes = elements * (int64_t)dtype_size(dtype) + vector_bytes(&shard, config);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Keys and values are f32; -1 where the ranks are not possible. */
static int64_t block_bytes(const struct model_config *config, const struct kv_layout *layout, int ranks)
{
    struct shard shard;
    if (shard_plan(&shard, config, 0, ranks, NULL))
        return -1;
    return 2 * (int64_t)layout->block_layers * layout->page_positions * shard.g * config->c * (int64_t)sizeof(float);
}

int64_t model_position_bytes(const struct model_config *config, int ranks)
{
    const struct kv_layout layout = kv_layout(config, MODEL_PAGE_POSITIONS);
    int64_t block = block_bytes(config, &layout, ranks);
    return block < 0 ? -1 : block * kv_layout_whole(&layout) / MODEL_PAGE_POSITIONS;
}

int64_t model_sequence_bytes(const struct model_config *config, int ranks, int positions, int rows)
{
    const struct kv_layout layout = kv_layout(config, MODEL_PAGE_POSITIONS);
    int64_t block = block_bytes(config, &layout, ranks);
    return block < 0 ? -1 : block * kv_layout_blocks(&layout, positions, rows);
}
