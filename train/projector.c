/* projector.c - from a picture's features to the embeddings that stand at its places, and back. What the kinds do stands in
 * network.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/family.h"
#include "model/vision.h"
#include "train/network_parts.h"

const char *const projector_kind_names[PROJECTOR_KINDS] = {"mlp", "linear", "resampler", "plain"};

static int feature_width(const struct network *net)
{
    return net->projector_config.merge * net->projector_config.width;
}

int projector_inner(const struct network *net)
{
    if (net->projector_config.kind == PROJECTOR_PLAIN)
        return net->config.d;
    return net->projector_config.kind == PROJECTOR_MLP && net->projector.first >= 0 ? feature_width(net) : 0;
}

int network_picture_tokens(const struct network *net, int rows)
{
    return net->projector_config.kind == PROJECTOR_RESAMPLER ? net->projector_config.queries : rows;
}

/* ---- parameters ---- */

static int add(struct network *net, const char *prefix, const char *name, int rows, int cols, enum parameter_fresh fresh)
{
    char whole[192];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return parameters_add(&net->parameters, whole, rows, cols, fresh, false);
}

/* The family's own. */
static void form_add(struct network *net, struct projector_parameters *p, const struct projector_form *form)
{
    const char *prefix = net->config.family->projector_prefixes[0];
    int d = net->config.d, wide = feature_width(net), rows = form->last_turned ? wide : d, cols = form->last_turned ? d : wide;
    p->norm_offset = form->norm_offset;
    p->turned = form->last_turned;
    p->norm = add(net, prefix, form->norm, 0, net->projector_config.width, form->norm_offset ? FRESH_ZERO : FRESH_ONE);
    if (form->first) {
        p->first = add(net, prefix, form->first, wide, wide, FRESH_NORMAL);
        p->first_bias = add(net, prefix, form->first_bias, 0, wide, FRESH_ZERO);
    }
    p->second = add(net, prefix, form->last, rows, cols, FRESH_NORMAL);
    if (form->last_bias)
        p->second_bias = add(net, prefix, form->last_bias, 0, d, FRESH_ZERO);
}

void projector_add(struct network *net)
{
    struct projector_parameters *p = &net->projector;
    const char *own = "projector.";
    int d = net->config.d, wide = feature_width(net), width = net->projector_config.width;
    *p = (struct projector_parameters){-1, -1, -1, -1, -1, -1, -1, false, 0};
    switch (net->projector_config.kind) {
    case PROJECTOR_MLP:
        form_add(net, p, net->config.family->projector);
        break;
    case PROJECTOR_LINEAR:
        p->norm = add(net, own, "norm.weight", 0, width, FRESH_ONE);
        p->second = add(net, own, "linear.weight", d, wide, FRESH_NORMAL);
        p->second_bias = add(net, own, "linear.bias", 0, d, FRESH_ZERO);
        break;
    case PROJECTOR_RESAMPLER:
        p->norm = add(net, own, "norm.weight", 0, width, FRESH_ONE);
        p->queries = add(net, own, "queries", net->projector_config.queries, d, FRESH_NORMAL);
        p->keys = add(net, own, "k.weight", d, wide, FRESH_NORMAL); /* a bias would change no softmax */
        p->first = add(net, own, "v.weight", d, wide, FRESH_NORMAL);
        p->first_bias = add(net, own, "v.bias", 0, d, FRESH_ZERO);
        p->second = add(net, own, "out.weight", d, d, FRESH_NORMAL);
        p->second_bias = add(net, own, "out.bias", 0, d, FRESH_ZERO);
        break;
    default:
        p->first = add(net, own, "0.weight", d, wide, FRESH_NORMAL);
        p->first_bias = add(net, own, "0.bias", 0, d, FRESH_ZERO);
        p->second = add(net, own, "2.weight", d, d, FRESH_NORMAL);
        p->second_bias = add(net, own, "2.bias", 0, d, FRESH_ZERO);
    }
}

/* The name that st has for a published one: one of the family's prefixes, else the published. */
static const char *stored_name(char name[256], const struct network *net, const struct safetensors *st, const char *rest)
{
    for (const char *const *prefix = net->config.family->projector_prefixes; *prefix; prefix++) {
        snprintf(name, 256, "%s%s", *prefix, rest);
        if (safetensors_find(st, name))
            return name;
    }
    snprintf(name, 256, "%s%s", net->config.family->projector_prefixes[0], rest);
    return name;
}

int projector_load(struct network *net, struct safetensors *st, uint64_t seed, struct error *err)
{
    char name[256];
    bool published = net->projector_config.kind == PROJECTOR_MLP;
    size_t skip = published ? strlen(net->config.family->projector_prefixes[0]) : 0;
    for (int i = 0; i < net->embed; i++) {
        const char *tensor = net->parameters.list[i].name;
        if (!st)
            parameters_fresh(&net->parameters, i, seed);
        else if (parameters_load(&net->parameters, i, st, published ? stored_name(name, net, st, tensor + skip) : tensor, err))
            return fail_in(err, "projector");
    }
    return 0;
}

/* ---- forward and backward ---- */

/* out = the last layer's; a turned one is a product from the other side, so that the three operations of a layer change places. */
static void last_forward(struct network *net, const float *in)
{
    const struct projector_parameters *p = &net->projector;
    const struct grad_weights w = parameters_weights(&net->parameters, p->second, 1);
    int tokens = net->batch.tokens;
    if (!p->turned) {
        net_linear(net, net->a.projector.out, in, tokens, p->second, 1, p->second_bias);
        return;
    }
    net->g->linear_input(net->dev, net->a.projector.out, in, tokens, &w, false);
    net->flops += 2.0 * tokens * w.rows * w.cols;
}

/* From d_out to the last layer's gradients and d_in. */
static void last_backward(struct network *net, float *d_in, const float *in)
{
    const struct projector_parameters *p = &net->projector;
    const struct grad_weights w = parameters_weights(&net->parameters, p->second, 1);
    const float *d_out = net->a.projector.d_out;
    int tokens = net->batch.tokens;
    if (!p->turned) {
        net_linear_backward(net, d_in, false, d_out, in, tokens, p->second, 1, p->second_bias);
        return;
    }
    net->g->linear_weights(net->dev, parameters_gradient(&net->parameters, p->second), NULL, in, d_out, tokens, w.rows, w.cols);
    net->g->linear(net->dev, d_in, d_out, tokens, &w, NULL);
    net->flops += 4.0 * tokens * w.rows * w.cols;
}

static struct attention cross_attention(const struct network *net)
{
    int h = net->config.h, c = net->config.d / h;
    const struct batch_columns *columns = &net->batch.device;
    return (struct attention){
        .h = h, .g = h, .c = c, .scale = 1.0f / sqrtf((float)c), .first = columns->cross_first, .last = columns->cross_last};
}

static void features_upload(struct network *net, const struct train_sample *samples)
{
    size_t row = (size_t)feature_width(net);
    float *to = net->a.projector.features;
    for (int i = 0; i < net->batch.samples; i++)
        for (int p = 0; p < samples[i].n_pictures; p++) {
            const struct train_picture *picture = &samples[i].pictures[p];
            net->k->upload(net->dev, to, picture->features, (size_t)picture->rows * row * sizeof *to);
            to += (size_t)picture->rows * row;
        }
}

/* Queries at their rows, keys and values at those of the features; the other rows of each are zero. */
static void resample(struct network *net)
{
    const struct projector_parameters *p = &net->projector;
    const struct batch *b = &net->batch;
    struct projector_state *s = &net->a.projector;
    const struct attention a = cross_attention(net);
    const struct grad_weights queries = parameters_weights(&net->parameters, p->queries, 1);
    int d = net->config.d;
    float *all[] = {s->query, s->key, s->value};
    for (int i = 0; i < 3; i++)
        net->g->zero(net->dev, all[i], (size_t)b->cross_rows * (size_t)d);
    net->g->embed(net->dev, s->chosen, b->device.query, b->tokens, &queries);
    net->k->scatter(net->dev, s->query, s->chosen, b->device.query_row, b->tokens, d);
    net_linear(net, s->inner, s->normed, b->feature_rows, p->keys, 1, -1);
    net->k->scatter(net->dev, s->key, s->inner, b->device.key_row, b->feature_rows, d);
    net_linear(net, s->inner, s->normed, b->feature_rows, p->first, 1, p->first_bias);
    net->k->scatter(net->dev, s->value, s->inner, b->device.key_row, b->feature_rows, d);
    net->k->attend_rows(net->dev, s->seen, s->query, s->key, s->value, b->cross_rows, d, &a);
    net->k->gather(net->dev, s->chosen, s->seen, b->device.query_row, b->tokens, d);
    net->flops += 4 * b->cross_pairs * (double)d;
}

/* From the gradient of what the queries chose, in d_inner, to that of the normed features. */
static void resample_backward(struct network *net)
{
    const struct projector_parameters *p = &net->projector;
    const struct batch *b = &net->batch;
    struct projector_state *s = &net->a.projector;
    const struct attention a = cross_attention(net);
    const struct grad_segments pictures = {.n = b->pictures, .bound = b->device.cross_bound};
    int d = net->config.d;
    net->g->zero(net->dev, s->d_seen, (size_t)b->cross_rows * (size_t)d);
    net->k->scatter(net->dev, s->d_seen, s->d_inner, b->device.query_row, b->tokens, d);
    net->g->attend_rows_backward(net->dev, s->d_query, s->d_key, s->d_value, s->d_seen, s->seen, s->query, s->key, s->value,
                                 b->cross_rows, d, &a, &pictures);
    net->flops += 10 * b->cross_pairs * (double)d;
    net->k->gather(net->dev, s->d_inner, s->d_query, b->device.query_row, b->tokens, d);
    net->g->scatter_add(net->dev, parameters_gradient(&net->parameters, p->queries), s->d_inner, b->device.query, b->tokens, d);
    net->k->gather(net->dev, s->d_inner, s->d_key, b->device.key_row, b->feature_rows, d);
    net_linear_backward(net, s->d_normed, false, s->d_inner, s->normed, b->feature_rows, p->keys, 1, -1);
    net->k->gather(net->dev, s->d_inner, s->d_value, b->device.key_row, b->feature_rows, d);
    net_linear_backward(net, s->d_normed, true, s->d_inner, s->normed, b->feature_rows, p->first, 1, p->first_bias);
}

void projector_forward(struct network *net, const struct train_sample *samples)
{
    const struct projector_parameters *p = &net->projector;
    struct projector_state *s = &net->a.projector;
    int rows = net->batch.feature_rows, width = net->projector_config.width;
    const float *in = s->features;
    if (!rows)
        return;
    features_upload(net, samples);
    if (p->norm >= 0) {
        const float *weight = parameters_vector(&net->parameters, p->norm);
        net->k->rms_norm(net->dev, s->normed, in, rows * net->projector_config.merge, width, width, weight, p->norm_offset,
                         net->config.vision.norm_eps);
        in = s->normed;
    }
    if (p->queries >= 0) {
        resample(net);
        in = s->chosen;
    } else if (p->first >= 0) {
        size_t count = (size_t)rows * (size_t)projector_inner(net);
        net_linear(net, s->inner, in, rows, p->first, 1, p->first_bias);
        net->k->copy(net->dev, s->active, s->inner, count * sizeof(float));
        net->k->gelu_erf(net->dev, s->active, count);
        in = s->active;
    }
    last_forward(net, in);
}

void projector_backward(struct network *net, const float *dx)
{
    const struct projector_parameters *p = &net->projector;
    struct projector_state *s = &net->a.projector;
    int rows = net->batch.feature_rows, tokens = net->batch.tokens, width = net->projector_config.width;
    if (!rows)
        return;
    net->k->gather(net->dev, s->d_out, dx, net->batch.device.place, tokens, net->config.d);
    if (p->queries >= 0) {
        last_backward(net, s->d_inner, s->chosen);
        resample_backward(net);
    } else if (p->first >= 0) {
        last_backward(net, s->d_inner, s->active);
        net->g->gelu_erf_backward(net->dev, s->d_inner, s->d_inner, s->inner, (size_t)rows * (size_t)projector_inner(net));
        float *d_in = p->norm >= 0 ? s->d_normed : NULL;
        net_linear_backward(net, d_in, false, s->d_inner, d_in ? s->normed : s->features, rows, p->first, 1, p->first_bias);
    } else {
        last_backward(net, s->d_normed, s->normed);
    }
    if (p->norm >= 0) /* the features themselves want no gradient: the tower is frozen */
        net->g->rms_norm_backward(net->dev, NULL, parameters_gradient(&net->parameters, p->norm), s->d_normed, s->features,
                                  rows * net->projector_config.merge, width, parameters_vector(&net->parameters, p->norm),
                                  p->norm_offset, net->config.vision.norm_eps);
}
