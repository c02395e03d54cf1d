/* fit_flags.c - flags of a run of training, and its report */
#include "train/fit_flags.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "train/commands.h"
#include "train/estimate.h"
#include "train/ranks.h"

enum {
    BATCH_MAX = 1 << 16,
    TOKENS_MAX = 1 << 24,
    LENGTH_MAX = 1 << 20,
    THREADS_MAX = 1024,
    SECONDS_MAX = 86400 * 7,
    KEEP_MAX = 1000
};

enum {
    KEY_TARGET = 512,
    KEY_DRAFTER,
    KEY_DATA,
    KEY_HELD_OUT,
    KEY_PICTURES,
    KEY_OUT,
    KEY_FEATURES,
    KEY_LIMIT,
    KEY_ON_ERROR,
    KEY_EPOCHS,
    KEY_STEPS,
    KEY_BATCH,
    KEY_TOKENS,
    KEY_RATE,
    KEY_WARMUP,
    KEY_DECAY,
    KEY_BETA2,
    KEY_CLIP,
    KEY_SEED,
    KEY_WEIGHTS,
    KEY_RECOMPUTE,
    KEY_LENGTH,
    KEY_EVALUATE,
    KEY_CHECKPOINT,
    KEY_KEEP,
    KEY_RESUME,
    KEY_THREADS,
    KEY_DRY_RUN,
    KEY_JSON
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "From what to what:", 1},
    {"target", KEY_TARGET, "DIR", 0, "checkpoint of the target: its vision tower and its chat template", 1},
    {"drafter", KEY_DRAFTER, "DIR", 0, "checkpoint of the small language model", 1},
    {"data", KEY_DATA, "FILE", 0,
     "records: {\"image\": FILE or null, \"prompt\": TEXT, \"reference\": TEXT} a line, or one JSON array of conversations as "
     "LLaVA has "
     "them: each human turn is a record, with the turns before it; its own answer alone is learned",
     1},
    {"held-out", KEY_HELD_OUT, "FILE", 0,
     "records whose cross-entropy is measured on the way, on the target's answers where they have some; none may be in --data", 1},
    {"image-root", KEY_PICTURES, "DIR", 0, "where relative paths of pictures in both begin; default: beside the file", 1},
    {"out", KEY_OUT, "DIR", 0, "the run: its state, settings and loss curve", 1},
    {"features", KEY_FEATURES, "DIR", 0, "what the tower sees in the pictures, kept for later runs; default: features beside --out",
     1},
    {"limit", KEY_LIMIT, "N", 0, "of the records, the first N", 1},
    {"on-error", KEY_ON_ERROR, "stop|skip", 0, "what follows where a record cannot be used; default stop", 1},
    {0, 0, 0, 0, "How it learns:", 2},
    {"epochs", KEY_EPOCHS, "N", 0, "times that every record is seen; default 1", 2},
    {"steps", KEY_STEPS, "N", 0, "instead of --epochs", 2},
    {"batch", KEY_BATCH, "N", 0, "records of a step, over all ranks", 2},
    {"learning-rate", KEY_RATE, "R", 0, "at its highest", 2},
    {"warmup", KEY_WARMUP, "SHARE", 0, "of the steps, over which the rate rises; then half a cosine falls to 0; default 0.03", 2},
    {"weight-decay", KEY_DECAY, "D", 0, "default 0", 2},
    {"beta2", KEY_BETA2, "B", 0, "AdamW's second; the first is 0.9; default 0.999", 2},
    {"clip", KEY_CLIP, "NORM", 0, "of the gradients, at most; 0 = never; default 1", 2},
    {"seed", KEY_SEED, "S", 0, "of order and fresh weights; default 0", 2},
    {0, 0, 0, 0, "How it runs:", 3},
    {"tokens-at-once", KEY_TOKENS, "N", 0,
     "a step's records are computed in pieces of about N tokens, whose gradients add up; default 4096", 3},
    {"max-length", KEY_LENGTH, "N", 0, "tokens of a record, the picture's included; default 2048", 3},
    {"weights", KEY_WEIGHTS, "f32|bf16", 0, "as products read them; bf16 is rounded from f32 masters; default f32", 3},
    {"recompute", KEY_RECOMPUTE, 0, 0, "keep the input of each layer alone: less memory, a third more work, the same bits", 3},
    {"evaluate-every", KEY_EVALUATE, "N", 0, "steps between two measurements of --held-out; default 100", 3},
    {"checkpoint-seconds", KEY_CHECKPOINT, "S", 0, "between two states on disk; default 60", 3},
    {"keep", KEY_KEEP, "N", 0, "the last N states stay, as state-STEP.safetensors, for export --step; default 1: the last alone",
     3},
    {"resume", KEY_RESUME, 0, 0, "go on from the state in --out, to the same bits", 3},
    {"threads", KEY_THREADS, "N", 0, "default: one per core", 3},
    {"dry-run", KEY_DRY_RUN, 0, 0, "say what a run needs, from the configurations alone, and stop", 3},
    {"json", KEY_JSON, 0, 0, "print one JSON object at the end", 3},
    {0}};

int fit_choice(const struct argp_state *state, const char *flag, const char *text, const char *const *names, int n)
{
    char all[128] = "";
    for (int i = 0; i < n; i++) {
        if (!strcmp(names[i], text))
            return i;
        size_t at = strlen(all);
        snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "", names[i]);
    }
    argp_error(state, "%s %s: one of %s is wanted", flag, text, all);
    return -1;
}

static uint64_t seed_parse(const struct argp_state *state, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long seed = strtoull(text, &end, 10);
    if (end == text || *end || *text == '-' || errno || seed > INT64_MAX)
        argp_error(state, "--seed %s: a whole number from 0 is wanted", text);
    return seed;
}

static int parse_learning(int key, char *arg, const struct argp_state *state, struct fit_options *o)
{
    switch (key) {
    case KEY_EPOCHS:
        o->epochs = flag_number(state, "--epochs", arg, 1, 100000);
        return 0;
    case KEY_STEPS:
        o->steps = flag_number(state, "--steps", arg, 1, INT32_MAX);
        return 0;
    case KEY_BATCH:
        o->batch = flag_number(state, "--batch", arg, 1, BATCH_MAX);
        return 0;
    case KEY_RATE:
        o->learning_rate = flag_real(state, "--learning-rate", arg, 0, 100);
        return 0;
    case KEY_WARMUP:
        o->warmup = flag_real(state, "--warmup", arg, 0, 1);
        return 0;
    case KEY_DECAY:
        o->weight_decay = flag_real(state, "--weight-decay", arg, 0, 100);
        return 0;
    case KEY_BETA2:
        o->beta2 = flag_real(state, "--beta2", arg, 0, 0.99999f);
        return 0;
    case KEY_CLIP:
        o->clip = flag_real(state, "--clip", arg, 0, 1e9f);
        return 0;
    case KEY_SEED:
        o->seed = seed_parse(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int parse_running(int key, char *arg, const struct argp_state *state, struct fit_flags *f)
{
    static const char *const weights[] = {"f32", "bf16"};
    struct fit_options *o = &f->options;
    switch (key) {
    case KEY_TOKENS:
        o->tokens = flag_number(state, "--tokens-at-once", arg, 1, TOKENS_MAX);
        return 0;
    case KEY_LENGTH:
        o->max_length = flag_number(state, "--max-length", arg, 8, LENGTH_MAX);
        return 0;
    case KEY_WEIGHTS:
        o->weights = fit_choice(state, "--weights", arg, weights, 2) ? DTYPE_BF16 : DTYPE_F32;
        return 0;
    case KEY_RECOMPUTE:
        o->recompute = true;
        return 0;
    case KEY_EVALUATE:
        o->evaluate_every = flag_number(state, "--evaluate-every", arg, 1, INT32_MAX);
        return 0;
    case KEY_CHECKPOINT:
        o->checkpoint_seconds = flag_number(state, "--checkpoint-seconds", arg, 0, SECONDS_MAX);
        return 0;
    case KEY_KEEP:
        o->keep = flag_number(state, "--keep", arg, 1, KEEP_MAX);
        return 0;
    case KEY_RESUME:
        o->resume = true;
        return 0;
    case KEY_THREADS:
        o->threads = flag_number(state, "--threads", arg, 1, THREADS_MAX);
        return 0;
    case KEY_DRY_RUN:
        f->dry_run = true;
        return 0;
    case KEY_JSON:
        f->json = true;
        return 0;
    default:
        return parse_learning(key, arg, state, o);
    }
}

static void wanted_check(const struct argp_state *state, const struct fit_flags *f)
{
    const struct fit_options *o = &f->options;
    if (!o->target || !o->drafter)
        argp_error(state, "%s is missing", o->target ? "--drafter" : "--target");
    if (!f->dry_run && (!o->data || !o->out))
        argp_error(state, "%s is missing", o->data ? "--out" : "--data");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct fit_flags *f = state->input;
    struct fit_options *o = &f->options;
    static const char *const errors[] = {"stop", "skip"};
    switch (key) {
    case ARGP_KEY_INIT:
        f->default_batch = o->batch;
        f->default_rate = o->learning_rate;
        return 0;
    case KEY_TARGET:
        o->target = arg;
        return 0;
    case KEY_DRAFTER:
        o->drafter = arg;
        return 0;
    case KEY_DATA:
        o->data = arg;
        return 0;
    case KEY_HELD_OUT:
        o->held_out = arg;
        return 0;
    case KEY_PICTURES:
        o->pictures = arg;
        return 0;
    case KEY_OUT:
        o->out = arg;
        return 0;
    case KEY_FEATURES:
        o->features = arg;
        return 0;
    case KEY_LIMIT:
        o->limit = flag_number(state, "--limit", arg, 1, INT32_MAX);
        return 0;
    case KEY_ON_ERROR:
        o->skip_errors = fit_choice(state, "--on-error", arg, errors, 2) == 1;
        return 0;
    case ARGP_KEY_END:
        wanted_check(state, f);
        return 0;
    default:
        return parse_running(key, arg, state, f);
    }
}

/* Defaults that are not the same for both commands. */
static char *help_filter(int key, const char *text, void *input)
{
    const struct fit_flags *f = input;
    if (key == KEY_BATCH)
        return mem_format("%s; default %d", text, f->default_batch);
    if (key == KEY_RATE)
        return mem_format("%s; default %g", text, (double)f->default_rate);
    return (char *)(uintptr_t)text;
}

const struct argp fit_argp = {.options = flags, .parser = parse, .help_filter = help_filter};

/* ---- what it says ---- */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void report_json(const struct fit_report *r)
{
    double seconds = r->seconds + 1e-9;
    json_t *all =
        json_pack("{sI sI sI si si sI sf sf sf sf sf so so}", "before", (json_int_t)r->before, "steps", (json_int_t)r->steps,
                  "wanted", (json_int_t)r->wanted, "samples", r->samples, "skipped", r->skipped, "tokens", (json_int_t)r->tokens,
                  "seconds", r->seconds, "tokens_per_s", (double)r->tokens / seconds, "gflop_per_s", 1e-9 * r->flops / seconds,
                  "peak_gflop_per_s", 1e-9 * r->peak, "utilisation", r->flops / seconds / r->peak, "loss", number_or_null(r->loss),
                  "held_out_loss", number_or_null(r->held_out_loss));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(all);
}

static void report_print(const struct fit_report *r, const struct fit_options *o)
{
    double seconds = r->seconds + 1e-9;
    if (r->skipped)
        printf("%d records skipped; the first: %s\n", r->skipped, r->first_fault.text);
    if (r->before == r->wanted)
        printf("%s: all %" PRId64 " steps were done before\n", o->out, r->wanted);
    else
        printf("%" PRId64
               " steps over %d records in %.1f s: loss %.4f at the end, %.0f tokens/s, %.1f GFLOP/s, %.0f %% of a peak of %.1f\n",
               r->steps - r->before, r->samples, r->seconds, r->loss, (double)r->tokens / seconds, 1e-9 * r->flops / seconds,
               100 * r->flops / seconds / r->peak, 1e-9 * r->peak);
    if (isfinite(r->held_out_loss))
        printf("held-out loss %.4f\n", r->held_out_loss);
    printf("`massv-train export --run %s` makes a checkpoint of it\n", o->out);
}

static void report_unfinished(const char *name, const struct fit_report *r, const struct fit_options *o)
{
    if (r->saved >= 0)
        fprintf(stderr, "%s: %s holds a state of %" PRId64 " steps; the same command with --resume goes on from there\n", name,
                o->out, r->saved);
}

int fit_command(const char *name, const struct fit_flags *flags_given, struct comm *comm)
{
    const struct fit_options *o = &flags_given->options;
    struct fit_report report;
    struct error err = {0};
    if (flags_given->dry_run) {
        int failed = comm->rank ? 0 : estimate_print(o, comm->size, &err);
        if (failed)
            fprintf(stderr, "%s: %s\n", name, err.text);
        return failed ? TRAIN_FAILED : TRAIN_DONE;
    }
    signals_hold();
    signal(SIGPIPE, SIG_IGN); /* a gnuplot that is not there */
    int result = fit_run(&report, o, comm, &err);
    if (result < 0 && ranks_tell(comm, &err))
        fprintf(stderr, "%s: %s\n", name, err.text);
    if (comm->rank)
        return result == 1 ? TRAIN_INTERRUPTED : result ? TRAIN_FAILED : TRAIN_DONE;
    if (result)
        report_unfinished(name, &report, o);
    else if (flags_given->json)
        report_json(&report);
    else
        report_print(&report, o);
    if (!result && report.plot_fault.text[0])
        fprintf(stderr, "%s: %s\n", name, report.plot_fault.text);
    return result == 1 ? TRAIN_INTERRUPTED : result ? TRAIN_FAILED : TRAIN_DONE;
}
