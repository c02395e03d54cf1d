/* distill.c - massv-train distill: its command line, and what it says at the end */
#include "train/distill.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/rpc_flags.h"
#include "train/commands.h"

enum { SAMPLES_MAX = 1024, IN_FLIGHT_MAX = 4096, SECONDS_MAX = 86400 };

enum {
    KEY_ADDRESS = 256,
    KEY_DATA,
    KEY_PICTURES,
    KEY_OUT,
    KEY_LIMIT,
    KEY_SAMPLES,
    KEY_TEMPERATURES,
    KEY_TOP_P,
    KEY_MAX_TOKENS,
    KEY_SEED,
    KEY_LOGPROBS,
    KEY_IN_FLIGHT,
    KEY_DRAFT_TOKENS,
    KEY_TIMEOUT,
    KEY_RETRY,
    KEY_ON_ERROR,
    KEY_JSON
};

struct arguments {
    struct distill_options options;
    bool json;
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "From where to where:", 1},
    {"address", KEY_ADDRESS, "ADDR", 0, "the service of the target; `massv up` starts one", 1},
    {"data", KEY_DATA, "FILE", 0,
     "questions: {\"image\": FILE or null, \"prompt\": TEXT, ...} a line, or one JSON array of conversations as LLaVA has them: "
     "each "
     "human turn is a question, with the turns before it as they stand there",
     1},
    {"image-root", KEY_PICTURES, "DIR", 0, "where relative paths of pictures in --data begin; default: beside it", 1},
    {"out", KEY_OUT, "FILE.jsonl", 0, "answers, added to what is there: an interrupted run goes on with the same command", 1},
    {"limit", KEY_LIMIT, "N", 0, "of the questions, the first N", 1},
    {0, 0, 0, 0, "What is asked:", 2},
    {"samples", KEY_SAMPLES, "N", 0, "answers to each question; default 1", 2},
    {"temperatures", KEY_TEMPERATURES, "T,T...", 0,
     "of the answers; those to one question go through them in an order drawn for it; default 0,0.3,0.7,1", 2},
    {"top-p", KEY_TOP_P, "P", 0, "default 0.95", 2},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "end each answer after N tokens; default 256", 2},
    {"seed", KEY_SEED, "S", 0, "of temperatures and answers; default 0", 2},
    {"logprobs", KEY_LOGPROBS, "K", 0, "store the K (1 to 20) most probable tokens of each place, for the losses kl and tvd", 2},
    {0, 0, 0, 0, "How it is asked:", 3},
    {"in-flight", KEY_IN_FLIGHT, "N", 0, "questions at a time; default 32", 3},
    {"draft-tokens", KEY_DRAFT_TOKENS, "K", 0, "drafts per step, 0 to 16; default: the service's", 3},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "of each answer; default 600", 3},
    {"retry-seconds", KEY_RETRY, "SECONDS", 0, "how long a service that is away, or has no room, is asked again; default 60", 3},
    {"on-error", KEY_ON_ERROR, "stop|skip", 0, "what follows where a question cannot be asked, or is refused; default stop", 3},
    {"json", KEY_JSON, 0, 0, "print one JSON object at the end", 3},
    {0}};

static const char doc[] =
    "massv-train distill - let the target answer questions, for the drafter to learn from\v"
    "Answers are the target's own at their temperature and top-p, without other limits or penalties, and a function of target, "
    "question, options and seed: how the service batches or drafts changes none. Each is added to --out when it is whole, with one "
    "write; the file is synced every 5 s and at the end.\n\n"
    "Example:\n  massv-train distill --address 127.0.0.1:50051 --out answers.jsonl \\\n    --data models/pictures/scenes.jsonl";

static void temperatures_parse(const struct argp_state *state, const char *text, struct distill_settings *s)
{
    char *copy = mem_string(text), *rest = copy, *each;
    s->n_temperatures = 0;
    while ((each = strsep(&rest, ","))) {
        char *end;
        double value = strtod(each, &end);
        if (end == each || *end || !(value >= 0 && value <= 100))
            argp_error(state, "--temperatures %s: numbers from 0 to 100 with commas between them are wanted", text);
        if (s->n_temperatures == DISTILL_TEMPERATURES)
            argp_error(state, "--temperatures: at most %d", DISTILL_TEMPERATURES);
        s->temperatures[s->n_temperatures++] = value;
    }
    free(copy);
}

static uint64_t seed_parse(const struct argp_state *state, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long seed = strtoull(text, &end, 10);
    if (end == text || *end || *text == '-' || errno)
        argp_error(state, "--seed %s: a whole number from 0 is wanted", text);
    return seed;
}

static int arguments_what(int key, char *arg, const struct argp_state *state, struct distill_settings *s)
{
    switch (key) {
    case KEY_SAMPLES:
        s->samples = flag_number(state, "--samples", arg, 1, SAMPLES_MAX);
        return 0;
    case KEY_TEMPERATURES:
        temperatures_parse(state, arg, s);
        return 0;
    case KEY_TOP_P:
        s->top_p = round(1e6 * (double)flag_real(state, "--top-p", arg, 1e-6f, 1)) * 1e-6; /* 0.95 is no float: what was typed */
        return 0;
    case KEY_MAX_TOKENS:
        s->max_tokens = flag_number(state, "--max-tokens", arg, 1, 1 << 24);
        return 0;
    case KEY_SEED:
        s->seed = seed_parse(state, arg);
        return 0;
    case KEY_LOGPROBS:
        s->logprobs = flag_number(state, "--logprobs", arg, 1, SAMPLING_TOP_LOGPROBS);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int arguments_how(int key, char *arg, const struct argp_state *state, struct arguments *a)
{
    struct distill_options *o = &a->options;
    switch (key) {
    case KEY_IN_FLIGHT:
        o->in_flight = flag_number(state, "--in-flight", arg, 1, IN_FLIGHT_MAX);
        return 0;
    case KEY_DRAFT_TOKENS:
        o->draft_tokens = flag_number(state, "--draft-tokens", arg, 0, DRAFT_TOKENS_MAX);
        return 0;
    case KEY_TIMEOUT:
        o->timeout = flag_number(state, "--timeout", arg, 1, SECONDS_MAX);
        return 0;
    case KEY_RETRY:
        o->retry_seconds = flag_number(state, "--retry-seconds", arg, 0, SECONDS_MAX);
        return 0;
    case KEY_ON_ERROR:
        if (strcmp(arg, "stop") && strcmp(arg, "skip"))
            argp_error(state, "--on-error %s: stop or skip is wanted", arg);
        o->skip_errors = !strcmp(arg, "skip");
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return arguments_what(key, arg, state, &o->settings);
    }
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct distill_options *o = &a->options;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->security;
        return 0;
    case KEY_ADDRESS:
        o->address = flag_address(state, "--address", arg);
        return 0;
    case KEY_DATA:
        o->data = arg;
        return 0;
    case KEY_PICTURES:
        o->pictures = arg;
        return 0;
    case KEY_OUT:
        o->out = arg;
        return 0;
    case KEY_LIMIT:
        o->limit = flag_number(state, "--limit", arg, 1, INT32_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!o->address || !o->data || !o->out)
            argp_error(state, "%s is missing", !o->address ? "--address" : !o->data ? "--data" : "--out");
        return 0;
    default:
        return arguments_how(key, arg, state, a);
    }
}

/* ---- what it says ---- */

static double mean_length(const struct distill_report *r)
{
    return r->steps ? 1 + (double)r->accepted / (double)r->steps : 1;
}

static void report_json(const struct distill_report *r)
{
    json_t *skipped = json_object();
    for (int i = 0; i < DISTILL_STATUSES; i++)
        if (r->skipped[i])
            json_object_set_new(skipped, rpc_status_name((enum rpc_status)i), json_integer(r->skipped[i]));
    json_t *all =
        json_pack("{si si si si so si sI sf sf sI sI sI sf}", "wanted", r->wanted, "before", r->before, "made", r->made, "unusable",
                  r->unusable, "skipped", skipped, "retries", r->retries, "tokens", (json_int_t)r->tokens, "seconds", r->seconds,
                  "tokens_per_s", (double)r->tokens / (r->seconds + 1e-9), "steps", (json_int_t)r->steps, "drafted",
                  (json_int_t)r->drafted, "accepted", (json_int_t)r->accepted, "mean_acceptance_length", mean_length(r));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(all);
}

static void report_print(const struct distill_report *r, const char *out)
{
    if (r->before)
        printf("%d of %d answers were in %s\n", r->before, r->wanted, out);
    printf("%d answers of %" PRId64 " tokens in %.1f s, %.0f tokens/s, mean acceptance length %.2f\n", r->made, r->tokens,
           r->seconds, (double)r->tokens / (r->seconds + 1e-9), mean_length(r));
    if (r->unusable)
        printf("%d questions cannot be asked; the first: %s\n", r->unusable, r->first_unusable.text);
    for (int i = 0; i < DISTILL_STATUSES; i++)
        if (r->skipped[i])
            printf("%d skipped; the first: %s\n", r->skipped[i], r->first[i].text);
}

int command_distill(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.options = {.settings = {.temperatures = {0, 0.3, 0.7, 1},
                                                   .n_temperatures = 4,
                                                   .top_p = 0.95,
                                                   .samples = 1,
                                                   .max_tokens = MAX_TOKENS_DEFAULT,
                                                   .logprobs = -1},
                                      .in_flight = 32,
                                      .draft_tokens = DRAFT_TOKENS_ABSENT,
                                      .timeout = 600,
                                      .retry_seconds = 60}};
    struct distill_report report;
    struct error err;
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    (void)comm;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    signals_hold();
    int result = distill_run(&report, &a.options, &err);
    if (report.cut)
        fprintf(stderr, "%s: %s: a torn last line of %ld bytes was cut off\n", argv[0], a.options.out, report.cut);
    if (result < 0)
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
    if (result && report.begun)
        fprintf(stderr, "%s: %s has %d of %d answers; the same command goes on from there\n", argv[0], a.options.out,
                report.before + report.made, report.wanted);
    if (!result && a.json)
        report_json(&report);
    else if (!result)
        report_print(&report, a.options.out);
    bool nothing = !report.made && report.before < report.wanted; /* every line was skipped */
    return result == 1 ? TRAIN_INTERRUPTED : result || nothing ? TRAIN_FAILED : TRAIN_DONE;
}
