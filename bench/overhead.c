/* overhead.c - what the service adds to a speculative step: the bare loop of drafter and model in this process, the same request
 * through a running service (time between two deltas at the client), and a raw TCP ping-pong, by turns.
 *
 *     build/bin/massv up --target models/scenes-large --drafter models/scenes-massv --threads 1
 *     build/bench/overhead --address 127.0.0.1:50051 --target models/scenes-large --drafter models/scenes-massv --threads 1
 *
 * One rank; the check beside the figures: both must give the same token ids. */
#include <argp.h>
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "coordinator/drafter.h"
#include "model/model.h"
#include "model/prompt.h"
#include "proto/generate.h"
#include "speculate/verify.h"

enum { TOKENS = 400, ROUNDS = 4, PINGS = 2000, PING_BYTES = 256, SKIPPED = 3 }; /* a step's message is of about that size */
static const char question[] = "Tell a short story about the picture.";         /* no picture: steps are what is measured */

struct arguments {
    const char *address, *target, *drafter;
    int threads, k;
};

static const struct argp_option flags[] = {
    {"address", 'a', "ADDR", 0, "a service of the same models, one rank, as many threads", 0},
    {"target", 't', "DIR", 0, "checkpoint", 0},
    {"drafter", 'd', "DIR", 0, "checkpoint of its drafter", 0},
    {"threads", 'j', "T", 0, "compute threads; default 1", 0},
    {"draft-tokens", 'k', "K", 0, "drafts per step; default 5", 0},
    {0}};

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'a':
        a->address = arg;
        return 0;
    case 't':
        a->target = arg;
        return 0;
    case 'd':
        a->drafter = arg;
        return 0;
    case 'j':
        a->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case 'k':
        a->k = flag_number(state, "--draft-tokens", arg, 1, DRAFT_TOKENS_MAX);
        return 0;
    case ARGP_KEY_END:
        if (!a->address || !a->target || !a->drafter)
            argp_error(state, "--address, --target and --drafter are wanted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Seconds of many steps. */
struct times {
    double *at;
    int n;
};

static void times_add(struct times *times, double seconds)
{
    times->at = mem_grow(times->at, (size_t)times->n + 1, sizeof *times->at);
    times->at[times->n++] = seconds;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double times_quantile(struct times *times, double q)
{
    qsort(times->at, (size_t)times->n, sizeof *times->at, compare);
    return times->at[(int)(q * (times->n - 1) + 0.5)];
}

/* The models of the bare loop. */
struct bare {
    struct arguments arguments;
    const struct kernels *kernels;
    struct device *device;
    struct comm *comm;
    struct model_config config;
    struct safetensors *st;
    struct tokenizer *tokenizer;
    struct model *model;
    struct drafter *drafter;
    struct prompt prompt;
};

static int bare_open(struct bare *b, struct error *err)
{
    const struct device_options device = {.threads = b->arguments.threads};
    uint64_t tower[2];
    const char *dir = b->arguments.target;
    const struct prompt_part part = {.text = question};
    const struct prompt_turn turn = {.role = ROLE_USER, .parts = &part, .n_parts = 1};
    b->kernels = kernels_cpu();
    if (!(b->device = b->kernels->open(&device, err)) || comm_open_one(&b->comm, err) || config_read(&b->config, dir, err) ||
        safetensors_open(&b->st, dir, err) || tokenizer_open(&b->tokenizer, dir, err) ||
        (b->config.has_vision && tower_hash(b->st, &b->config, tower, err)) ||
        prompt_make_turns(&b->prompt, &b->config, b->tokenizer, &turn, 1, NULL, 0, err))
        return -1;
    const struct model_options model = {.kernels = b->kernels, .device = b->device, .comm = b->comm, .kv_positions = 4096};
    const struct drafter_options drafter = {.kernels = b->kernels,
                                            .device = b->device,
                                            .vision_device = b->device,
                                            .kv_positions = 4096,
                                            .target = {&b->config, b->tokenizer, b->config.has_vision ? tower : NULL}};
    return model_open(&b->model, b->st, &b->config, &model, err) || drafter_open(&b->drafter, b->arguments.drafter, &drafter, err)
               ? -1
               : 0;
}

static void bare_close(struct bare *b)
{
    drafter_close(b->drafter);
    model_close(b->model);
    prompt_free(&b->prompt);
    tokenizer_close(b->tokenizer);
    safetensors_close(b->st);
    comm_close(b->comm);
    if (b->device)
        b->kernels->close(b->device);
}

/* One speculative step: drafts, the target's rows, verification, roll-back. Appends to tokens. */
static int bare_step(struct bare *b, struct sequence *sequence, struct draft_sequence *drafts, int32_t *tokens, int *n,
                     struct error *err)
{
    int32_t ids[DRAFT_TOKENS_MAX + 1], positions[DRAFT_TOKENS_MAX + 1][3], best[DRAFT_TOKENS_MAX + 1];
    struct proposal p = {.sequence = drafts, .tokens = tokens, .n_tokens = *n, .k = b->arguments.k, .drafts = ids + 1};
    drafter_propose(b->drafter, &p, 1, INT_MAX);
    ids[0] = tokens[*n - 1];
    for (int i = 0; i <= p.n; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = b->prompt.next_position + *n - 1 + i;
    const struct span span = {.sequence = sequence,
                              .n = p.n + 1,
                              .ids = ids,
                              .positions = (const int32_t(*)[3])positions,
                              .generated = true,
                              .n_scored = p.n + 1,
                              .repetition_penalty = 1};
    if (model_extend(b->model, &span, 1, err))
        return -1;
    model_best(b->model, best);
    int accepted = verify_tokens(best, ids + 1, p.n, &tokens[*n + p.n]);
    memmove(tokens + *n, best, (size_t)(accepted + 1) * sizeof *best); /* accepted drafts are the target's own choice */
    *n += accepted + 1;
    sequence_truncate(b->model, sequence, b->prompt.n + *n - 1);
    return 0;
}

static int bare_run(struct bare *b, struct times *times, int32_t *tokens, struct error *err)
{
    struct sequence *sequence = sequence_new(b->model);
    const struct span span = {.sequence = sequence,
                              .n = b->prompt.n,
                              .ids = b->prompt.ids,
                              .positions = (const int32_t(*)[3])b->prompt.positions,
                              .n_scored = 1,
                              .repetition_penalty = 1};
    int result = model_extend(b->model, &span, 1, err), n = 1;
    struct draft_sequence *drafts = result ? NULL : drafter_begin(b->drafter, &b->prompt, NULL, 2048, err);
    if (drafts)
        model_best(b->model, tokens);
    else
        result = -1;
    for (int steps = 0; !result && n < TOKENS; steps++) {
        double start = clock_seconds();
        result = bare_step(b, sequence, drafts, tokens, &n, err);
        if (steps >= SKIPPED)
            times_add(times, clock_seconds() - start);
    }
    if (drafts)
        drafter_end(b->drafter, drafts);
    sequence_release(b->model, sequence);
    return result;
}

/* The same through the service: seconds between deltas. */
static int served_read(struct rpc_stream *stream, struct times *times, int32_t *tokens, struct error *err)
{
    enum rpc_status status;
    double last = 0;
    int n = 0, deltas = 0, got;
    struct rpc_bytes message;
    while ((got = rpc_stream_read(stream, 30, &message, &status, err)) == 1) {
        struct generate_response r = {0};
        double now = clock_seconds();
        int broken = generate_response_unpack(&r, message.data, message.size, err);
        free(message.data);
        if (broken)
            return -1;
        if (r.event == GENERATE_TOKEN) {
            if (deltas++ > SKIPPED)
                times_add(times, now - last);
            for (int i = 0; i < r.n_ids && n < TOKENS; i++)
                tokens[n++] = r.ids[i];
            last = now;
        }
        generate_response_free(&r);
    }
    return got == -2 ? fail(err, "the service was silent for 30 s") : got;
}

static int served_run(const struct arguments *a, struct rpc_channel *channel, struct times *times, int32_t *tokens,
                      struct error *err)
{
    char empty[] = "", user[] = "user", text[sizeof question];
    memcpy(text, question, sizeof question);
    struct generate_part part = {.text = text};
    struct generate_turn turn = {.role = user, .parts = &part, .n_parts = 1};
    const struct generate_request request = {.request_id = empty,
                                             .model = empty,
                                             .turns = &turn,
                                             .n_turns = 1,
                                             .given = GIVEN_TEMPERATURE | GIVEN_REPETITION_PENALTY,
                                             .sampling.repetition_penalty = 1,
                                             .max_tokens = TOKENS,
                                             .ignore_eos = true,
                                             .draft_tokens = a->k};
    struct rpc_bytes bytes = {0};
    struct rpc_stream *stream = NULL;
    int result = generate_request_pack(&request, &bytes, err);
    if (!result && !(result = rpc_stream_open(&stream, channel, GENERATE_PATH, bytes.data, bytes.size, 60, err)))
        result = served_read(stream, times, tokens, err);
    rpc_stream_close(stream);
    free(bytes.data);
    return result;
}

/* A process that returns what it gets. */
static void echo(int server)
{
    char bytes[PING_BYTES];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = accept(server, NULL, NULL), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (recv(fd, bytes, sizeof bytes, MSG_WAITALL) == (ssize_t)sizeof bytes && send(fd, bytes, sizeof bytes, 0) > 0)
        ;
    _exit(0);
}

static int ping(struct times *times, struct error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char bytes[PING_BYTES] = {0};
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (server < 0 || client < 0 || bind(server, (struct sockaddr *)&address, size) || listen(server, 1) ||
        getsockname(server, (struct sockaddr *)&address, &size))
        return fail(err, "no socket on the loopback interface");
    if (fork() == 0)
        echo(server);
    if (connect(client, (struct sockaddr *)&address, size))
        return fail(err, "no connection on the loopback interface");
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int i = 0; i < PINGS; i++) {
        double start = clock_seconds();
        if (send(client, bytes, sizeof bytes, 0) < 0 || recv(client, bytes, sizeof bytes, MSG_WAITALL) != (ssize_t)sizeof bytes)
            return fail(err, "the ping-pong broke off");
        times_add(times, clock_seconds() - start);
    }
    close(client);
    close(server);
    return 0;
}

static int measure(struct bare *b, struct times times[3], struct error *err)
{
    int32_t bare[TOKENS + DRAFT_TOKENS_MAX + 1], served[TOKENS] = {0};
    struct rpc_channel *channel = NULL;
    const struct rpc_options options = {0};
    int result = bare_open(b, err) || rpc_channel_open(&channel, b->arguments.address, &options, err) ? -1 : 0;
    for (int i = 0; i < ROUNDS && !result; i++) {
        result =
            bare_run(b, &times[0], bare, err) || served_run(&b->arguments, channel, &times[1], served, err) || ping(&times[2], err)
                ? -1
                : 0;
        if (!result && memcmp(bare, served, sizeof served))
            result = fail(err, "service and bare loop gave different tokens: is it a service of these models?");
    }
    rpc_channel_close(channel);
    return result;
}

int main(int argc, char **argv)
{
    struct bare b = {.arguments = {.threads = 1, .k = DRAFT_TOKENS_DEFAULT}};
    struct times times[3] = {0};
    struct error err;
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = "overhead - what the service adds to a step"};
    cli_parse(&argp, argc, argv, &b.arguments);
    int result = measure(&b, times, &err);
    bare_close(&b);
    if (result) {
        fprintf(stderr, "overhead: %s\n", err.text);
        return CLI_FAILED;
    }
    static const char *const names[] = {"bare loop, a step", "service, a step", "raw TCP ping-pong, 256 bytes"};
    printf("%-30s %8s %9s %9s\n", "", "samples", "p50 ms", "p99 ms");
    for (int i = 0; i < 3; i++)
        printf("%-30s %8d %9.3f %9.3f\n", names[i], times[i].n, times_quantile(&times[i], 0.5) * 1e3,
               times_quantile(&times[i], 0.99) * 1e3);
    double over50 = times_quantile(&times[1], 0.5) - times_quantile(&times[0], 0.5);
    double over99 = times_quantile(&times[1], 0.99) - times_quantile(&times[0], 0.99);
    printf("%-30s %8s %9.3f %9.3f  (%.1f and %.1f ping-pongs)\nidentical tokens: yes\n", "overhead of the service", "",
           over50 * 1e3, over99 * 1e3, over50 / times_quantile(&times[2], 0.5), over99 / times_quantile(&times[2], 0.99));
    for (int i = 0; i < 3; i++)
        free(times[i].at);
    return CLI_DONE;
}
