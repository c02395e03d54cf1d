/* projector.c - the projector of a network that is trained: its parameters, and the way back through the forward pass that it
 * shares with the model that serves (model/projector.h) */
#include <stdio.h>
#include <string.h>

#include "model/family.h"
#include "train/network_parts.h"

int network_picture_tokens(const struct network *net, int rows)
{
    return net->projector.queries ? net->projector.queries : rows;
}

/* ---- parameters ---- */

static const enum parameter_fresh fresh[PROJECTOR_PARTS] = {
    [PART_NORM] = FRESH_ONE,        [PART_QUERIES] = FRESH_NORMAL, [PART_KEYS] = FRESH_NORMAL,      [PART_FIRST] = FRESH_NORMAL,
    [PART_FIRST_BIAS] = FRESH_ZERO, [PART_SECOND] = FRESH_NORMAL,  [PART_SECOND_BIAS] = FRESH_ZERO,
};

static const char *own_prefix(const struct network *net)
{
    return net->projector.form->of_family ? net->config.family->projector_prefixes[0] : "";
}

void projector_add(struct network *net)
{
    char name[192];
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        int rows, cols;
        net->parts[part] = -1;
        if (!projector_has(&net->projector, part))
            continue;
        projector_shape(&net->projector, part, &rows, &cols);
        snprintf(name, sizeof name, "%s%s", own_prefix(net), net->projector.form->names[part]);
        enum parameter_fresh begin = part == PART_NORM && net->projector.form->norm_offset > 0 ? FRESH_ZERO : fresh[part];
        net->parts[part] = parameters_add(&net->parameters, name, rows, cols, begin, false);
    }
}

/* The name that st has for a published one: behind one of the family's prefixes, else the published. */
static const char *stored_name(char name[256], const struct network *net, const struct safetensors *st, const char *published)
{
    const char *const *prefixes = net->config.family->projector_prefixes;
    for (const char *const *prefix = prefixes; net->projector.form->of_family && *prefix; prefix++) {
        snprintf(name, 256, "%s%s", *prefix, published + strlen(own_prefix(net)));
        if (safetensors_find(st, name))
            return name;
    }
    return published;
}

int projector_load(struct network *net, struct safetensors *st, uint64_t seed, struct error *err)
{
    char name[256];
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        int i = net->parts[part];
        if (i < 0)
            continue;
        if (!st)
            parameters_fresh(&net->parameters, i, seed);
        else if (parameters_load(&net->parameters, i, st, stored_name(name, net, st, net->parameters.list[i].name), err))
            return fail_in(err, "projector");
    }
    return 0;
}

/* ---- forward ---- */

static void features_upload(struct network *net, const struct train_sample *samples)
{
    size_t row = (size_t)(net->projector.merge * net->projector.width);
    float *to = net->a.projector.features;
    for (int i = 0; i < net->batch.samples; i++)
        for (int p = 0; p < samples[i].n_pictures; p++) {
            const struct train_picture *picture = &samples[i].pictures[p];
            net->k->upload(net->dev, to, picture->features, (size_t)picture->rows * row * sizeof *to);
            to += (size_t)picture->rows * row;
        }
}

/* A turned layer is a product from the other side: the three operations of a layer change places. */
static bool is_turned(const struct network *net, enum projector_part part)
{
    return part == PART_SECOND && net->projector.form->turned;
}

static void product(void *of, float *y, const float *x, int n, enum projector_part part)
{
    struct network *net = of;
    int i = net->parts[part], bias = part == PART_KEYS ? -1 : net->parts[part + 1];
    if (!is_turned(net, part)) {
        net_linear(net, y, x, n, i, 1, bias);
        return;
    }
    const struct grad_weights w = parameters_weights(&net->parameters, i, 1);
    net->g->linear_input(net->dev, y, x, n, &w, false);
    net->flops += 2.0 * n * w.rows * w.cols;
}

static void queries(void *of, float *y, const int32_t *index, int n)
{
    struct network *net = of;
    const struct grad_weights learned = parameters_weights(&net->parameters, net->parts[PART_QUERIES], 1);
    net->g->embed(net->dev, y, index, n, &learned);
}

void projector_run(struct network *net, const struct train_sample *samples)
{
    const struct batch *b = &net->batch;
    struct projector_state *s = &net->a.projector;
    const struct projector_weights weights = {net, product, queries, parameters_vector(&net->parameters, net->parts[PART_NORM])};
    const struct projector_work work = {.cells = b->feature_rows,
                                        .tokens = b->tokens,
                                        .from = s->features,
                                        .normed = s->normed,
                                        .inner = s->inner,
                                        .active = s->active,
                                        .out = s->out,
                                        .query = s->query,
                                        .key = s->key,
                                        .value = s->value,
                                        .seen = s->seen,
                                        .chosen = s->chosen,
                                        .cross = b->device.cross};
    if (!b->feature_rows)
        return;
    features_upload(net, samples);
    float *zeroed[] = {s->query, s->key, s->value};
    for (int i = 0; i < 3 && b->cross_rows; i++)
        net->g->zero(net->dev, zeroed[i], (size_t)b->cross_rows * (size_t)net->config.d);
    projector_forward(&net->projector, &weights, &work, net->k, net->dev);
    net->flops += 4 * b->cross_pairs * (double)net->config.d;
}

/* ---- backward ---- */

static void product_backward(struct network *net, float *dx, bool add, const float *dy, const float *x, int n,
                             enum projector_part part)
{
    int i = net->parts[part], bias = part == PART_KEYS ? -1 : net->parts[part + 1];
    if (!is_turned(net, part)) {
        net_linear_backward(net, dx, add, dy, x, n, i, 1, bias);
        return;
    }
    const struct grad_weights w = parameters_weights(&net->parameters, i, 1);
    net->g->linear_weights(net->dev, parameters_gradient(&net->parameters, i), NULL, x, dy, n, w.rows, w.cols);
    net->g->linear(net->dev, dx, dy, n, &w, NULL);
    net->flops += 4.0 * n * w.rows * w.cols;
}

/* From the gradient of what the queries chose, in d_inner, to that of the normed features. */
static void resample_backward(struct network *net)
{
    const struct batch *b = &net->batch;
    struct projector_state *s = &net->a.projector;
    const struct projector_cross *cross = &b->device.cross;
    const struct attention a = projector_attention(&net->projector, cross);
    const struct grad_segments pictures = {.n = b->pictures, .bound = b->device.cross_bound};
    float *d_queries = parameters_gradient(&net->parameters, net->parts[PART_QUERIES]);
    int d = net->config.d;
    net->g->zero(net->dev, s->d_seen, (size_t)b->cross_rows * (size_t)d);
    net->k->scatter(net->dev, s->d_seen, s->d_inner, cross->query_row, b->tokens, d);
    net->g->attend_rows_backward(net->dev, s->d_query, s->d_key, s->d_value, s->d_seen, s->seen, s->query, s->key, s->value,
                                 b->cross_rows, d, &a, &pictures);
    net->flops += 10 * b->cross_pairs * (double)d;
    net->k->gather(net->dev, s->d_inner, s->d_query, cross->query_row, b->tokens, d);
    net->g->scatter_add(net->dev, d_queries, s->d_inner, cross->query, b->tokens, d);
    net->k->gather(net->dev, s->d_inner, s->d_key, cross->key_row, b->feature_rows, d);
    product_backward(net, s->d_normed, false, s->d_inner, s->normed, b->feature_rows, PART_KEYS);
    net->k->gather(net->dev, s->d_inner, s->d_value, cross->key_row, b->feature_rows, d);
    product_backward(net, s->d_normed, true, s->d_inner, s->normed, b->feature_rows, PART_FIRST);
}

void projector_backward(struct network *net, const float *dx)
{
    const struct projector *p = &net->projector;
    struct projector_state *s = &net->a.projector;
    int rows = net->batch.feature_rows, tokens = net->batch.tokens;
    bool norm = projector_has(p, PART_NORM);
    if (!rows)
        return;
    net->k->gather(net->dev, s->d_out, dx, net->batch.device.place, tokens, net->config.d);
    if (projector_has(p, PART_QUERIES)) {
        product_backward(net, s->d_inner, false, s->d_out, s->chosen, tokens, PART_SECOND);
        resample_backward(net);
    } else if (projector_has(p, PART_FIRST)) {
        product_backward(net, s->d_inner, false, s->d_out, s->active, tokens, PART_SECOND);
        net->g->gelu_erf_backward(net->dev, s->d_inner, s->d_inner, s->inner, (size_t)rows * (size_t)projector_inner(p));
        product_backward(net, norm ? s->d_normed : NULL, false, s->d_inner, norm ? s->normed : s->features, rows, PART_FIRST);
    } else {
        product_backward(net, s->d_normed, false, s->d_out, s->normed, tokens, PART_SECOND);
    }
    if (norm) /* the features themselves want no gradient: the tower is frozen */
        net->g->rms_norm_backward(net->dev, NULL, parameters_gradient(&net->parameters, net->parts[PART_NORM]), s->d_normed,
                                  s->features, rows * p->merge, p->width,
                                  parameters_vector(&net->parameters, net->parts[PART_NORM]), p->form->norm_offset, p->norm_eps);
}
