/* bench_serve.c - massv bench serve: load on a running service, in the manner of `vllm bench serve`; docs/bench.md has the formulas
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "cli/load.h"
#include "cli/load_data.h"
#include "proto/ask.h"
#include "proto/limit_flags.h"
#include "proto/rpc_flags.h"

enum { REQUESTS_MAX = 1 << 20, CONCURRENCY_MAX = 1 << 14, PROBES = 21, INTERRUPTED = 130 };

enum {
    KEY_ADDRESS = 256,
    KEY_DATA,
    KEY_REQUESTS,
    KEY_RATE,
    KEY_CONCURRENCY,
    KEY_SEED,
    KEY_WARM_UP,
    KEY_TIMEOUT,
    KEY_MAX_TOKENS,
    KEY_DRAFT_TOKENS,
    KEY_IGNORE_EOS,
    KEY_GOODPUT,
    KEY_JSON
};

struct arguments {
    const char *address, *data;
    struct rpc_security_files security;
    int requests, concurrency, warm_up, max_tokens, draft_tokens, timeout, seed;
    float rate;
    bool ignore_eos, goodput, json;
    struct load_limits limits;
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "What is sent:", 1},
    {"address", KEY_ADDRESS, "ADDR", 0, "the service", 1},
    {"data", KEY_DATA, "FILE", 0,
     "{\"image\": FILE or null, \"prompt\": TEXT} a line, or one JSON array of conversations as LLaVA has them; default "
     "models/pictures/scenes.jsonl",
     1},
    {"requests", KEY_REQUESTS, "N", 0, "how many; default 100", 1},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "end each answer after N tokens; default 256", 1},
    {"draft-tokens", KEY_DRAFT_TOKENS, "K|auto", 0, "drafts per step, 0 to 16; 0 is without speculation; auto: as many as pay", 1},
    {"ignore-eos", KEY_IGNORE_EOS, 0, 0, "go on after the model's end token, so that all answers have max-tokens", 1},
    {"seed", KEY_SEED, "S", 0, "of the choice of lines and of the arrivals; default 0", 1},
    {0, 0, 0, 0, "When it is sent (one of the two):", 2},
    {"concurrency", KEY_CONCURRENCY, "N", 0, "closed loop: N at a time, the next when one has ended", 2},
    {"request-rate", KEY_RATE, "R", 0,
     "open loop: R a second on average, Poisson arrivals, however many are under way; latencies count "
     "from the time a request was due",
     2},
    {"warm-up", KEY_WARM_UP, "N", 0, "N requests before, one after the other, in no figure; default 1", 2},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "of each request; default 600", 2},
    {0, 0, 0, 0, "What is printed:", 3},
    {"goodput", KEY_GOODPUT, "NAME:MS...", 0, "requests/s within all of these limits: ttft:MS tpot:MS e2e:MS", 3},
    {"json", KEY_JSON, 0, 0, "print one JSON object", 3},
    {0}};

static const char doc[] = "massv bench serve - put load on a running service\v"
                          "TTFT: until the first token. TPOT: time per token after it. ITL: between messages, which carry several "
                          "tokens with speculation. "
                          "E2E: until the last token. Requests are greedy.\n\n"
                          "Example:\n  massv bench serve --address 127.0.0.1:50051 --concurrency 8";

static void limit_parse(const struct argp_state *state, const char *text, struct load_limits *limits)
{
    const struct {
        const char *name;
        double *limit;
    } names[] = {{"ttft:", &limits->ttft}, {"tpot:", &limits->tpot}, {"e2e:", &limits->e2e}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(text, names[i].name, strlen(names[i].name))) {
            *names[i].limit = (double)flag_real(state, "--goodput", text + strlen(names[i].name), 1e-3f, 1e9f);
            return;
        }
    argp_error(state, "--goodput %s: ttft:MS, tpot:MS or e2e:MS is wanted", text);
}

static void arguments_check(const struct argp_state *state, const struct arguments *a)
{
    if (!a->address)
        argp_error(state, "--address is missing");
    if (!a->concurrency == !(a->rate > 0))
        argp_error(state, "one of --concurrency and --request-rate is wanted");
}

static error_t arguments_what(int key, char *arg, struct argp_state *state, struct arguments *a)
{
    switch (key) {
    case KEY_ADDRESS:
        a->address = flag_address(state, "--address", arg);
        return 0;
    case KEY_DATA:
        a->data = arg;
        return 0;
    case KEY_REQUESTS:
        a->requests = flag_number(state, "--requests", arg, 1, REQUESTS_MAX);
        return 0;
    case KEY_MAX_TOKENS:
        a->max_tokens = flag_number(state, "--max-tokens", arg, 1, 1 << 24);
        return 0;
    case KEY_DRAFT_TOKENS:
        a->draft_tokens = draft_tokens_flag(state, arg);
        return 0;
    case KEY_IGNORE_EOS:
        a->ignore_eos = true;
        return 0;
    case KEY_SEED:
        a->seed = flag_number(state, "--seed", arg, 0, INT32_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->security;
        return 0;
    case KEY_CONCURRENCY:
        a->concurrency = flag_number(state, "--concurrency", arg, 1, CONCURRENCY_MAX);
        return 0;
    case KEY_RATE:
        a->rate = flag_real(state, "--request-rate", arg, 1e-3f, 1e6f);
        return 0;
    case KEY_WARM_UP:
        a->warm_up = flag_number(state, "--warm-up", arg, 0, REQUESTS_MAX);
        return 0;
    case KEY_TIMEOUT:
        a->timeout = flag_number(state, "--timeout", arg, 1, 1 << 20);
        return 0;
    case ARGP_KEY_ARG: /* more limits, as in --goodput ttft:500 tpot:50 */
        if (!a->goodput)
            return ARGP_ERR_UNKNOWN;
        limit_parse(state, arg, &a->limits);
        return 0;
    case KEY_GOODPUT:
        a->goodput = true;
        limit_parse(state, arg, &a->limits);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_END:
        arguments_check(state, a);
        return 0;
    default:
        return arguments_what(key, arg, state, a);
    }
}

struct report {
    const struct arguments *arguments;
    struct model_info model;
    double round_trip; /* ms; median of calls that ask for nothing */
    int most_open;
    struct load_figures figures;
};

/* ---- output ---- */

static json_t *spread_json(const struct load_spread *s)
{
    return json_pack("{sf sf sf sf}", "mean", s->mean, "p50", s->p50, "p90", s->p90, "p99", s->p99);
}

static json_t *errors_json(const struct load_figures *f)
{
    json_t *errors = json_object();
    for (int i = RPC_OK + 1; i < LOAD_STATUSES; i++)
        if (f->ended[i])
            json_object_set_new(errors, rpc_status_name((enum rpc_status)i), json_integer(f->ended[i]));
    return errors;
}

/* Positions of drafts that were accepted at least once. */
static int positions_of(const struct acceptance *a)
{
    int n = ACCEPTANCE_POSITIONS;
    while (n > 0 && !a->accepted_per_position[n - 1])
        n--;
    return n;
}

static json_t *speculation_json(const struct acceptance *a)
{
    json_t *positions = json_array();
    for (int i = 0; i < positions_of(a); i++)
        json_array_append_new(positions, json_integer((json_int_t)a->accepted_per_position[i]));
    return json_pack("{sI sI sI sf sf so}", "steps", (json_int_t)a->steps, "drafted", (json_int_t)a->drafted, "accepted",
                     (json_int_t)a->accepted, "acceptance_rate", acceptance_rate(a), "mean_acceptance_length",
                     acceptance_mean_length(a), "accepted_per_position", positions);
}

static void report_json(const struct report *r)
{
    const struct arguments *a = r->arguments;
    const struct load_figures *f = &r->figures;
    json_t *all = json_pack("{ss ss ss si sf si so sf sI sI sf sf si sf}", "model", r->model.model, "drafter", r->model.drafter,
                            "loop", a->concurrency ? "closed" : "open", "requests", f->requests, "seconds", f->seconds, "completed",
                            f->completed, "errors", errors_json(f), "requests_per_s", f->requests_per_s, "prompt_tokens",
                            (json_int_t)f->prompt_tokens, "output_tokens", (json_int_t)f->output_tokens, "output_tokens_per_s",
                            f->output_tokens_per_s, "round_trip_ms", r->round_trip, "most_open", r->most_open,
                            a->concurrency ? "concurrency" : "request_rate", a->concurrency ? a->concurrency : (double)a->rate);
    if (a->goodput)
        json_object_set_new(all, "goodput_per_s", json_real(f->good_per_s));
    json_object_set_new(all, "ttft_ms", spread_json(&f->ttft));
    json_object_set_new(all, "tpot_ms", spread_json(&f->tpot));
    json_object_set_new(all, "itl_ms", spread_json(&f->itl));
    json_object_set_new(all, "e2e_ms", spread_json(&f->e2e));
    json_object_set_new(all, "send_lag_ms", spread_json(&f->lag));
    json_object_set_new(all, "stream_tokens_per_s", spread_json(&f->stream_rate));
    json_object_set_new(all, "speculation", speculation_json(&f->acceptance));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(8));
    putchar('\n');
    json_decref(all);
}

static void spread_print(const char *name, const struct load_spread *s)
{
    printf("%-22s %10.2f %10.2f %10.2f %10.2f\n", name, s->mean, s->p50, s->p90, s->p99);
}

static void acceptance_print(const struct acceptance *a)
{
    if (!a->drafted)
        return;
    printf("speculation            mean acceptance length %.2f, %.1f%% of %llu drafts accepted, at draft 1..k:",
           acceptance_mean_length(a), 100 * acceptance_rate(a), (unsigned long long)a->drafted);
    for (int i = 0; i < positions_of(a); i++)
        printf(" %.0f%%", 100 * (double)a->accepted_per_position[i] / (double)a->steps);
    putchar('\n');
}

static void report_head(const struct report *r)
{
    const struct arguments *a = r->arguments;
    printf("%s, drafter %s, at %s; ", r->model.model, r->model.drafter[0] ? r->model.drafter : "none", a->address);
    if (a->concurrency)
        printf("closed loop of %d\n", a->concurrency);
    else
        printf("open loop, %g requests/s, latencies from the time a request was due\n", (double)a->rate);
    printf("probe: an empty call takes %.2f ms\n", r->round_trip);
}

static void report_print(const struct report *r)
{
    const struct load_figures *f = &r->figures;
    report_head(r);
    printf("completed              %d of %d in %.2f s, at most %d at once\n", f->completed, f->requests, f->seconds, r->most_open);
    for (int i = RPC_OK + 1; i < LOAD_STATUSES; i++)
        if (f->ended[i])
            printf("failed                 %d %s: %s\n", f->ended[i], rpc_status_name((enum rpc_status)i), f->words[i]);
    printf("requests/s             %.2f\n", f->requests_per_s);
    if (r->arguments->goodput)
        printf("goodput, requests/s    %.2f\n", f->good_per_s);
    printf("output tokens/s        %.1f (%lld tokens; prompts: %lld)\n", f->output_tokens_per_s, (long long)f->output_tokens,
           (long long)f->prompt_tokens);
    printf("%-22s %10s %10s %10s %10s\n", "", "mean", "p50", "p90", "p99");
    spread_print("TTFT, ms", &f->ttft);
    spread_print("TPOT, ms", &f->tpot);
    spread_print("ITL, ms a message", &f->itl);
    spread_print("E2E, ms", &f->e2e);
    spread_print("tokens/s of a stream", &f->stream_rate);
    if (!r->arguments->concurrency)
        spread_print("sent late by, ms", &f->lag);
    acceptance_print(&f->acceptance);
}

/* ---- the run ---- */

/* Who answers there, and how long an answer takes that needs no work. */
static int service_probe(struct report *r, struct error *err)
{
    struct rpc_channel *channel;
    enum rpc_status status = RPC_OK;
    double ms[PROBES];
    int result = 0, n = 0;
    if (rpc_channel_open_with(&channel, r->arguments->address, &r->arguments->security, err))
        return -1;
    for (; !result && n < PROBES; n++) {
        struct rpc_bytes reply;
        double begin = clock_seconds();
        result = rpc_unary(channel, MODEL_INFO_PATH, "", 0, 10, &reply, &status, err);
        ms[n] = 1e3 * (clock_seconds() - begin);
        if (!result)
            result = model_info_unpack(&r->model, reply.data, reply.size, err);
        free(reply.data);
    }
    rpc_channel_close(channel);
    r->round_trip = load_spread_of(ms, n).p50;
    return result && status != RPC_OK ? ask_failed(r->arguments->address, status, err) : result;
}

static int load_measure(struct report *r, const struct load_plan *plan, struct error *err)
{
    struct load_record *records = mem_new((size_t)plan->count, sizeof *records);
    int result = load_run(records, &r->most_open, plan, err);
    load_figures_make(&r->figures, records, result ? 0 : plan->count, &r->arguments->limits);
    if (!result && r->arguments->json)
        report_json(r);
    else if (!result)
        report_print(r);
    if (!result && !r->figures.completed)
        result = fail(err, "%s: no request completed; the first: %s: %s", plan->address, rpc_status_name(records[0].status),
                      records[0].words);
    load_records_free(records, plan->count);
    return result;
}

/* A service that cannot answer one request need not get the others. */
static int load_warm_up(const struct load_plan *load, int count, struct error *err)
{
    struct load_plan plan = *load;
    struct load_record *records = mem_new((size_t)count, sizeof *records);
    int most_open, result;
    plan.count = count;
    plan.rate = 0;
    plan.concurrency = 1;
    result = load_run(records, &most_open, &plan, err);
    for (int i = 0; !result && i < count; i++)
        if (records[i].status != RPC_OK) {
            fail(err, "%s", records[i].words);
            result = ask_failed(plan.address, records[i].status, err);
        }
    load_records_free(records, count);
    return result;
}

static int bench_serve(const struct arguments *a, struct error *err)
{
    const struct generate_request like = {.given = GIVEN_TEMPERATURE, /* 0: greedy, whatever the model's default */
                                          .max_tokens = a->max_tokens,
                                          .draft_tokens = a->draft_tokens,
                                          .ignore_eos = a->ignore_eos};
    struct report report = {.arguments = a};
    struct load_data data;
    if (load_data_read(&data, a->data, &like, err))
        return -1;
    const struct load_plan plan = {.address = a->address,
                                   .security = &a->security,
                                   .inputs = data.requests,
                                   .n_inputs = data.n,
                                   .count = a->requests,
                                   .rate = (double)a->rate,
                                   .concurrency = a->concurrency,
                                   .seed = (uint64_t)a->seed,
                                   .timeout = a->timeout};
    int result = service_probe(&report, err);
    if (!result && a->warm_up)
        result = load_warm_up(&plan, a->warm_up, err);
    if (!result)
        result = load_measure(&report, &plan, err);
    load_data_free(&data);
    return result;
}

int command_bench_serve(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {
        .data = "models/pictures/scenes.jsonl", .requests = 100, .warm_up = 1, .draft_tokens = DRAFT_TOKENS_ABSENT, .timeout = 600};
    struct error err;
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    cli_parse(&argp, argc, argv, &a);
    signals_hold();
    int result = bench_serve(&a, &err);
    return result == 1 ? INTERRUPTED : result ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}
