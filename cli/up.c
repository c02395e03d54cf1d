/* up.c - massv up: a whole local service, from one command until Ctrl-C */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/flags.h"
#include "base/log.h"
#include "base/log_flags.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "cli/service.h"
#include "kernels/kernels.h"
#include "proto/rpc_address.h"
#include "proto/rpc_flags.h"

static const double WATCH_SECONDS = 0.2; /* how soon Ctrl-C is seen */

enum {
    KEY_TARGET = 256,
    KEY_DRAFTER,
    KEY_RANKS,
    KEY_GROUPS,
    KEY_HOSTS,
    KEY_ACTIVATIONS,
    KEY_LISTEN,
    KEY_METRICS,
    KEY_DEVICE,
    KEY_THREADS,
    KEY_KV_POSITIONS,
    KEY_STEP_SECONDS,
    KEY_TRUST,
    KEY_TRUST_END = KEY_TRUST + 8
};

struct arguments {
    struct service_options service;
    struct service_limits limits;
    bool cuda;
};

static const struct argp_option flags[] = {
    {"target", KEY_TARGET, "DIR", 0, "checkpoint of the model that answers", 0},
    {"drafter", KEY_DRAFTER, "DIR", 0, "checkpoint of the small model that drafts; default: none", 0},
    {"ranks", KEY_RANKS, "N", 0, "tensor-parallel ranks of a group; default 1", 0},
    {"groups", KEY_GROUPS, "G", 0, "worker groups, each a whole copy of the target; default 1", 0},
    {"hosts", KEY_HOSTS, "h1:1,h2:1", 0, "hosts of a group's ranks; default: this machine", 0},
    {"listen", KEY_LISTEN, "ADDR", 0, "address of the public API; default 127.0.0.1:50051, port 0 chooses a free one", 0},
    {"metrics", KEY_METRICS, "ADDR", 0, "HTTP page of metrics and health, e.g. 127.0.0.1:8002; default: none", 0},
    {"device", KEY_DEVICE, "auto|cpu|cuda", 0, "where the models run; default auto", 0},
    {"threads", KEY_THREADS, "T", 0, "compute threads per rank; default: cores / ranks", 0},
    {"kv-positions", KEY_KV_POSITIONS, "N", 0, "positions of a group's cache over all requests; default: massv-worker --help", 0},
    {"activations", KEY_ACTIVATIONS, "auto|f32", 0, "f32: never round activations to bf16", 0},
    {"step-seconds", KEY_STEP_SECONDS, "S", 0,
     "a worker group that takes longer for one step is lost; default: massv-coordinator's and massv-worker's", 0},
    {0, 0, 0, 0, "Who may call (files are PEM):", 1},
    {"tls-certificate", KEY_TRUST + 0, "FILE", 0, "speak TLS, with this certificate", 1},
    {"tls-key", KEY_TRUST + 1, "FILE", 0, "its key", 1},
    {"tls-client-ca", KEY_TRUST + 2, "FILE", 0, "only clients with a certificate that one of these signed may call", 1},
    {"token-file", KEY_TRUST + 3, "FILE", 0, "only clients that show the bearer token in this file may call", 1},
    {0, 0, 0, 0, "How worker groups attach (they show a secret that this command makes):", 2},
    {"worker-tls-certificate", KEY_TRUST + 4, "FILE", 0,
     "speak TLS with them, with this certificate; it names the address that they dial, on this machine 127.0.0.1", 2},
    {"worker-tls-key", KEY_TRUST + 5, "FILE", 0, "its key", 2},
    {"worker-tls-ca", KEY_TRUST + 6, "FILE", 0, "groups know it by one of these, which signed it", 2},
    {"worker-tls-client-ca", KEY_TRUST + 7, "FILE", 0,
     "only groups with a certificate that one of these signed may attach; they show the one above", 2},
    {0, 0, 0, 0, 0, -1},
    {0}};

static const char doc[] =
    "massv up - start a whole local service\v"
    "Prints one line, `serving MODEL on ADDR`, when a real warm-up generation has passed; Ctrl-C drains and stops it, and Ctrl-C "
    "again does not wait for what still runs. Logs go to stderr.\n\n"
    "Example:\n  massv up --target models/scenes-large --drafter models/scenes-massv \\\n    --ranks 2";

/* HTTP is served on host:port alone. */
static const char *arguments_http(const struct argp_state *state, const char *flag, const char *text)
{
    if (rpc_address_is_unix(text))
        argp_error(state, "%s %s: host:port is wanted", flag, text);
    return flag_address(state, flag, text);
}

/* The files of both ports in the order of their flags. */
static const char **trust_file(struct service_options *options, int i)
{
    struct rpc_security_files *clients = &options->security, *workers = &options->workers;
    const char **files[] = {&clients->certificate, &clients->key, &clients->authorities,        &clients->token,
                            &workers->certificate, &workers->key, &options->worker_authorities, &workers->authorities};
    return files[i];
}

/* The coordinator cannot see whether the groups will speak as it does. */
static void arguments_complete(const struct service_options *options, const struct argp_state *state)
{
    if (!options->target)
        argp_error(state, "--target is missing");
    flag_security(state, &options->security, "--");
    flag_security(state, &options->workers, "--worker-");
    if (!options->workers.certificate != !options->worker_authorities)
        argp_error(state, "--worker-tls-certificate and --worker-tls-ca come together");
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct service_options *o = &a->service;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->limits;
        o->limits = &a->limits;
        return 0;
    case KEY_TARGET:
        o->target = arg;
        return 0;
    case KEY_DRAFTER:
        o->drafter = arg;
        return 0;
    case KEY_RANKS:
        o->ranks = flag_number(state, "--ranks", arg, 1, CLI_RANKS);
        return 0;
    case KEY_GROUPS:
        o->groups = flag_number(state, "--groups", arg, 1, SERVICE_GROUPS);
        return 0;
    case KEY_HOSTS:
        o->hosts = arg;
        return 0;
    case KEY_LISTEN:
        o->listen = flag_address(state, "--listen", arg);
        return 0;
    case KEY_METRICS:
        o->metrics = arguments_http(state, "--metrics", arg);
        return 0;
    case KEY_DEVICE:
        if (strcmp(arg, "auto") && strcmp(arg, "cpu") && strcmp(arg, "cuda"))
            argp_error(state, "--device %s: auto, cpu or cuda is wanted", arg);
        a->cuda = !strcmp(arg, "cuda");
        return 0;
    case KEY_THREADS:
        o->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case KEY_KV_POSITIONS:
        o->kv_positions = flag_number(state, "--kv-positions", arg, 1, 1 << 30);
        return 0;
    case KEY_ACTIVATIONS:
        o->activations_f32 = !strcmp(arg, "f32");
        if (!o->activations_f32 && strcmp(arg, "auto"))
            argp_error(state, "--activations %s: auto or f32 is wanted", arg);
        return 0;
    case KEY_STEP_SECONDS:
        o->step_seconds = flag_number(state, "--step-seconds", arg, 1, 86400);
        return 0;
    case ARGP_KEY_END:
        arguments_complete(o, state);
        return 0;
    }
    if (key < KEY_TRUST || key >= KEY_TRUST_END)
        return ARGP_ERR_UNKNOWN;
    *trust_file(o, key - KEY_TRUST) = arg;
    return 0;
}

/* Until a signal or a failure. */
static int up(const struct service_options *options, struct error *err)
{
    struct service *service = NULL;
    int result = service_start(&service, options, err);
    if (result)
        return result;
    puts(service_line(service));
    fflush(stdout);
    if (*service_metrics(service))
        log_line(LOG_INFO, "metrics on http://%s/metrics", service_metrics(service));
    while (!result && !signals_pending())
        result = service_watch(service, WATCH_SECONDS, err);
    if (!result) {
        log_line(LOG_INFO, "draining; Ctrl-C ends it");
        service_drain(service);
    }
    service_stop(service);
    return result;
}

int command_up(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.service = {.listen = "127.0.0.1:50051", .ranks = 1, .groups = 1, .relay = true}};
    struct error err;
    const struct argp_child children[] = {{.argp = &limit_argp}, {.argp = &log_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    cli_parse(&argp, argc, argv, &a);
    if (a.cuda && !kernels_cuda()) {
        fail(&err, "--device cuda: no CUDA backend or no GPU here; --device cpu runs on the processor");
        return cli_failed(comm, argv[0], &err);
    }
    log_name("massv up", -1);
    signals_hold();
    signal(SIGPIPE, SIG_IGN); /* whoever read the log may go: the service stays */
    return up(&a.service, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
}
