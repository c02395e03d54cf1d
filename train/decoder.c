/* decoder.c - the language model over a batch, forward and backward; forward as model/forward.c, over rows instead of a cache.
 * Letters: n rows, d width, h query heads, g key/value heads, c head width, ff MLP width. */
#include "model/family.h"
#include "train/network_parts.h"

/* ---- forward ---- */

static size_t stream_count(const struct network *net)
{
    return (size_t)net->batch.n * (size_t)net->config.d;
}

static bool is_local(const struct network *net, int layer)
{
    return net->config.local[layer];
}

static struct attention self_attention(const struct network *net, int layer)
{
    const struct model_config *m = &net->config;
    const struct batch_columns *c = &net->batch.device;
    return (struct attention){.h = m->h,
                              .g = m->g,
                              .c = m->c,
                              .scale = net->attention_scale,
                              .cap = m->attention_cap,
                              .first = is_local(net, layer) ? c->local_first : c->first,
                              .last = c->last};
}

static const struct batch_angles *angles_of(const struct network *net, int layer)
{
    return is_local(net, layer) ? &net->batch.device.local : &net->batch.device.global;
}

/* Multiplications and additions of `times` products over the pairs that see each other. */
static double attention_flops(const struct network *net, int layer, int times)
{
    double pairs = is_local(net, layer) ? net->batch.local_pairs : net->batch.pairs;
    return 2.0 * times * pairs * (double)(net->config.h * net->config.c);
}

static int qkv_stride(const struct model_config *m)
{
    return (m->h + 2 * m->g) * m->c;
}

static void norm_forward(struct network *net, float *y, const float *x, int weight)
{
    const struct model_config *m = &net->config;
    net->k->rms_norm(net->dev, y, x, net->batch.n, m->d, m->d, parameters_vector(&net->parameters, weight), m->family->norm_offset,
                     m->norm_eps);
}

/* dx += */
static void norm_backward(struct network *net, float *dx, const float *dy, const float *x, int weight)
{
    const struct model_config *m = &net->config;
    net->g->rms_norm_backward(net->dev, dx, parameters_gradient(&net->parameters, weight), dy, x, net->batch.n, m->d,
                              parameters_vector(&net->parameters, weight), m->family->norm_offset, m->norm_eps);
}

/* Queries and keys: normalised where the family does that, their state before kept; then turned. */
static void turn_forward(struct network *net, int layer, struct layer_state *s)
{
    const struct model_config *m = &net->config;
    const struct layer_parameters *l = &net->layers[layer];
    const struct batch_angles *angles = angles_of(net, layer);
    int n = net->batch.n, stride = qkv_stride(m);
    float offset = m->family->norm_offset, *k = s->qkv + m->h * m->c;
    if (l->q_norm >= 0) {
        net->k->copy(net->dev, s->qkv_raw, s->qkv, (size_t)n * (size_t)stride * sizeof *s->qkv);
        net->k->rms_norm_heads(net->dev, s->qkv, n, m->h, m->c, stride, parameters_vector(&net->parameters, l->q_norm), offset,
                               m->norm_eps);
        net->k->rms_norm_heads(net->dev, k, n, m->g, m->c, stride, parameters_vector(&net->parameters, l->k_norm), offset,
                               m->norm_eps);
    }
    net->k->rope(net->dev, s->qkv, n, m->h + m->g, m->c, stride, angles->cosine, angles->sine);
}

/* y = x + what a block computed: `out`, which is y itself, or where a norm stands behind the block its input. */
static void residual_forward(struct network *net, float *y, const float *out, const float *x, int after)
{
    if (after >= 0)
        norm_forward(net, y, out, after);
    net->k->add(net->dev, y, x, stream_count(net));
}

/* middle = x + [norm of] O attention(norm(x)) */
static void attention_forward(struct network *net, int layer, struct layer_state *s, const float *x)
{
    const struct model_config *m = &net->config;
    const struct layer_parameters *l = &net->layers[layer];
    const struct attention a = self_attention(net, layer);
    int n = net->batch.n;
    float *q = s->qkv, *k = q + m->h * m->c, *v = k + m->g * m->c, *out = l->attention_after >= 0 ? s->attention_out : s->middle;
    norm_forward(net, s->attention_in, x, l->attention_norm);
    net_linear(net, q, s->attention_in, n, l->qkv, 3, l->qkv_bias);
    turn_forward(net, layer, s);
    net->k->attend_rows(net->dev, s->attended, q, k, v, n, qkv_stride(m), &a);
    net_linear(net, out, s->attended, n, l->o, 1, -1);
    residual_forward(net, s->middle, out, x, l->attention_after);
    net->flops += attention_flops(net, layer, 2);
}

/* y = middle + [norm of] down(f(gate) * up), of norm(middle); y NULL: not wanted, only what the layer leaves behind */
static void mlp_forward(struct network *net, int layer, struct layer_state *s, float *y)
{
    void (*const gates[])(struct device *, float *, const float *, int,
                          int) = {[GATE_SILU] = net->k->silu_gate, [GATE_GELU_TANH] = net->k->gelu_tanh_gate};
    const struct layer_parameters *l = &net->layers[layer];
    int n = net->batch.n;
    float *out = l->mlp_after >= 0 ? s->mlp_out : y;
    norm_forward(net, s->mlp_in, s->middle, l->mlp_norm);
    net_linear(net, s->gate_up, s->mlp_in, n, l->gate_up, 2, -1);
    gates[net->config.family->gate](net->dev, s->gated, s->gate_up, n, net->config.ff);
    if (out)
        net_linear(net, out, s->gated, n, l->down, 1, -1);
    if (y)
        residual_forward(net, y, out, s->middle, l->mlp_after);
}

static void embed_forward(struct network *net, float *x)
{
    const struct batch_columns *columns = &net->batch.device;
    const struct grad_weights table = parameters_weights(&net->parameters, net->embed, 1);
    net->g->embed(net->dev, x, columns->ids, net->batch.n, &table);
    if (net->config.family->scaled_embeddings)
        net->k->scale(net->dev, x, net->embed_scale, stream_count(net));
    if (net->batch.tokens)
        net->k->scatter(net->dev, x, net->a.projector.out, columns->place, net->batch.tokens, net->config.d);
}

void decoder_forward(struct network *net, bool keep)
{
    float *x = net->a.x;
    embed_forward(net, x);
    for (int i = 0; i < net->config.layers; i++, x += stream_count(net)) {
        struct layer_state *state = &net->a.layers[keep ? i : 0];
        attention_forward(net, i, state, x);
        mlp_forward(net, i, state, x + stream_count(net));
    }
}

/* ---- backward ---- */

/* The gradient of what a block computed: that of the stream behind it, or where a norm stands between d_normed. */
static const float *residual_backward(struct network *net, const float *out, int after)
{
    struct activations *a = &net->a;
    if (after < 0)
        return a->dx;
    net->g->zero(net->dev, a->d_normed, stream_count(net));
    norm_backward(net, a->d_normed, a->dx, out, after);
    return a->d_normed;
}

static void mlp_backward(struct network *net, int layer, const struct layer_state *s)
{
    void (*const gates[])(struct device *, float *, const float *, const float *, int,
                          int) = {[GATE_SILU] = net->g->silu_gate_backward, [GATE_GELU_TANH] = net->g->gelu_tanh_gate_backward};
    const struct layer_parameters *l = &net->layers[layer];
    struct activations *a = &net->a;
    int n = net->batch.n;
    net_linear_backward(net, a->d_narrow, false, residual_backward(net, s->mlp_out, l->mlp_after), s->gated, n, l->down, 1, -1);
    gates[net->config.family->gate](net->dev, a->d_wide, a->d_narrow, s->gate_up, n, net->config.ff);
    net_linear_backward(net, a->d_normed, false, a->d_wide, s->mlp_in, n, l->gate_up, 2, -1);
    norm_backward(net, a->dx, a->d_normed, s->middle, l->mlp_norm);
}

/* d_wide: gradients of turned queries and keys become those of what the product gave. */
static void turn_backward(struct network *net, int layer, const struct layer_state *s)
{
    const struct model_config *m = &net->config;
    const struct layer_parameters *l = &net->layers[layer];
    const struct batch_angles *angles = angles_of(net, layer);
    const struct {
        int norm, heads, at;
    } parts[] = {{l->q_norm, m->h, 0}, {l->k_norm, m->g, m->h * m->c}};
    int n = net->batch.n, stride = qkv_stride(m);
    net->k->rope(net->dev, net->a.d_wide, n, m->h + m->g, m->c, stride, angles->cosine, angles->reverse);
    for (int i = 0; i < 2 && parts[i].norm >= 0; i++)
        net->g->rms_norm_heads_backward(net->dev, net->a.d_wide + parts[i].at, parameters_gradient(&net->parameters, parts[i].norm),
                                        s->qkv_raw + parts[i].at, n, parts[i].heads, m->c, stride,
                                        parameters_vector(&net->parameters, parts[i].norm), m->family->norm_offset, m->norm_eps);
}

static void attention_backward(struct network *net, int layer, const struct layer_state *s, const float *x)
{
    const struct model_config *m = &net->config;
    const struct layer_parameters *l = &net->layers[layer];
    const struct attention attention = self_attention(net, layer);
    const struct grad_segments segments = {.n = net->batch.samples, .bound = net->batch.device.bound};
    struct activations *a = &net->a;
    int n = net->batch.n, to_k = m->h * m->c, to_v = to_k + m->g * m->c;
    net_linear_backward(net, a->d_narrow, false, residual_backward(net, s->attention_out, l->attention_after), s->attended, n, l->o,
                        1, -1);
    net->g->attend_rows_backward(net->dev, a->d_wide, a->d_wide + to_k, a->d_wide + to_v, a->d_narrow, s->attended, s->qkv,
                                 s->qkv + to_k, s->qkv + to_v, n, qkv_stride(m), &attention, &segments);
    turn_backward(net, layer, s);
    net_linear_backward(net, a->d_normed, false, a->d_wide, s->attention_in, n, l->qkv, 3, l->qkv_bias);
    norm_backward(net, a->dx, a->d_normed, x, l->attention_norm);
    net->flops += attention_flops(net, layer, 5);
}

/* The table's share of dx, which stays as it is: pictures' embeddings take theirs from it. */
static void embed_backward(struct network *net)
{
    float *table = parameters_gradient(&net->parameters, net->embed), *dx = net->a.dx;
    if (!table)
        return;
    if (net->config.family->scaled_embeddings) {
        net->k->copy(net->dev, net->a.d_normed, dx, stream_count(net) * sizeof *dx);
        dx = net->a.d_normed;
        net->k->scale(net->dev, dx, net->embed_scale, stream_count(net));
    }
    net->g->scatter_add(net->dev, table, dx, net->batch.device.table, net->batch.n, net->config.d);
}

void decoder_backward(struct network *net)
{
    for (int i = net->config.layers - 1; i >= 0; i--) {
        const float *x = net->a.x + (size_t)i * stream_count(net);
        struct layer_state *state = &net->a.layers[net->recompute ? 0 : i];
        if (net->recompute) {
            attention_forward(net, i, state, x);
            mlp_forward(net, i, state, NULL);
        }
        mlp_backward(net, i, state);
        attention_backward(net, i, state, x);
    }
    embed_backward(net);
}
