/* generate.c - massv generate: one request to a running service, or to a private one that lives for this request */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/memory.h"
#include "base/signals.h"
#include "base/standard.h"
#include "cli/answer_print.h"
#include "cli/cli.h"
#include "cli/sampling_flags.h"
#include "cli/service.h"
#include "proto/ask.h"
#include "proto/generate.h"
#include "proto/limit_flags.h"
#include "proto/rpc_flags.h"

enum { GENERATE_INTERRUPTED = 130 }; /* as shells say 128 + SIGINT */

enum {
    KEY_ADDRESS = 256,
    KEY_TARGET,
    KEY_DRAFTER,
    KEY_RANKS,
    KEY_THREADS,
    KEY_PROMPT,
    KEY_IMAGE,
    KEY_SYSTEM,
    KEY_MAX_TOKENS,
    KEY_DRAFT_TOKENS,
    KEY_MIN_TOKENS,
    KEY_STOP,
    KEY_IGNORE_EOS,
    KEY_N,
    KEY_LOGPROBS,
    KEY_JSON,
    KEY_SHOW_DRAFTS
};

struct arguments {
    const char *address, *prompt, *system;
    struct service_options service; /* the private one; target NULL without */
    struct rpc_security_files security;
    struct cli_list images, stops;
    int max_tokens, min_tokens, draft_tokens, n;
    struct sampling_flags sampling;
    bool ignore_eos, json, show_drafts;
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "Where the request goes (one of the two):", 1},
    {"address", KEY_ADDRESS, "ADDR", 0, "a running service", 1},
    {"target", KEY_TARGET, "DIR", 0, "start a private service of this model for the one request", 1},
    {"drafter", KEY_DRAFTER, "DIR", 0, "drafter of the private service", 1},
    {"ranks", KEY_RANKS, "N", 0, "ranks of the private service; default 1", 1},
    {"threads", KEY_THREADS, "T", 0, "compute threads per rank of the private service; default: cores / ranks", 1},
    {0, 0, 0, 0, "What is asked:", 2},
    {"prompt", KEY_PROMPT, "TEXT", 0, "what the user says", 2},
    {"image", KEY_IMAGE, "FILE", 0, "a picture before the text (JPEG, PNG, WebP); may be repeated", 2},
    {"system", KEY_SYSTEM, "TEXT", 0, "system turn; default: the model family's", 2},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "end the answer after N tokens; default 256", 2},
    {"min-tokens", KEY_MIN_TOKENS, "N", 0, "do not let it end before N tokens", 2},
    {"stop", KEY_STOP, "TEXT", 0, "end the answer before this text; may be repeated", 2},
    {"ignore-eos", KEY_IGNORE_EOS, 0, 0, "go on after the model's end token", 2},
    {"draft-tokens", KEY_DRAFT_TOKENS, "K|auto", 0,
     "drafts per step, 0 to 16; 0 is without speculation; auto: as many as pay; default: the service's", 2},
    {"n", KEY_N, "N", 0, "answers to the one prompt, 1 to 16; they are printed when all are whole", 2},
    {0, 0, 0, 0, "What is printed:", 4},
    {"json", KEY_JSON, 0, 0,
     "one JSON object when the answer is whole, instead of text as it comes (--show-drafts then goes to stderr); "
     "with --n above 1 {\"outputs\": [...]}",
     4},
    {"logprobs", KEY_LOGPROBS, "N", 0, "in the JSON: log-probabilities of each token, and of the N (0 to 20) most probable", 4},
    {"show-drafts", KEY_SHOW_DRAFTS, 0, 0,
     "mark accepted drafts (green) and rejected ones (dimmed); without colours [accepted] and {rejected}", 4},
    {0, 0, 0, 0, 0, -1},
    {0}};

static const char doc[] = "massv generate - ask once, and stream the answer\v"
                          "Example:\n  massv generate --address 127.0.0.1:50051 --show-drafts \\\n"
                          "    --image models/pictures/scene-00002.png \\\n"
                          "    --prompt 'What can you see in this picture?'";

static void arguments_check(struct argp_state *state, const struct arguments *a)
{
    if (!a->address == !a->service.target)
        argp_error(state, "one of --address and --target is wanted");
    if (a->address && (a->service.drafter || a->service.ranks || a->service.threads))
        argp_error(state, "--drafter, --ranks and --threads belong to a private service (--target), not to --address");
    if (!a->prompt)
        argp_error(state, "--prompt is missing");
    if (a->n > 1 && a->show_drafts)
        argp_error(state, "--show-drafts follows one answer as it comes; it does not go with --n");
    if (a->sampling.sampling.logprobs && !a->json)
        argp_error(state, "--logprobs are printed with --json");
}

static int arguments_where(int key, char *arg, struct argp_state *state, struct arguments *a)
{
    switch (key) {
    case KEY_ADDRESS:
        a->address = flag_address(state, "--address", arg);
        return 0;
    case KEY_TARGET:
        a->service.target = arg;
        return 0;
    case KEY_DRAFTER:
        a->service.drafter = arg;
        return 0;
    case KEY_RANKS:
        a->service.ranks = flag_number(state, "--ranks", arg, 1, CLI_RANKS);
        return 0;
    case KEY_THREADS:
        a->service.threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int arguments_how(int key, char *arg, struct argp_state *state, struct arguments *a)
{
    switch (key) {
    case KEY_MAX_TOKENS:
        a->max_tokens = flag_number(state, "--max-tokens", arg, 1, 1 << 24);
        return 0;
    case KEY_MIN_TOKENS:
        a->min_tokens = flag_number(state, "--min-tokens", arg, 0, 1 << 24);
        return 0;
    case KEY_STOP:
        if (!*arg)
            argp_error(state, "--stop: is empty; a text is wanted that ends the answer");
        cli_list_add(state, "--stop", cli_text(state, "--stop", arg), &a->stops);
        return 0;
    case KEY_LOGPROBS:
        a->sampling.sampling.top_logprobs = flag_number(state, "--logprobs", arg, 0, SAMPLING_TOP_LOGPROBS);
        a->sampling.sampling.logprobs = true;
        return 0;
    case KEY_N:
        a->n = flag_number(state, "--n", arg, 1, GENERATE_OUTPUTS_MAX);
        return 0;
    case KEY_DRAFT_TOKENS:
        a->draft_tokens = draft_tokens_flag(state, arg);
        return 0;
    case KEY_IGNORE_EOS:
        a->ignore_eos = true;
        return 0;
    default:
        return arguments_where(key, arg, state, a);
    }
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->security;
        state->child_inputs[1] = &a->sampling;
        return 0;
    case KEY_PROMPT:
        a->prompt = cli_text(state, "--prompt", arg);
        return 0;
    case KEY_SYSTEM:
        a->system = cli_text(state, "--system", arg);
        return 0;
    case KEY_IMAGE:
        cli_list_add(state, "--image", arg, &a->images);
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case KEY_SHOW_DRAFTS:
        a->show_drafts = true;
        return 0;
    case ARGP_KEY_END:
        arguments_check(state, a);
        return 0;
    default:
        return arguments_how(key, arg, state, a);
    }
}

/* The user's turn holds the pictures, then the text. */
static int request_make(struct generate_request *request, const struct arguments *a, struct error *err)
{
    int n = a->images.n;
    struct generate_turn *turn = request->turns = mem_new(2, sizeof *request->turns);
    request->request_id = mem_string("");
    request->model = mem_string("");
    sampling_flags_take(request, &a->sampling);
    request->max_tokens = a->max_tokens;
    request->min_tokens = a->min_tokens;
    request->stop_strings = mem_new((size_t)a->stops.n, sizeof *request->stop_strings);
    for (; request->n_stop_strings < a->stops.n; request->n_stop_strings++)
        request->stop_strings[request->n_stop_strings] = mem_string(a->stops.values[request->n_stop_strings]);
    request->ignore_eos = a->ignore_eos;
    request->drafts = a->show_drafts;
    request->n_outputs = a->n;
    request->draft_tokens = a->draft_tokens;
    if (a->system) {
        *turn = (struct generate_turn){mem_string("system"), mem_new(1, sizeof *turn->parts), 1};
        turn++->parts[0].text = mem_string(a->system);
    }
    *turn = (struct generate_turn){mem_string("user"), mem_new((size_t)n + 1, sizeof *turn->parts), n + 1};
    turn->parts[n].text = mem_string(a->prompt);
    request->n_turns = a->system ? 2 : 1;
    request->pictures = mem_new((size_t)n + 1, sizeof *request->pictures);
    for (; request->n_pictures < n; request->n_pictures++)
        if (ask_picture(&request->pictures[request->n_pictures], a->images.values[request->n_pictures], err)) {
            request->n_pictures++; /* what was read of it is freed with the others */
            return -1;
        }
    return 0;
}

/* One message into its answer, and on to the screen where it goes there at once. */
static int message_take(const struct rpc_bytes *message, int n, struct answer *answers, FILE *out, enum answer_marks marks,
                        struct error *err)
{
    struct generate_response response;
    if (generate_response_unpack(&response, message->data, message->size, err))
        return -1;
    int output = response.output, known = output < n;
    if (known)
        answer_add(&answers[output], &response);
    if (out)
        answer_show(out, &response, marks);
    generate_response_free(&response);
    return known ? 0 : fail(err, "a message of output %d of %d", output, n);
}

/* Reads the stream to its end; 1 when the user interrupted it. */
static int stream_follow(struct rpc_stream *stream, const struct arguments *a, struct answer *answers, enum rpc_status *status,
                         struct error *err)
{
    FILE *out = a->n > 1 ? NULL : !a->json ? stdout : a->show_drafts ? stderr : NULL;
    enum answer_marks marks = a->show_drafts ? answer_marks_for(out) : MARKS_NONE;
    for (;;) {
        struct rpc_bytes message = {0};
        int got = rpc_stream_read(stream, 0.1, &message, status, err); /* s; how soon Ctrl-C is seen */
        if (signals_pending()) {
            free(message.data);
            rpc_stream_cancel(stream);
            return 1;
        }
        if (got == 0 || got == -1)
            return got;
        if (got == -2)
            continue;
        int broken = message_take(&message, a->n, answers, out, marks, err);
        free(message.data);
        if (broken)
            return -1;
        if (standard_flush(err)) {
            rpc_stream_cancel(stream);
            return -1;
        }
    }
}

static bool answers_whole(const struct answer *answers, int n)
{
    while (n > 0 && answers[n - 1].reason)
        n--;
    return n == 0;
}

static int request_send(const char *address, const struct rpc_bytes *bytes, const struct arguments *a, struct answer *answers,
                        struct error *err)
{
    struct rpc_channel *channel = NULL;
    struct rpc_stream *stream = NULL;
    enum rpc_status status = RPC_OK;
    if (rpc_channel_open_with(&channel, address, &a->security, err))
        return -1;
    int result = rpc_stream_open(&stream, channel, GENERATE_PATH, bytes->data, bytes->size, 0, err);
    if (!result && (result = stream_follow(stream, a, answers, &status, err)) == -1 && status != RPC_OK) {
        ask_name_picture(a->images.values, a->images.n, err);
        ask_failed(address, status, err);
    }
    rpc_stream_close(stream);
    rpc_channel_close(channel);
    if (!result && !answers_whole(answers, a->n))
        return fail(err, "%s: the stream ended before the answer did", address);
    return result;
}

static void answers_show(const struct arguments *a, const struct answer *answers)
{
    for (int i = 0; i < a->n; i++)
        printf("%s[%d of %d]\n%s", i ? "\n\n" : "", i + 1, a->n, answers[i].text ? answers[i].text : "");
}

/* result: 0 done, 1 interrupted, -1 failed. Whoever reads JSON gets what there is of an interrupted answer, too. */
static void answers_end(const struct arguments *a, const struct answer *answers, int result)
{
    if (a->n > 1 && !a->json && !result)
        answers_show(a, answers);
    if ((!a->json || a->show_drafts) && (!result || (answers->size && a->n == 1)))
        fputc('\n', a->json ? stderr : stdout);
    fflush(stdout); /* before the summary, where both are one terminal */
    if (!result && a->show_drafts) {
        answer_summary(stderr, answers);
        fputc('\n', stderr);
    }
    if (a->json && result >= 0)
        answers_json(stdout, answers, a->n);
}

/* Packs first: a picture that cannot be read should not cost the start of a service. */
static int generate(const struct arguments *a, struct answer *answers, struct error *err)
{
    struct generate_request request = {0};
    struct rpc_bytes bytes = {0};
    struct service *service = NULL;
    int result = request_make(&request, a, err) || generate_request_pack(&request, &bytes, err) ? -1 : 0;
    generate_request_free(&request);
    if (!result && !a->address)
        result = service_start(&service, &a->service, err);
    if (!result)
        result = request_send(a->address ? a->address : service_address(service), &bytes, a, answers, err);
    service_stop(service);
    free(bytes.data);
    return result;
}

int command_generate(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.draft_tokens = DRAFT_TOKENS_ABSENT, .n = 1};
    struct answer answers[GENERATE_OUTPUTS_MAX] = {{0}};
    struct error err;
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {.argp = &sampling_flags_argp, .group = 3}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    cli_parse(&argp, argc, argv, &a);
    a.service.listen = "127.0.0.1:0";
    if (!a.service.ranks)
        a.service.ranks = 1;
    signals_hold();
    int result = generate(&a, answers, &err);
    answers_end(&a, answers, result);
    for (int i = 0; i < a.n; i++)
        answer_free(&answers[i]);
    return result == 1 ? GENERATE_INTERRUPTED : result ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}
