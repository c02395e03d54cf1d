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

/* x += O attention(norm(x)): each rank computes its heads, the sum over ranks joins them. */
static void attention_block(struct model *m, int layer)
{
    const struct layer_weights *w = &m->weights.layers[layer];
    const struct step_columns *step = &m->step.device;
    const struct kv_rows kv_rows = step_kv_rows(&m->step);
    int n = rows_count(m->step.rows), d = m->config.d, h = m->shard.h, g = m->shard.g, c = m->config.c;
    int stride = (h + 2 * g) * c;
    float *q = m->wide, *k = q + h * c, *v = k + g * c; /* side by side in each row */
    const struct attention a = {.h = h, .g = g, .c = c, .scale = m->attention_scale, .first = step->first, .last = step->last};

    m->k->rms_norm(m->dev, m->y, m->x, n, d, d, w->attention_norm, m->config.family->norm_offset, m->config.norm_eps);
    m->k->linear(m->dev, q, m->y, m->step.rows, w->qkv, w->qkv_bias);
    m->k->rope(m->dev, q, n, h + g, c, stride, step->cosine, step->sine);
    m->k->kv_append(m->dev, m->kv, layer, &kv_rows, n, k, v, stride);
    m->k->attend_cached(m->dev, m->narrow, q, n, stride, m->kv, layer, &kv_rows, &a);
    m->k->linear(m->dev, m->y, m->narrow, m->step.rows, w->o, NULL);
    m->comm->calls->all_reduce_sum(m->comm, m->y, step_count(m));
    m->k->add(m->dev, m->x, m->y, step_count(m));
}

/* x += down(silu(gate(norm(x))) * up(norm(x))): each rank computes its columns, the sum over ranks joins them. */
static void mlp_block(struct model *m, int layer)
{
    const struct layer_weights *w = &m->weights.layers[layer];
    int n = rows_count(m->step.rows), d = m->config.d;

    m->k->rms_norm(m->dev, m->y, m->x, n, d, d, w->mlp_norm, m->config.family->norm_offset, m->config.norm_eps);
    m->k->linear(m->dev, m->wide, m->y, m->step.rows, w->gate_up, NULL);
    m->k->silu_gate(m->dev, m->narrow, m->wide, n, m->shard.ff);
    m->k->linear(m->dev, m->y, m->narrow, m->step.rows, w->down, NULL);
    m->comm->calls->all_reduce_sum(m->comm, m->y, step_count(m));
    m->k->add(m->dev, m->x, m->y, step_count(m));
}

/* scores (n_scored, rows of this rank) = head(norm(x)), of the scored rows only. */
static void head(struct model *m)
{
    int n = rows_count(m->step.scored_rows), d = m->config.d;
    if (!n)
        return;
    m->k->gather(m->dev, m->y, m->x, m->step.device.scored, n, d);
    m->k->rms_norm(m->dev, m->y, m->y, n, d, d, m->weights.norm, m->config.family->norm_offset, m->config.norm_eps);
    m->k->linear(m->dev, m->scores.p, m->y, m->step.scored_rows, m->weights.head, NULL);
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
