/* objective.c - final norm and head over the rows that predict something, and what their scores are compared with.
 *
 * Scores exist for a block of rows at a time, and become their own gradients there. */
#include "model/family.h"
#include "train/network_parts.h"

#include <stdlib.h>

#include "base/memory.h"

const char *const train_loss_names[LOSS_KINDS] = {"ce", "kl", "tvd"};

enum {
    SCORES = 16 << 20, /* most numbers of a block: 64 MiB */
    LEAST_ROWS = 48,   /* with fewer, the head would be read from memory more often than it is worth */
    MOST_ROWS = 4096
};

int objective_rows(const struct network *net)
{
    int rows = SCORES / net->config.vocabulary;
    return rows < LEAST_ROWS ? LEAST_ROWS : rows > MOST_ROWS ? MOST_ROWS : rows;
}

/* The head over rows of `in`; where it has a cap, what that leaves is kept: the scores become gradients. */
static void scores_make(struct network *net, const float *in, int rows)
{
    struct activations *a = &net->a;
    size_t count = (size_t)rows * (size_t)net->config.vocabulary;
    net_linear(net, a->scores, in, rows, net->head, 1, -1);
    if (net->config.score_cap > 0) {
        net->k->soft_cap(net->dev, a->scores, net->config.score_cap, count);
        net->k->copy(net->dev, a->capped, a->scores, count * sizeof *a->capped);
    }
}

/* Scores of the scored rows [first, first + n) become gradients; losses are written. */
static void loss_rows(struct network *net, const struct train_objective *o, int first, int n)
{
    const struct batch_columns *c = &net->batch.device;
    struct activations *a = &net->a;
    int vocabulary = net->config.vocabulary, common = o->common ? o->common : vocabulary;
    size_t soft = (size_t)first * (size_t)net->batch.soft_k;
    float scale = (float)(1.0 / o->divide);
    const struct grad_soft_labels labels = {net->batch.soft_k, c->soft_ids + soft, c->soft_probs + soft};
    if (o->loss == LOSS_CE)
        net->g->cross_entropy(net->dev, a->loss + first, a->scores, n, vocabulary, c->labels + first, scale);
    else if (o->loss == LOSS_KL)
        net->g->kl(net->dev, a->loss + first, a->scores, n, vocabulary, common, &labels, scale);
    else
        net->g->tvd(net->dev, a->loss + first, a->scores, n, vocabulary, common, &labels, scale);
}

/* The losses in order of rows, in double precision: the same sum however they are cut. */
static double loss_sum(struct network *net)
{
    size_t n = (size_t)net->batch.n_scored;
    float *loss = mem_new(n, sizeof *loss);
    double sum = 0;
    net->k->download(net->dev, loss, net->a.loss, n * sizeof *loss);
    for (size_t i = 0; i < n; i++)
        sum += (double)loss[i];
    free(loss);
    return sum;
}

double objective_run(struct network *net, const struct train_objective *objective, bool backward)
{
    const struct model_config *m = &net->config;
    struct activations *a = &net->a;
    const float *weight = parameters_vector(&net->parameters, net->norm);
    size_t d = (size_t)m->d, stream = (size_t)net->batch.n * d;
    int n = net->batch.n_scored, step = objective_rows(net);
    net->k->gather(net->dev, a->last, a->x + (size_t)m->layers * stream, net->batch.device.scored, n, m->d);
    net->k->rms_norm(net->dev, a->last_normed, a->last, n, m->d, m->d, weight, m->family->norm_offset, m->norm_eps);
    for (int first = 0; first < n; first += step) {
        int rows = n - first < step ? n - first : step;
        const float *in = a->last_normed + (size_t)first * d;
        scores_make(net, in, rows);
        loss_rows(net, objective, first, rows);
        if (backward && m->score_cap > 0)
            net->g->soft_cap_backward(net->dev, a->scores, a->capped, m->score_cap, (size_t)rows * (size_t)m->vocabulary);
        if (backward)
            net_linear_backward(net, a->d_last_normed + (size_t)first * d, false, a->scores, in, rows, net->head, 1, -1);
    }
    if (backward) {
        net->g->zero(net->dev, a->d_last, (size_t)n * d);
        net->g->rms_norm_backward(net->dev, a->d_last, parameters_gradient(&net->parameters, net->norm), a->d_last_normed, a->last,
                                  n, m->d, weight, m->family->norm_offset, m->norm_eps);
        net->g->zero(net->dev, a->dx, stream);
        net->k->scatter(net->dev, a->dx, a->d_last, net->batch.device.scored, n, m->d);
    }
    return loss_sum(net);
}
