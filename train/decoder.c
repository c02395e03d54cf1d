/* decoder.c - the language model over a batch, forward and backward; forward as model/forward.c, over rows instead of a cache.
 * Letters: n rows, d width, h query heads, g key/value heads, c head width, ff MLP width. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "train/network_parts.h"

/* ---- parameters ---- */

static int add(struct network *net, int layer, const char *name, int rows, int cols, bool follows)
{
    char whole[192];
    const char *prefix = net->config.family->language_prefixes[0];
    if (layer < 0)
        snprintf(whole, sizeof whole, "%s%s", prefix, name);
    else
        snprintf(whole, sizeof whole, "%slayers.%d.%s", prefix, layer, name);
    return parameters_add(&net->parameters, whole, rows, cols, FRESH_ZERO, follows);
}

static void layer_add(struct network *net, int i)
{
    const struct model_config *m = &net->config;
    struct layer_parameters *l = &net->layers[i];
    int q = m->h * m->c, k = m->g * m->c;
    l->attention_norm = add(net, i, "input_layernorm.weight", 0, m->d, false);
    l->qkv = add(net, i, "self_attn.q_proj.weight", q, m->d, false);
    add(net, i, "self_attn.k_proj.weight", k, m->d, true);
    add(net, i, "self_attn.v_proj.weight", k, m->d, true);
    l->qkv_bias = -1;
    if (m->family->qkv_bias) {
        l->qkv_bias = add(net, i, "self_attn.q_proj.bias", 0, q, false);
        add(net, i, "self_attn.k_proj.bias", 0, k, true);
        add(net, i, "self_attn.v_proj.bias", 0, k, true);
    }
    l->o = add(net, i, "self_attn.o_proj.weight", m->d, q, false);
    l->mlp_norm = add(net, i, "post_attention_layernorm.weight", 0, m->d, false);
    l->gate_up = add(net, i, "mlp.gate_proj.weight", m->ff, m->d, false);
    add(net, i, "mlp.up_proj.weight", m->ff, m->d, true);
    l->down = add(net, i, "mlp.down_proj.weight", m->d, m->ff, false);
}

void decoder_add(struct network *net)
{
    const struct model_config *m = &net->config;
    net->layers = mem_new((size_t)m->layers, sizeof *net->layers);
    net->embed = net->head = add(net, -1, "embed_tokens.weight", m->vocabulary, m->d, false);
    for (int i = 0; i < m->layers; i++)
        layer_add(net, i);
    net->norm = add(net, -1, "norm.weight", 0, m->d, false);
    if (!m->tied)
        net->head = parameters_add(&net->parameters, m->family->head_names[0], m->vocabulary, m->d, FRESH_ZERO, false);
}

/* The prefix of the language model's names that st has; without any the published one, for the error's sake. */
static const char *prefix_find(const struct network *net, const struct safetensors *st)
{
    char name[256];
    for (const char *const *prefix = net->config.family->language_prefixes; *prefix; prefix++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", *prefix);
        if (safetensors_find(st, name))
            return *prefix;
    }
    return net->config.family->language_prefixes[0];
}

static const char *head_find(const struct network *net, const struct safetensors *st)
{
    for (const char *const *name = net->config.family->head_names; *name; name++)
        if (safetensors_find(st, *name))
            return *name;
    return NULL;
}

/* A tied model whose files hold another head is served with that head: it cannot be trained as a tied one. */
static int head_check(const struct network *net, struct safetensors *st, const char *prefix, struct error *err)
{
    const char *head = head_find(net, st);
    char table[256];
    uint64_t ours[2], theirs[2];
    if (!net->config.tied || !head)
        return 0;
    snprintf(table, sizeof table, "%sembed_tokens.weight", prefix);
    if (safetensors_hash(st, table, 1, ours, err) || safetensors_hash(st, head, 1, theirs, err))
        return -1;
    return memcmp(ours, theirs, sizeof ours) ? fail(err, "tensor %s differs from %s, but the configuration ties them", head, table)
                                             : 0;
}

int decoder_load(struct network *net, struct safetensors *st, struct error *err)
{
    const char *prefix = prefix_find(net, st), *head = head_find(net, st);
    size_t skip = strlen(net->config.family->language_prefixes[0]);
    char name[256];
    if (head_check(net, st, prefix, err))
        return -1;
    for (int i = net->embed; i < net->parameters.n; i++) {
        bool is_head = i == net->head && net->head != net->embed;
        snprintf(name, sizeof name, "%s%s", prefix, net->parameters.list[i].name + skip);
        if (parameters_load(&net->parameters, i, st, !is_head ? name : head ? head : net->parameters.list[i].name, err))
            return fail_in(err, "weights of %s", net->config.name);
    }
    return 0;
}

/* ---- forward ---- */

static size_t stream_count(const struct network *net)
{
    return (size_t)net->batch.n * (size_t)net->config.d;
}

static struct attention self_attention(const struct network *net)
{
    const struct model_config *m = &net->config;
    const struct batch_columns *c = &net->batch.device;
    return (struct attention){
        .h = m->h, .g = m->g, .c = m->c, .scale = 1.0f / sqrtf((float)m->c), .first = c->first, .last = c->last};
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

/* middle = x + O attention(norm(x)) */
static void attention_forward(struct network *net, const struct layer_parameters *l, struct layer_state *s, const float *x)
{
    const struct model_config *m = &net->config;
    const struct batch_columns *columns = &net->batch.device;
    const struct attention a = self_attention(net);
    int n = net->batch.n, stride = (m->h + 2 * m->g) * m->c;
    float *q = s->qkv, *k = q + m->h * m->c, *v = k + m->g * m->c;
    norm_forward(net, s->attention_in, x, l->attention_norm);
    net_linear(net, q, s->attention_in, n, l->qkv, 3, l->qkv_bias);
    net->k->rope(net->dev, q, n, m->h + m->g, m->c, stride, columns->cosine, columns->sine);
    net->k->attend_rows(net->dev, s->attended, q, k, v, n, stride, &a);
    net_linear(net, s->middle, s->attended, n, l->o, 1, -1);
    net->k->add(net->dev, s->middle, x, stream_count(net));
    net->flops += 4 * net->batch.pairs * (double)(m->h * m->c);
}

/* out = middle + down(silu(gate) * up), of norm(middle); out NULL: not wanted */
static void mlp_forward(struct network *net, const struct layer_parameters *l, struct layer_state *s, float *out)
{
    int n = net->batch.n;
    norm_forward(net, s->mlp_in, s->middle, l->mlp_norm);
    net_linear(net, s->gate_up, s->mlp_in, n, l->gate_up, 2, -1);
    net->k->silu_gate(net->dev, s->gated, s->gate_up, n, net->config.ff);
    if (!out)
        return;
    net_linear(net, out, s->gated, n, l->down, 1, -1);
    net->k->add(net->dev, out, s->middle, stream_count(net));
}

void decoder_forward(struct network *net, bool keep)
{
    const struct batch_columns *columns = &net->batch.device;
    const struct grad_weights table = parameters_weights(&net->parameters, net->embed, 1);
    float *x = net->a.x;
    net->g->embed(net->dev, x, columns->ids, net->batch.n, &table);
    if (net->batch.tokens)
        net->k->scatter(net->dev, x, net->a.projector.out, columns->place, net->batch.tokens, net->config.d);
    for (int i = 0; i < net->config.layers; i++, x += stream_count(net)) {
        struct layer_state *state = &net->a.layers[keep ? i : 0];
        attention_forward(net, &net->layers[i], state, x);
        mlp_forward(net, &net->layers[i], state, x + stream_count(net));
    }
}

/* ---- backward ---- */

static void mlp_backward(struct network *net, const struct layer_parameters *l, const struct layer_state *s)
{
    struct activations *a = &net->a;
    int n = net->batch.n;
    net_linear_backward(net, a->d_narrow, false, a->dx, s->gated, n, l->down, 1, -1);
    net->g->silu_gate_backward(net->dev, a->d_wide, a->d_narrow, s->gate_up, n, net->config.ff);
    net_linear_backward(net, a->d_normed, false, a->d_wide, s->mlp_in, n, l->gate_up, 2, -1);
    norm_backward(net, a->dx, a->d_normed, s->middle, l->mlp_norm);
}

static void attention_backward(struct network *net, const struct layer_parameters *l, const struct layer_state *s, const float *x)
{
    const struct model_config *m = &net->config;
    const struct batch_columns *columns = &net->batch.device;
    const struct attention attention = self_attention(net);
    const struct grad_segments segments = {.n = net->batch.samples, .bound = columns->bound};
    struct activations *a = &net->a;
    int n = net->batch.n, stride = (m->h + 2 * m->g) * m->c, to_k = m->h * m->c, to_v = to_k + m->g * m->c;
    net_linear_backward(net, a->d_narrow, false, a->dx, s->attended, n, l->o, 1, -1);
    net->g->attend_rows_backward(net->dev, a->d_wide, a->d_wide + to_k, a->d_wide + to_v, a->d_narrow, s->attended, s->qkv,
                                 s->qkv + to_k, s->qkv + to_v, n, stride, &attention, &segments);
    net->k->rope(net->dev, a->d_wide, n, m->h + m->g, m->c, stride, columns->cosine, columns->reverse);
    net_linear_backward(net, a->d_normed, false, a->d_wide, s->attention_in, n, l->qkv, 3, l->qkv_bias);
    norm_backward(net, a->dx, a->d_normed, x, l->attention_norm);
    net->flops += 10 * net->batch.pairs * (double)(m->h * m->c);
}

void decoder_backward(struct network *net)
{
    float *table = parameters_gradient(&net->parameters, net->embed);
    for (int i = net->config.layers - 1; i >= 0; i--) {
        const float *x = net->a.x + (size_t)i * stream_count(net);
        struct layer_state *state = &net->a.layers[net->recompute ? 0 : i];
        if (net->recompute) {
            attention_forward(net, &net->layers[i], state, x);
            mlp_forward(net, &net->layers[i], state, NULL);
        }
        mlp_backward(net, &net->layers[i], state);
        attention_backward(net, &net->layers[i], state, x);
    }
    if (table)
        net->g->scatter_add(net->dev, table, net->a.dx, net->batch.device.table, net->batch.n, net->config.d);
}
