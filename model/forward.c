/* forward.c - the transformer: from token ids to this rank's scores, for prompt chunks, single tokens and verifications alike.
 * Letters: n rows of the step, d width, h query heads, g key/value heads, c head width, ff MLP width (h, g, ff of this shard). */

#include "model/family.h"
#include "model/language.h"

static size_t step_count(const struct model *m)
{
    return (size_t)rows_count(m->step.rows) * (size_t)m->config.d;
}

/* x (n, d) = rows of the embedding table. Each rank has some of its rows and zeros for the others: the sum is exact. */
static void embed(struct model *m)
{
    m->k->embed(m->dev, m->x, m->step.device.ids, rows_count(m->step.rows), m->weights.embed, m->shard.first_row);
    m->comm->calls->all_reduce_sum(m->comm, m->x, step_count(m));
    if (m->config.family->scaled_embeddings)
        m->k->scale(m->dev, m->x, m->embed_scale, step_count(m));
}

/* Rows of pictures take their features, in the order in which the step named them: prompt spans first. */
static void place_pictures(struct model *m, const struct span *spans, int n_spans)
{
    size_t row = (size_t)m->config.d * sizeof(float), at = 0;
    for (int generated = 0; generated < 2; generated++)
        for (int i = 0; i < n_spans; i++)
            for (int j = 0; spans[i].generated == generated && j < spans[i].n_pictures; j++) {
                const struct span_picture *p = &spans[i].pictures[j];
                m->k->upload(m->dev, m->y + at * (size_t)m->config.d, p->features, (size_t)p->count * row);
                at += (size_t)p->count;
            }
    if (at)
        m->k->scatter(m->dev, m->x, m->y, m->step.device.picture, (int)at, m->config.d);
}

/* y = norm(x) with weights w. */
static void norm(struct model *m, float *y, const float *x, int n, const float *w)
{
    m->k->rms_norm(m->dev, y, x, n, m->config.d, m->config.d, w, m->config.family->norm_offset, m->config.norm_eps);
}

/* Joins what the ranks computed of y and adds it to x; behind a norm where the family has one. */
static void residual(struct model *m, const float *after)
{
    m->comm->calls->all_reduce_sum(m->comm, m->y, step_count(m));
    if (after)
        norm(m, m->y, m->y, rows_count(m->step.rows), after);
    m->k->add(m->dev, m->x, m->y, step_count(m));
}

/* Queries and keys, side by side in each row: normalised where the family does that, turned by the angles of the layer's kind. */
static void turn(struct model *m, const struct layer_weights *w, float *q, int stride, bool local)
{
    const struct step_angles *angles = local ? &m->step.device.local : &m->step.device.global;
    int n = rows_count(m->step.rows), h = m->shard.h, g = m->shard.g, c = m->config.c;
    float offset = m->config.family->norm_offset;
    if (w->q_norm) {
        m->k->rms_norm_heads(m->dev, q, n, h, c, stride, w->q_norm, offset, m->config.norm_eps);
        m->k->rms_norm_heads(m->dev, q + h * c, n, g, c, stride, w->k_norm, offset, m->config.norm_eps);
    }
    m->k->rope(m->dev, q, n, h + g, c, stride, angles->cosine, angles->sine);
}

/* x += O attention(norm(x)): each rank computes its heads, the sum over ranks joins them. */
static void attention_block(struct model *m, int layer)
{
    const struct layer_weights *w = &m->weights.layers[layer];
    const struct step_columns *step = &m->step.device;
    const struct kv_place place = m->places[layer];
    const struct kv_rows kv_rows = step_kv_rows(&m->step, place.block);
    int n = rows_count(m->step.rows), h = m->shard.h, g = m->shard.g, c = m->config.c;
    int stride = (h + 2 * g) * c;
    bool local = m->config.local[layer];
    float *q = m->wide, *k = q + h * c, *v = k + g * c; /* side by side in each row */
    const struct attention a = {.h = h,
                                .g = g,
                                .c = c,
                                .scale = m->attention_scale,
                                .cap = m->config.attention_cap,
                                .first = local ? step->local_first : step->first,
                                .last = step->last};

    norm(m, m->y, m->x, n, w->attention_norm);
    m->k->linear(m->dev, q, m->y, m->step.rows, w->qkv, w->qkv_bias);
    turn(m, w, q, stride, local);
    m->k->kv_append(m->dev, m->kv, place.layer, &kv_rows, n, k, v, stride);
    m->k->attend_cached(m->dev, m->narrow, q, n, stride, m->kv, place.layer, &kv_rows, &a);
    m->k->linear(m->dev, m->y, m->narrow, m->step.rows, w->o, NULL);
    residual(m, w->attention_after);
}

static void gate(struct model *m, int n)
{
    void (*const gates[])(struct device *, float *, const float *, int,
                          int) = {[GATE_SILU] = m->k->silu_gate, [GATE_GELU_TANH] = m->k->gelu_tanh_gate};
    gates[m->config.family->gate](m->dev, m->narrow, m->wide, n, m->shard.ff);
}

/* x += down(f(gate(norm(x))) * up(norm(x))): each rank computes its columns, the sum over ranks joins them. */
static void mlp_block(struct model *m, int layer)
{
    const struct layer_weights *w = &m->weights.layers[layer];
    int n = rows_count(m->step.rows);

    norm(m, m->y, m->x, n, w->mlp_norm);
    m->k->linear(m->dev, m->wide, m->y, m->step.rows, w->gate_up, NULL);
    gate(m, n);
    m->k->linear(m->dev, m->y, m->narrow, m->step.rows, w->down, NULL);
    residual(m, w->mlp_after);
}

/* scores (n_scored, rows of this rank) = head(norm(x)), of the scored rows only. */
static void head(struct model *m)
{
    int n = rows_count(m->step.scored_rows), d = m->config.d;
    if (!n)
        return;
    m->k->gather(m->dev, m->y, m->x, m->step.device.scored, n, d);
    norm(m, m->y, m->y, n, m->weights.norm);
    m->k->linear(m->dev, m->scores.p, m->y, m->step.scored_rows, m->weights.head, NULL);
    if (m->config.score_cap > 0)
        m->k->soft_cap(m->dev, m->scores.p, m->config.score_cap, (size_t)n * (size_t)m->shard.rows);
}

void forward(struct model *m, const struct span *spans, int n_spans)
{
    embed(m);
    place_pictures(m, spans, n_spans);
    for (int layer = 0; layer < m->config.layers; layer++) {
        attention_block(m, layer);
        mlp_block(m, layer);
    }
    head(m);
}
