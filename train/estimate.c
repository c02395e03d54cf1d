/* estimate.c - the size of a run before it is begun; docs/training.md states the formulas */
#include "train/estimate.h"

#include <stdio.h>

#include "model/family.h"
#include "model/projector.h"
#include "model/vision.h"
#include "train/graft.h"

static int64_t projector_numbers(const struct model_config *drafter)
{
    const struct projector p = projector_of(drafter);
    int64_t all = 0;
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        int rows, cols;
        projector_shape(&p, part, &rows, &cols);
        all += projector_has(&p, part) ? (int64_t)(rows ? rows : 1) * cols : 0;
    }
    return all;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Of a layer: the norms and biases. */
static int64_t small_numbers(const struct model_config *m)
{
    const struct family *f = m->family;
    int norms = 2 + !!f->attention_after + !!f->mlp_after;
    return norms * m->d + (f->qk_norm ? 2 * m->c : 0) + (f->qkv_bias ? (m->h + 2 * m->g) * m->c : 0);
}

/* Numbers that a token leaves behind in a layer for the backward pass. */
static int64_t state_numbers(const struct model_config *m)
{
    const struct family *f = m->family;
    int streams = 3 + !!f->attention_after + !!f->mlp_after, wide = (m->h + 2 * m->g) * m->c;
    return (int64_t)streams * m->d + (f->qk_norm ? 2 : 1) * wide + (int64_t)m->h * m->c + 3 * (int64_t)m->ff;
}

void estimate_make(struct estimate *e, const struct model_config *drafter, const struct fit_options *o)
{
    int64_t d = drafter->d, hc = (int64_t)drafter->h * drafter->c, gc = (int64_t)drafter->g * drafter->c, ff = drafter->ff;
    int64_t layer = d * (hc + 2 * gc) + d * hc + 3 * d * ff;
    int64_t table = (int64_t)drafter->vocabulary * d, head = drafter->tied ? 0 : table;
    int64_t layers = drafter->layers, states = o->recompute ? 1 : layers;
    *e = (struct estimate){.projector = projector_numbers(drafter),
                           .language = layers * (layer + small_numbers(drafter)) + table + head + d};
    e->trained = e->projector + (o->train_language ? e->language : 0);
    int64_t read = o->weights == DTYPE_BF16 ? 2 : 4;
    e->weights = read * (e->language + e->projector);
    e->states = (o->weights == DTYPE_BF16 ? 16 : 12) * e->trained; /* gradient and two moments; a master of its own beside bf16 */
    int64_t row = (layers + 1) * d + states * state_numbers(drafter) + 6 * d + larger(hc + 2 * gc, 2 * ff) + larger(hc, ff);
    e->activations = 4 * o->tokens * row;
    double products = (double)(layers * layer + table); /* a forward pass multiplies and adds once per weight */
    e->flops_per_token = 2 * products * (o->train_language ? 3 : 2) * (o->recompute ? 1.33 : 1);
}

static void print_bytes(const char *what, int64_t bytes)
{
    bool large = bytes >= 1 << 30;
    printf("  %-40s %8.2f %s\n", what, (double)bytes / (large ? 1 << 30 : 1 << 20), large ? "GiB" : "MiB");
}

int estimate_print(const struct fit_options *o, int ranks, struct error *err)
{
    struct estimate e;
    struct model_config target, language, drafter;
    if (config_read(&target, o->target, err) || config_read(&language, o->drafter, err) ||
        graft_config(&drafter, &target, &language, &o->projector, err))
        return -1;
    estimate_make(&e, &drafter, o);
    printf("%s drafts for %s: %.1f M numbers of the language model, %.1f M of the %s projector, %.1f M of them trained\n",
           drafter.name, target.name, 1e-6 * (double)e.language, 1e-6 * (double)e.projector,
           projector_kind_names[drafter.projector], 1e-6 * (double)e.trained);
    printf("memory of each of %d rank%s:\n", ranks, ranks == 1 ? "" : "s");
    print_bytes("weights as products read them", e.weights);
    print_bytes("masters, gradients, moments", e.states);
    char words[64];
    snprintf(words, sizeof words, "activations of %d tokens at once", o->tokens);
    print_bytes(words, e.activations);
    print_bytes("together", e.weights + e.states + e.activations);
    printf("on disk, features of pictures: %.0f KiB for each of their tokens\n",
           (double)vision_joined(&target) * target.vision.d * (double)sizeof(float) / 1024);
    printf("work: %.3g GFLOP a token; %.0f tokens/s for each TFLOP/s that products reach\n", 1e-9 * e.flops_per_token,
           1e12 / e.flops_per_token);
    return 0;
}
