/* decoder_weights.c - the language model's parameters: their order, their names in each layout, and reading them */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "train/network_parts.h"

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

/* A norm's weight; -1 where the family has none of this name. */
static int norm_add(struct network *net, int layer, const char *name, int width)
{
    char whole[64];
    if (!name)
        return -1;
    snprintf(whole, sizeof whole, "%s.weight", name);
    return add(net, layer, whole, 0, width, false);
}

static int qkv_bias_add(struct network *net, int i, int q, int k)
{
    if (!net->config.family->qkv_bias)
        return -1;
    int first = add(net, i, "self_attn.q_proj.bias", 0, q, false);
    add(net, i, "self_attn.k_proj.bias", 0, k, true);
    add(net, i, "self_attn.v_proj.bias", 0, k, true);
    return first;
}

static void layer_add(struct network *net, int i)
{
    const struct model_config *m = &net->config;
    const struct family *f = m->family;
    struct layer_parameters *l = &net->layers[i];
    int q = m->h * m->c, k = m->g * m->c;
    l->attention_norm = norm_add(net, i, f->attention_norm, m->d);
    l->qkv = add(net, i, "self_attn.q_proj.weight", q, m->d, false);
    add(net, i, "self_attn.k_proj.weight", k, m->d, true);
    add(net, i, "self_attn.v_proj.weight", k, m->d, true);
    l->qkv_bias = qkv_bias_add(net, i, q, k);
    l->q_norm = norm_add(net, i, f->qk_norm ? "self_attn.q_norm" : NULL, m->c);
    l->k_norm = norm_add(net, i, f->qk_norm ? "self_attn.k_norm" : NULL, m->c);
    l->o = add(net, i, "self_attn.o_proj.weight", m->d, q, false);
    l->attention_after = norm_add(net, i, f->attention_after, m->d);
    l->mlp_norm = norm_add(net, i, f->mlp_norm, m->d);
    l->gate_up = add(net, i, "mlp.gate_proj.weight", m->ff, m->d, false);
    add(net, i, "mlp.up_proj.weight", m->ff, m->d, true);
    l->down = add(net, i, "mlp.down_proj.weight", m->d, m->ff, false);
    l->mlp_after = norm_add(net, i, f->mlp_after, m->d);
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
