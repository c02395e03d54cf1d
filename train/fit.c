/* fit.c - what a run is made of, opened in order and closed again */
#include "train/fit.h"

#include <errno.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/sampling.h"
#include "model/fingerprint.h"
#include "train/fit_parts.h"
#include "train/graft.h"
#include "train/ranks.h"
#include "train/state.h"

/* ---- models ---- */

static int target_open(struct fit *f, struct error *err)
{
    const char *dir = f->options->target;
    return config_read(&f->target, dir, err) || tokenizer_open(&f->tokenizer, dir, err) ||
                   safetensors_open(&f->target_st, dir, err) || model_fingerprint(f->target_st, &f->target, f->target_hash, err)
               ? -1
               : 0;
}

static int drafter_open(struct fit *f, struct error *err)
{
    const char *dir = f->options->drafter;
    struct model_config language;
    struct tokenizer *tokenizer = NULL;
    if (config_read(&language, dir, err) || graft_config(&f->drafter, &f->target, &language, &f->options->projector, err) ||
        tokenizer_open(&tokenizer, dir, err))
        return -1;
    int result = tokenizer_compare(f->tokenizer, tokenizer, err);
    tokenizer_close(tokenizer);
    if (result)
        return fail_in(err, "drafter %s: its tokenizer is not the target's", language.name);
    if (safetensors_open(&f->drafter_st, dir, err) || model_fingerprint(f->drafter_st, &language, f->drafter_hash, err))
        return -1;
    f->drafter_sees = language.has_vision;
    f->common = f->drafter.vocabulary < f->target.vocabulary ? f->drafter.vocabulary : f->target.vocabulary;
    return 0;
}

static int network_make(struct fit *f, struct error *err)
{
    const struct fit_options *o = f->options;
    const struct network_options options = {
        .kernels = f->kernels,
        .grad = grad_kernels_cpu(),
        .device = f->device,
        .projector_weights = f->drafter_sees ? f->drafter_st : NULL,
        .seed = o->seed,
        .train_language = o->train_language,
        .recompute = o->recompute,
        .weights = o->weights,
    };
    int result = network_open(&f->network, f->drafter_st, &f->drafter, &options, err);
    safetensors_close(f->target_st);
    safetensors_close(f->drafter_st);
    f->target_st = f->drafter_st = NULL;
    if (!result && o->from)
        result = state_begin(f->network, o->from, err);
    return result;
}

/* ---- data ---- */

static int features_make(struct fit *f, struct error *err)
{
    char *copy = mem_string(f->options->out);
    char *folder = f->options->features ? mem_string(f->options->features) : mem_format("%s/features", dirname(copy));
    int result = features_open(&f->features, f->target_st, &f->target, f->kernels, f->device, folder, err);
    free(folder);
    free(copy);
    return result;
}

static int data_open(struct fit *f, struct error *err)
{
    const struct fit_options *o = f->options;
    const struct dataset_reader reader = {&f->target, &f->drafter, f->tokenizer, f->features, f->comm, f->common};
    struct dataset_options options = {.path = o->data,
                                      .pictures = o->pictures,
                                      .labels = o->labels,
                                      .soft_k = o->loss == LOSS_CE ? 0 : SAMPLING_TOP_LOGPROBS,
                                      .limit = o->limit,
                                      .max_length = o->max_length,
                                      .skip_errors = o->skip_errors,
                                      .bar_words = f->comm->rank ? NULL : "pictures and questions"};
    int result = dataset_open(&f->data, &options, &reader, err);
    if (!result && o->held_out) {
        options.path = o->held_out;
        options.labels = o->labels == LABELS_TARGET ? LABELS_EITHER : o->labels;
        options.limit = options.soft_k = 0;
        result = dataset_open(&f->held_out, &options, &reader, err);
    }
    if (!result && o->held_out && dataset_overlap(f->data, f->held_out, err))
        result = fail_in(err, "held-out questions must not be trained on");
    if (!result) {
        int64_t places = (int64_t)o->epochs * dataset_count(f->data);
        f->report->wanted = o->steps ? o->steps : (places + o->batch - 1) / o->batch;
    }
    return result;
}

/* ---- the whole ---- */

static int folder_open(const struct fit *f, struct error *err)
{
    const struct fit_options *o = f->options;
    if (f->comm->rank)
        return 0;
    if (mkdir(o->out, 0777) && errno != EEXIST)
        return fail(err, "%s: cannot be made: %s", o->out, strerror(errno));
    char *path = state_path(o->out);
    bool there = !access(path, F_OK);
    int result = there && !o->resume ? fail(err, "%s: holds a run; --resume goes on with it, or choose another --out", o->out) : 0;
    if (!there && o->resume)
        result = fail(err, "%s: there is no such file, so nothing to --resume", path);
    free(path);
    return result;
}

static int fit_open(struct fit *f, struct error *err)
{
    const struct fit_options *o = f->options;
    const struct device_options device = {.threads = o->threads};
    f->kernels = kernels_cpu();
    int result = target_open(f, err) || drafter_open(f, err) || folder_open(f, err) ||
                         !(f->device = f->kernels->open(&device, err)) || features_make(f, err)
                     ? -1
                     : 0;
    result = ranks_agree(f->comm, result, err);
    if (!result)
        result = ranks_agree(f->comm, data_open(f, err), err);
    if (!result)
        result = ranks_agree(
            f->comm, network_make(f, err) || fit_settings(f, err) || (o->resume && state_read(f->network, o->out, err)) ? -1 : 0,
            err);
    if (!result && !f->comm->rank)
        result = journal_open(&f->journal, o->out, network_steps(f->network), err);
    return ranks_agree(f->comm, result, err);
}

static void fit_close(struct fit *f)
{
    journal_close(f->journal);
    network_close(f->network);
    dataset_close(f->held_out);
    dataset_close(f->data);
    features_close(f->features);
    order_close(&f->order);
    if (f->device)
        f->kernels->close(f->device);
    safetensors_close(f->drafter_st);
    safetensors_close(f->target_st);
    tokenizer_close(f->tokenizer);
}

static void plot(struct fit *f)
{
    char *title = mem_format("massv-train %s: %s for %s", f->options->command, f->drafter.name, f->target.name);
    journal_plot(f->options->out, title, &f->report->plot_fault);
    free(title);
}

int fit_run(struct fit_report *report, const struct fit_options *options, struct comm *comm, struct error *err)
{
    struct fit f = {.options = options, .report = report, .comm = comm};
    *report = (struct fit_report){.loss = NAN, .held_out_loss = NAN, .saved = -1};
    int result = fit_open(&f, err);
    if (!result) {
        report->samples = dataset_count(f.data);
        report->skipped = dataset_skipped(f.data);
        fail(&report->first_fault, "%s", dataset_first_fault(f.data));
        result = fit_steps(&f, err);
    }
    if (!result && !comm->rank)
        plot(&f);
    fit_close(&f);
    return result;
}
