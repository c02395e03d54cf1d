/* projector.c - the kinds of projector: what they are made of, and the forward pass that serving and training share */
#include "model/projector.h"

#include <math.h>

#include "model/family.h"
#include "model/vision.h"

const char *const projector_kind_names[PROJECTOR_KINDS] = {"mlp", "linear", "resampler", "plain"};

/* The family's own (PROJECTOR_MLP) stands in its entry. */
static const struct projector_form forms[PROJECTOR_KINDS] = {
    [PROJECTOR_LINEAR] = {.names = {[PART_NORM] = "projector.norm.weight",
                                    [PART_SECOND] = "projector.linear.weight",
                                    [PART_SECOND_BIAS] = "projector.linear.bias"}},
    [PROJECTOR_RESAMPLER] = {.names = {[PART_NORM] = "projector.norm.weight",
                                       [PART_QUERIES] = "projector.queries",
                                       [PART_KEYS] = "projector.k.weight",
                                       [PART_FIRST] = "projector.v.weight",
                                       [PART_FIRST_BIAS] = "projector.v.bias",
                                       [PART_SECOND] = "projector.out.weight",
                                       [PART_SECOND_BIAS] = "projector.out.bias"}},
    [PROJECTOR_PLAIN] = {.names = {[PART_FIRST] = "projector.0.weight",
                                   [PART_FIRST_BIAS] = "projector.0.bias",
                                   [PART_SECOND] = "projector.2.weight",
                                   [PART_SECOND_BIAS] = "projector.2.bias"}},
};

struct projector projector_of(const struct model_config *config)
{
    enum projector_kind kind = config->projector;
    return (struct projector){.form = kind == PROJECTOR_MLP ? config->family->projector : &forms[kind],
                              .merge = vision_joined(config),
                              .width = config->vision.d,
                              .queries = kind == PROJECTOR_RESAMPLER ? config->queries : 0,
                              .d = config->vision.out_d,
                              .heads = config->h,
                              .norm_eps = config->vision.norm_eps};
}

int projector_check(const struct model_config *config, struct error *err)
{
    if (config->projector == PROJECTOR_RESAMPLER && (config->queries < 1 || config->d % config->h))
        return fail(err, "resampler: %d queries, width %d for %d heads; it needs a query, and heads that divide the width",
                    config->queries, config->d, config->h);
    return 0;
}

void projector_grid(const struct model_config *config, const int cells[2], int tokens[2])
{
    bool resamples = config->projector == PROJECTOR_RESAMPLER;
    tokens[0] = resamples ? 1 : cells[0];
    tokens[1] = resamples ? config->queries : cells[1];
}

bool projector_has(const struct projector *p, enum projector_part part)
{
    return p->form->names[part] != NULL;
}

int projector_inner(const struct projector *p)
{
    return !projector_has(p, PART_FIRST) ? 0 : p->form->wide ? p->merge * p->width : p->d;
}

void projector_shape(const struct projector *p, enum projector_part part, int *rows, int *cols)
{
    int wide = p->merge * p->width, inner = projector_inner(p);
    const int shapes[PROJECTOR_PARTS][2] = {
        [PART_NORM] = {0, p->width},   [PART_QUERIES] = {p->queries, p->d}, [PART_KEYS] = {p->d, wide},
        [PART_FIRST] = {inner, wide},  [PART_FIRST_BIAS] = {0, inner},      [PART_SECOND] = {p->d, inner ? inner : wide},
        [PART_SECOND_BIAS] = {0, p->d}};
    bool turned = part == PART_SECOND && p->form->turned;
    *rows = shapes[part][turned];
    *cols = shapes[part][!turned];
}

/* ---- forward ---- */

void projector_cross_picture(const struct projector_cross *cross, int tokens, int cells, int begin, int token, int cell)
{
    int keys = begin + tokens, end = keys + cells;
    for (int i = begin; i < end; i++) {
        cross->first[i] = i < keys ? keys : i;
        cross->last[i] = i < keys ? end : i + 1;
    }
    for (int i = 0; i < tokens; i++) {
        cross->query[token + i] = i;
        cross->query_row[token + i] = begin + i;
    }
    for (int i = 0; i < cells; i++)
        cross->key_row[cell + i] = keys + i;
}

struct attention projector_attention(const struct projector *p, const struct projector_cross *cross)
{
    int c = p->d / p->heads;
    return (struct attention){
        .h = p->heads, .g = p->heads, .c = c, .scale = 1.0f / sqrtf((float)c), .first = cross->first, .last = cross->last};
}

/* Queries at their rows, keys and values at those of the cells; what the queries saw to work->chosen. */
static void resample(const struct projector *p, const struct projector_weights *w, const struct projector_work *work,
                     const float *from, const struct kernels *k, struct device *dev)
{
    const struct attention a = projector_attention(p, &work->cross);
    w->queries(w->of, work->chosen, work->cross.query, work->tokens);
    k->scatter(dev, work->query, work->chosen, work->cross.query_row, work->tokens, p->d);
    w->product(w->of, work->inner, from, work->cells, PART_KEYS);
    k->scatter(dev, work->key, work->inner, work->cross.key_row, work->cells, p->d);
    w->product(w->of, work->inner, from, work->cells, PART_FIRST);
    k->scatter(dev, work->value, work->inner, work->cross.key_row, work->cells, p->d);
    k->attend_rows(dev, work->seen, work->query, work->key, work->value, work->tokens + work->cells, p->d, &a);
    k->gather(dev, work->chosen, work->seen, work->cross.query_row, work->tokens, p->d);
}

void projector_forward(const struct projector *p, const struct projector_weights *w, const struct projector_work *work,
                       const struct kernels *k, struct device *dev)
{
    const float *from = work->from;
    if (projector_has(p, PART_NORM)) {
        k->rms_norm(dev, work->normed, from, work->cells * p->merge, p->width, p->width, w->norm, p->form->norm_offset,
                    p->norm_eps);
        from = work->normed;
    }
    if (projector_has(p, PART_QUERIES)) {
        resample(p, w, work, from, k, dev);
        from = work->chosen;
    } else if (projector_has(p, PART_FIRST)) {
        size_t count = (size_t)work->cells * (size_t)projector_inner(p);
        w->product(w->of, work->inner, from, work->cells, PART_FIRST);
        if (work->active != work->inner)
            k->copy(dev, work->active, work->inner, count * sizeof(float));
        k->gelu_erf(dev, work->active, count);
        from = work->active;
    }
    w->product(w->of, work->out, from, work->tokens, PART_SECOND);
}
