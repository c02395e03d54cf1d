/* network.c - a network's life, memory and calls; the arithmetic stands in projector.c, decoder.c and objective.c */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/rotary.h"
#include "train/network_parts.h"

/* ---- life ---- */

static int options_check(const struct model_config *config, const struct network_options *o, struct error *err)
{
    if (config->vision.merge < 1 || config->vision.d < 1)
        return fail(err, "%s: a projector stands behind a vision tower, and this configuration has none", config->name);
    if (projector_check(config, err))
        return -1;
    if (o->weights != DTYPE_F32 && o->weights != DTYPE_BF16)
        return fail(err, "weights: dtype %s must be F32 or BF16", dtype_name(o->weights));
    return 0;
}

int network_open(struct network **network, struct safetensors *st, const struct model_config *config,
                 const struct network_options *options, struct error *err)
{
    if (options_check(config, options, err))
        return -1;
    struct network *net = mem_new(1, sizeof *net);
    *net = (struct network){.k = options->kernels,
                            .g = options->grad,
                            .dev = options->device,
                            .config = *config,
                            .projector = projector_of(config),
                            .recompute = options->recompute};
    net->parameters = (struct parameters){.k = net->k, .g = net->g, .dev = net->dev};
    net->attention_scale = config_attention_scale(config);
    net->embed_scale = config_embed_scale(config, options->weights);
    net->frequency = mem_new((size_t)config->c / 2, sizeof *net->frequency);
    rotary_frequencies(net->frequency, config, false);
    net->local_frequency = mem_new((size_t)config->c / 2, sizeof *net->local_frequency);
    if (config->window)
        rotary_frequencies(net->local_frequency, config, true);
    projector_add(net);
    decoder_add(net);
    int trained = options->train_language ? net->parameters.n : net->embed;
    if (parameters_place(&net->parameters, trained, options->weights, err) || decoder_load(net, st, err) ||
        projector_load(net, options->projector_weights, options->seed, err)) {
        network_close(net);
        return -1;
    }
    *network = net;
    return 0;
}

void network_close(struct network *net)
{
    if (!net)
        return;
    parameters_free(&net->parameters);
    batch_free(&net->batch, net);
    net->k->free(net->dev, net->a.block);
    free(net->a.layers);
    free(net->frequency);
    free(net->local_frequency);
    free(net->layers);
    free(net);
}

/* ---- products ---- */

void net_linear(struct network *net, float *y, const float *x, int n, int i, int count, int bias)
{
    const struct grad_weights w = parameters_weights(&net->parameters, i, count);
    net->g->linear(net->dev, y, x, n, &w, parameters_vector(&net->parameters, bias));
    net->flops += 2.0 * n * w.rows * w.cols;
}

void net_linear_backward(struct network *net, float *dx, bool add, const float *dy, const float *x, int n, int i, int count,
                         int bias)
{
    const struct grad_weights w = parameters_weights(&net->parameters, i, count);
    float *dw = parameters_gradient(&net->parameters, i);
    if (dw)
        net->g->linear_weights(net->dev, dw, parameters_gradient(&net->parameters, bias), dy, x, n, w.rows, w.cols);
    if (dx)
        net->g->linear_input(net->dev, dx, dy, n, &w, add);
    net->flops += 2.0 * n * w.rows * w.cols * (!!dw + !!dx);
}

/* ---- memory of a call ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

struct columns { /* a block being cut; NULL: only measured */
    float *block;
    size_t at;
};

static float *cut(struct columns *c, size_t rows, size_t width)
{
    float *p = c->block ? c->block + c->at : NULL;
    c->at += (rows * width + 15) / 16 * 16;
    return p;
}

static void layers_lay(struct network *net, struct columns *c, int states)
{
    const struct model_config *m = &net->config;
    size_t n = (size_t)net->batch.n, d = (size_t)m->d, hc = (size_t)(m->h * m->c), ff = (size_t)m->ff;
    size_t wide = hc + 2 * (size_t)(m->g * m->c), raw = m->family->qk_norm ? wide : 0;
    size_t attention_out = m->family->attention_after ? d : 0, mlp_out = m->family->mlp_after ? d : 0;
    for (int i = 0; i < states; i++) {
        struct layer_state *s = &net->a.layers[i];
        s->attention_in = cut(c, n, d);
        s->qkv_raw = cut(c, n, raw);
        s->qkv = cut(c, n, wide);
        s->attended = cut(c, n, hc);
        s->attention_out = cut(c, n, attention_out);
        s->middle = cut(c, n, d);
        s->mlp_in = cut(c, n, d);
        s->gate_up = cut(c, n, 2 * ff);
        s->gated = cut(c, n, ff);
        s->mlp_out = cut(c, n, mlp_out);
    }
}

static void projector_lay(struct network *net, struct columns *c)
{
    struct projector_state *s = &net->a.projector;
    size_t rows = (size_t)net->batch.feature_rows, tokens = (size_t)net->batch.tokens, d = (size_t)net->config.d;
    size_t wide = (size_t)(net->projector.merge * net->projector.width), cross = (size_t)net->batch.cross_rows;
    size_t inner = (size_t)projector_inner(&net->projector), normed = net->parts[PART_NORM] >= 0 ? wide : 0;
    s->features = cut(c, rows, wide);
    s->normed = cut(c, rows, normed);
    s->inner = cut(c, rows, inner);
    s->active = cut(c, cross ? 0 : rows, inner);
    s->out = cut(c, tokens, d);
    s->d_out = cut(c, tokens, d);
    s->d_inner = cut(c, larger(rows, tokens), inner);
    s->d_normed = cut(c, rows, normed);
    s->chosen = cut(c, cross ? tokens : 0, d);
    float **crossed[] = {&s->query, &s->key, &s->value, &s->seen, &s->d_query, &s->d_key, &s->d_value, &s->d_seen};
    for (size_t i = 0; i < sizeof crossed / sizeof *crossed; i++)
        *crossed[i] = cut(c, cross, d);
}

/* Cuts block, or measures: the floats of a call. */
static size_t activations_lay(struct network *net, int states, float *block)
{
    const struct model_config *m = &net->config;
    struct activations *a = &net->a;
    struct columns c = {.block = block};
    size_t n = (size_t)net->batch.n, d = (size_t)m->d, hc = (size_t)(m->h * m->c), ff = (size_t)m->ff;
    size_t scored = (size_t)net->batch.n_scored, rows = (size_t)objective_rows(net);
    a->x = cut(&c, n * (size_t)(m->layers + 1), d);
    layers_lay(net, &c, states);
    a->dx = cut(&c, n, d);
    a->d_normed = cut(&c, n, d);
    a->d_wide = cut(&c, n, larger(hc + 2 * (size_t)(m->g * m->c), 2 * ff));
    a->d_narrow = cut(&c, n, larger(hc, ff));
    a->last = cut(&c, scored, d);
    a->last_normed = cut(&c, scored, d);
    a->d_last = cut(&c, scored, d);
    a->d_last_normed = cut(&c, scored, d);
    a->loss = cut(&c, scored, 1);
    a->scores = cut(&c, rows < scored ? rows : scored, (size_t)m->vocabulary);
    a->capped = cut(&c, m->score_cap > 0 ? rows < scored ? rows : scored : 0, (size_t)m->vocabulary);
    projector_lay(net, &c);
    return c.at;
}

static int activations_reserve(struct network *net, bool keep, struct error *err)
{
    struct activations *a = &net->a;
    int states = keep ? net->config.layers : 1;
    if (!a->layers)
        a->layers = mem_new((size_t)net->config.layers, sizeof *a->layers);
    size_t floats = activations_lay(net, states, NULL);
    if (floats > a->floats) {
        net->k->free(net->dev, a->block);
        a->block = net->k->alloc(net->dev, floats * sizeof *a->block);
        a->floats = a->block ? floats : 0;
        if (!a->block)
            return fail(err,
                        "no memory on the device for %zu bytes of a batch of %d tokens; fewer at once, or recomputation, need less",
                        floats * sizeof *a->block, net->batch.n);
    }
    activations_lay(net, states, a->block);
    return 0;
}

/* ---- calls ---- */

static int run(struct network *net, const struct train_sample *samples, int n, const struct train_objective *o, bool backward,
               double *sum, struct error *err)
{
    bool keep = backward && !net->recompute;
    *sum = 0;
    if (!(o->divide > 0) && backward)
        return fail(err, "the number that the loss is divided by, %g, must be positive", o->divide);
    if (batch_make(&net->batch, net, samples, n, o, err) || activations_reserve(net, keep, err))
        return -1;
    if (!net->batch.n_scored)
        return 0;
    projector_run(net, samples);
    decoder_forward(net, keep);
    *sum = objective_run(net, o, backward);
    if (backward) {
        decoder_backward(net);
        projector_backward(net, net->a.dx);
    }
    return 0;
}

int network_backward(struct network *net, const struct train_sample *samples, int n, const struct train_objective *objective,
                     double *loss_sum, struct error *err)
{
    return run(net, samples, n, objective, true, loss_sum, err);
}

int network_loss(struct network *net, const struct train_sample *samples, int n, const struct train_objective *objective,
                 double *loss_sum, struct error *err)
{
    struct train_objective o = *objective;
    o.divide = 1;
    return run(net, samples, n, &o, false, loss_sum, err);
}

double network_flops(const struct network *net)
{
    return net->flops;
}

/* ---- parameters ---- */

int network_parameters(const struct network *net)
{
    return net->parameters.n;
}

struct network_parameter network_parameter(const struct network *net, int i)
{
    const struct parameter *p = &net->parameters.list[i];
    return (struct network_parameter){
        .name = p->name, .dims = p->dims, .shape = {p->shape[0], p->shape[1]}, .count = p->count, .trained = p->trained};
}

/* Where a part of a trained parameter is; NULL for its value. */
static float *part_at(const struct network *net, int i, enum network_part part)
{
    const struct parameters *p = &net->parameters;
    float *const parts[] = {NULL, p->gradients, p->moment1, p->moment2};
    return parts[part] ? parts[part] + p->list[i].value_at : NULL;
}

void network_read(const struct network *net, int i, enum network_part part, float *host)
{
    size_t count = net->parameters.list[i].count;
    float *from = part_at(net, i, part);
    if (from)
        net->k->download(net->dev, host, from, count * sizeof *host);
    else
        parameters_read(&net->parameters, i, 0, count, host);
}

void network_write(struct network *net, int i, enum network_part part, const float *host)
{
    size_t count = net->parameters.list[i].count;
    float *to = part_at(net, i, part);
    if (to)
        net->k->upload(net->dev, to, host, count * sizeof *host);
    else
        parameters_write(&net->parameters, i, 0, count, host);
}

float *network_gradients(struct network *net, size_t *count)
{
    *count = net->parameters.trained_floats;
    return net->parameters.gradients;
}

void network_zero_gradients(struct network *net)
{
    net->g->zero(net->dev, net->parameters.gradients, net->parameters.trained_floats);
}

/* ---- optimizer ---- */

int network_step(struct network *net, const struct network_optimizer *o, double *norm, struct error *err)
{
    struct parameters *p = &net->parameters;
    *norm = sqrt(net->g->square_sum(net->dev, p->gradients, p->trained_floats));
    if (!isfinite(*norm))
        return fail(err, "the gradients' norm is %g", *norm);
    struct adamw step = {.lr = o->lr,
                         .beta1 = o->beta1,
                         .beta2 = o->beta2,
                         .eps = o->eps,
                         .weight_decay = o->weight_decay,
                         .step = ++net->steps,
                         .factor = 1};
    if (o->clip > 0 && *norm > (double)o->clip)
        step.factor = (float)((double)o->clip / (*norm + 1e-6));
    net->g->adamw(net->dev, p->values, p->moment1, p->moment2, p->gradients, p->trained_floats, &step);
    parameters_round(p);
    network_zero_gradients(net);
    return 0;
}

int64_t network_steps(const struct network *net)
{
    return net->steps;
}

void network_set_steps(struct network *net, int64_t steps)
{
    net->steps = steps;
}
