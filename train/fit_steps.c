/* fit_steps.c - the loop: samples to gradients, gradients over ranks, a step of the optimizer, and what is written on the way */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bar.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "train/fit_parts.h"
#include "train/peak.h"
#include "train/ranks.h"
#include "train/state.h"

enum { LOSS_WINDOW = 50 }; /* steps of the mean that is reported */
static const float BETA1 = 0.9f, EPS = 1e-8f;

struct share { /* of one rank in a batch */
    struct example *examples;
    struct train_sample *samples;
    int n;
    int64_t tokens, supervised;
};

/* ---- samples ---- */

static void share_free(struct share *s)
{
    for (int i = 0; i < s->n; i++)
        example_free(&s->examples[i]);
    free(s->examples);
    free(s->samples);
}

/* indices: (n) of the data set. After an error it is empty. */
static int share_read(struct share *s, struct dataset *data, const int *indices, int n, struct error *err)
{
    *s = (struct share){.examples = mem_new((size_t)n, sizeof *s->examples), .samples = mem_new((size_t)n, sizeof *s->samples)};
    for (; s->n < n; s->n++) {
        if (dataset_example(data, indices[s->n], &s->examples[s->n], err)) {
            share_free(s);
            *s = (struct share){0};
            return -1;
        }
        s->samples[s->n] = s->examples[s->n].sample;
        s->tokens += s->samples[s->n].n;
        s->supervised += train_sample_supervised(&s->samples[s->n]);
    }
    return 0;
}

/* The rank's part of a batch: every size-th sample. */
static int share_of_step(struct fit *f, int64_t step, struct share *s, struct error *err)
{
    int n = 0, *indices = mem_new((size_t)f->options->batch, sizeof *indices);
    for (int i = f->comm->rank; i < f->options->batch; i += f->comm->size)
        indices[n++] = order_at(&f->order, step * f->options->batch + i);
    int result = share_read(s, f->data, indices, n, err);
    free(indices);
    return result;
}

/* ---- sums over ranks ---- */

struct sums {
    double loss;
    double flops;
    int64_t tokens, supervised;
    int failed; /* of any rank */
};

/* In the order of ranks: the same on all. */
static struct sums sums_over_ranks(struct comm *comm, const struct sums *own)
{
    struct sums all = {0}, *each = mem_new((size_t)comm->size, sizeof *each);
    comm->calls->all_gather(comm, each, own, sizeof *own);
    for (int i = 0; i < comm->size; i++) {
        all.loss += each[i].loss;
        all.flops += each[i].flops;
        all.tokens += each[i].tokens;
        all.supervised += each[i].supervised;
        all.failed |= each[i].failed;
    }
    free(each);
    return all;
}

static void gradients_sum(struct fit *f)
{
    size_t count;
    float *device = network_gradients(f->network, &count);
    if (f->comm->size == 1)
        return;
    float *host = mem_new(count, sizeof *host);
    f->kernels->download(f->device, host, device, count * sizeof *host);
    f->comm->calls->all_reduce_sum(f->comm, host, count);
    f->kernels->upload(f->device, device, host, count * sizeof *host);
    free(host);
}

/* ---- a batch in pieces ---- */

static int pieces(struct fit *f, const struct share *s, const struct train_objective *objective, bool backward, double *loss,
                  struct error *err)
{
    *loss = 0;
    for (int at = 0, n; at < s->n; at += n) {
        double sum;
        int64_t tokens = s->samples[at].n;
        for (n = 1; at + n < s->n && tokens + s->samples[at + n].n <= f->options->tokens; n++)
            tokens += s->samples[at + n].n;
        int result = backward ? network_backward(f->network, s->samples + at, n, objective, &sum, err)
                              : network_loss(f->network, s->samples + at, n, objective, &sum, err);
        if (result)
            return -1;
        *loss += sum;
    }
    return 0;
}

/* Of the step's records, on all ranks, the first whose own loss is no number: its index in the data set. -1: each has one. */
static int record_blamed(struct fit *f, const struct share *s, const struct train_objective *objective, int64_t step)
{
    int own = INT_MAX, first = INT_MAX, *all = mem_new((size_t)f->comm->size, sizeof *all);
    struct error ignored;
    for (int i = 0; i < s->n && own == INT_MAX; i++) {
        double loss = NAN;
        if (network_loss(f->network, s->samples + i, 1, objective, &loss, &ignored) || !isfinite(loss))
            own = i * f->comm->size + f->comm->rank;
    }
    f->comm->calls->all_gather(f->comm, all, &own, sizeof own);
    for (int i = 0; i < f->comm->size; i++)
        first = all[i] < first ? all[i] : first;
    free(all);
    return first == INT_MAX ? -1 : order_at(&f->order, step * f->options->batch + first);
}

static int step_failed(const struct sums *all, int64_t step, struct error *err)
{
    if (!all->failed)
        return 0;
    return err->text[0] ? fail_in(err, "step %" PRId64, step + 1) : -1; /* the rank that failed tells */
}

static int step_run(struct fit *f, int64_t step, struct journal_step *line, struct sums *done, struct error *err)
{
    const struct fit_options *o = f->options;
    struct share share = {0};
    double flops = network_flops(f->network);
    err->text[0] = 0;
    struct sums own = {.failed = share_of_step(f, step, &share, err) != 0};
    own.tokens = share.tokens;
    own.supervised = share.supervised;
    struct sums all = sums_over_ranks(f->comm, &own);
    int blamed = -1;
    if (!all.failed) {
        const struct train_objective objective = {o->loss, f->common, (double)all.supervised};
        own.failed = pieces(f, &share, &objective, true, &own.loss, err) != 0;
        own.flops = network_flops(f->network) - flops;
        all = sums_over_ranks(f->comm, &own);
        blamed = all.failed || isfinite(all.loss) ? -1 : record_blamed(f, &share, &objective, step);
    }
    share_free(&share);
    if (step_failed(&all, step, err))
        return -1;
    gradients_sum(f);
    line->loss = all.loss / (double)all.supervised;
    *done = all;
    int64_t warmup = (int64_t)ceil((double)o->warmup * (double)f->report->wanted);
    line->learning_rate = schedule_rate(step, f->report->wanted, warmup, (double)o->learning_rate);
    const struct network_optimizer optimizer = {(float)line->learning_rate, BETA1, o->beta2, EPS, o->weight_decay, o->clip};
    if (isfinite(line->loss) && !network_step(f->network, &optimizer, &line->gradient_norm, err))
        return 0;
    fail(err, "step %" PRId64 ": the loss is %g, the gradients' norm %g; a smaller --learning-rate may help", step + 1, line->loss,
         line->gradient_norm);
    return blamed < 0 ? -1 : dataset_blame(f->data, blamed, err);
}

/* ---- held out ---- */

/* Mean loss over the held-out records: cross-entropy, whatever is trained with. */
static int held_out_loss(struct fit *f, double *loss, struct error *err)
{
    const struct train_objective objective = {LOSS_CE, f->common, 1};
    struct sums own = {0};
    for (int at = f->comm->rank; at < dataset_count(f->held_out) && !own.failed; at += f->comm->size) {
        struct share share;
        double sum = 0;
        if (share_read(&share, f->held_out, &at, 1, err) || pieces(f, &share, &objective, false, &sum, err))
            own.failed = 1;
        own.loss += sum;
        own.supervised += share.supervised;
        share_free(&share);
    }
    const struct sums all = sums_over_ranks(f->comm, &own);
    *loss = all.loss / (double)all.supervised;
    return step_failed(&all, network_steps(f->network) - 1, err);
}

/* ---- the loop ---- */

struct loop {
    struct bar bar;
    double begun, saved;
    double losses[LOSS_WINDOW];
};

static void loop_count(struct fit *f, struct loop *loop, const struct journal_step *line)
{
    struct fit_report *r = f->report;
    int64_t done = line->step - r->before, n = done < LOSS_WINDOW ? done : LOSS_WINDOW;
    loop->losses[(done - 1) % LOSS_WINDOW] = line->loss;
    r->loss = 0;
    for (int64_t i = 0; i < n; i++)
        r->loss += loop->losses[i] / (double)n;
    r->steps = line->step;
    r->seconds = clock_seconds() - loop->begun;
}

static void loop_show(const struct fit *f, struct loop *loop)
{
    char words[128];
    const struct fit_report *r = f->report;
    snprintf(words, sizeof words, "loss %.4f  %.0f tokens/s", r->loss, (double)r->tokens / (r->seconds + 1e-9));
    bar_show(&loop->bar, (long)(r->steps - r->before), (long)(r->wanted - r->before), words);
}

/* Rank 0 says for all: 0 go on, 1 write the state, 2 write it and stop. */
static int loop_choice(struct fit *f, const struct loop *loop)
{
    int choice = 0;
    if (!f->comm->rank) {
        choice = clock_seconds() - loop->saved >= f->options->checkpoint_seconds;
        if (signals_pending())
            choice = 2;
        if (f->report->steps == f->report->wanted)
            choice = 1;
    }
    f->comm->calls->broadcast(f->comm, &choice, sizeof choice, 0);
    return choice;
}

static int loop_save(struct fit *f, struct loop *loop, struct error *err)
{
    const struct fit_options *o = f->options;
    int result = ranks_agree(f->comm, f->comm->rank ? 0 : state_write(f->network, o->out, err), err);
    loop->saved = clock_seconds();
    if (result)
        return result;
    f->report->saved = f->report->steps;
    if (!f->comm->rank && o->keep > 1)
        result = state_keep(o->out, f->report->steps, o->keep, err);
    return ranks_agree(f->comm, result, err);
}

static int loop_step(struct fit *f, struct loop *loop, struct error *err)
{
    const struct fit_options *o = f->options;
    int64_t step = network_steps(f->network), wanted = f->report->wanted;
    double begun = clock_seconds();
    struct sums done;
    struct journal_step line = {.step = step + 1, .held_out_loss = NAN};
    if (step_run(f, step, &line, &done, err))
        return -1;
    line.epoch = (double)((step + 1) * o->batch) / dataset_count(f->data);
    double seconds = clock_seconds() - begun;
    line.tokens_per_s = (double)done.tokens / seconds;
    line.gflop_per_s = 1e-9 * done.flops / seconds;
    line.utilisation = done.flops / seconds / f->report->peak;
    f->report->tokens += done.tokens;
    f->report->flops += done.flops;
    loop_count(f, loop, &line);
    if (f->held_out && ((step + 1) % o->evaluate_every == 0 || step + 1 == wanted)) {
        if (held_out_loss(f, &line.held_out_loss, err))
            return -1;
        f->report->held_out_loss = line.held_out_loss;
    }
    int result = f->journal ? journal_add(f->journal, &line, err) : 0;
    loop_show(f, loop);
    return ranks_agree(f->comm, result, err);
}

int fit_steps(struct fit *f, struct error *err)
{
    struct fit_report *r = f->report;
    int result = 0, choice = 0;
    r->peak = peak_measure(f->comm, grad_kernels_cpu(), f->device);
    struct loop loop = {.begun = clock_seconds(), .saved = clock_seconds()};
    r->before = r->steps = network_steps(f->network);
    r->saved = f->options->resume ? r->before : -1;
    order_open(&f->order, dataset_count(f->data), f->options->seed);
    bar_begin(&loop.bar);
    loop.bar.on &= !f->comm->rank;
    while (!result && choice < 2 && r->steps < r->wanted) {
        result = loop_step(f, &loop, err);
        choice = result ? 0 : loop_choice(f, &loop);
        if (choice)
            result = loop_save(f, &loop, err);
    }
    bar_end(&loop.bar);
    return result ? result : choice == 2;
}
