/* options.c - massv-coordinator's command line, through argp */
#include "coordinator/options.h"

#include <argp.h>
#include <string.h>

#include "base/flags.h"
#include "base/log_flags.h"
#include "base/version.h"
#include "proto/rpc_address.h"
#include "proto/rpc_flags.h"

enum {
    KEY_TARGET = 256,
    KEY_DRAFTER,
    KEY_LISTEN,
    KEY_WORKER_LISTEN,
    KEY_METRICS,
    KEY_ACTIVATIONS,
    KEY_THREADS,
    KEY_STEP_SECONDS,
    KEY_TRUST,
    KEY_TRUST_END = KEY_TRUST + 8
};

static const struct argp_option table[] = {
    {"target", KEY_TARGET, "DIR", 0, "checkpoint of the large model: this program runs its vision tower, the workers run the rest",
     0},
    {"drafter", KEY_DRAFTER, "DIR", 0, "checkpoint of the small model that proposes tokens", 0},
    {"listen", KEY_LISTEN, "ADDR", 0, "public API, e.g. 127.0.0.1:50051, [::]:0, unix:/run/massv; may be repeated", 0},
    {"worker-listen", KEY_WORKER_LISTEN, "ADDR", 0, "where worker groups dial in", 0},
    {"metrics", KEY_METRICS, "ADDR", 0, "HTTP page of metrics and health, e.g. 127.0.0.1:8002; default: none", 0},
    {"activations", KEY_ACTIVATIONS, "auto|f32", 0, "f32: never round activations to bf16", 0},
    {"threads", KEY_THREADS, "T", 0, "compute threads; default one per core", 0},
    {"step-seconds", KEY_STEP_SECONDS, "S", 0, "a worker group that takes longer for one step is lost; default 120", 0},
    {0, 0, 0, 0, "Who may call the public port (files are PEM):", 1},
    {"tls-certificate", KEY_TRUST + 0, "FILE", 0, "speak TLS, with this certificate", 1},
    {"tls-key", KEY_TRUST + 1, "FILE", 0, "its key", 1},
    {"tls-client-ca", KEY_TRUST + 2, "FILE", 0, "only clients with a certificate that one of these signed may call", 1},
    {"token-file", KEY_TRUST + 3, "FILE", 0, "only clients that show the bearer token in this file may call", 1},
    {0, 0, 0, 0, "Which worker groups may attach:", 2},
    {"worker-tls-certificate", KEY_TRUST + 4, "FILE", 0, "speak TLS with them, with this certificate", 2},
    {"worker-tls-key", KEY_TRUST + 5, "FILE", 0, "its key", 2},
    {"worker-tls-client-ca", KEY_TRUST + 6, "FILE", 0, "only groups with a certificate that one of these signed may attach", 2},
    {"worker-token-file", KEY_TRUST + 7, "FILE", 0,
     "only groups that show the token in this file may attach; default: what MASSV_GROUP_TOKEN holds", 2},
    {0, 0, 0, 0, 0, -1},
    {0},
};

/* HTTP is served on host:port alone. */
static const char *http_parse(const char *flag, const char *text, struct argp_state *state)
{
    if (rpc_address_is_unix(text))
        argp_error(state, "%s %s: host:port is wanted", flag, text);
    return flag_address(state, flag, text);
}

static void listen_add(struct coordinator_options *options, const char *address, struct argp_state *state)
{
    if (options->n_listen == LISTEN_MAX)
        argp_error(state, "--listen: at most %d addresses", LISTEN_MAX);
    else
        options->listen[options->n_listen++] = flag_address(state, "--listen", address);
}

static void activations_parse(struct coordinator_options *options, const char *text, struct argp_state *state)
{
    options->activations_f32 = strcmp(text, "f32") == 0;
    if (!options->activations_f32 && strcmp(text, "auto") != 0)
        argp_error(state, "--activations %s: auto or f32", text);
}

/* The files of both ports in the order of their flags. */
static const char **trust_file(struct coordinator_options *options, int i)
{
    struct rpc_security_files *clients = &options->clients, *workers = &options->workers;
    const char **files[] = {&clients->certificate, &clients->key, &clients->authorities, &clients->token,
                            &workers->certificate, &workers->key, &workers->authorities, &workers->token};
    return files[i];
}

static void complete(const struct coordinator_options *options, struct argp_state *state)
{
    if (!options->target)
        argp_error(state, "--target DIR is missing");
    if (!options->n_listen)
        argp_error(state, "--listen ADDR is missing, e.g. --listen 127.0.0.1:50051");
    flag_security(state, &options->clients, "--");
    flag_security(state, &options->workers, "--worker-");
    if (!options->worker_listen)
        argp_error(state, "--worker-listen ADDR is missing, e.g. --worker-listen 127.0.0.1:50052");
}

static error_t option_parse(int key, char *value, struct argp_state *state)
{
    struct coordinator_options *options = state->input;
    switch (key) {
    case KEY_TARGET:
        options->target = value;
        return 0;
    case KEY_DRAFTER:
        options->drafter = value;
        return 0;
    case KEY_LISTEN:
        listen_add(options, value, state);
        return 0;
    case KEY_WORKER_LISTEN:
        options->worker_listen = flag_address(state, "--worker-listen", value);
        return 0;
    case KEY_METRICS:
        options->metrics = http_parse("--metrics", value, state);
        return 0;
    case KEY_ACTIVATIONS:
        activations_parse(options, value, state);
        return 0;
    case KEY_THREADS:
        options->threads = flag_number(state, "--threads", value, 1, 1024);
        return 0;
    case KEY_STEP_SECONDS:
        options->step_seconds = flag_number(state, "--step-seconds", value, 1, 86400);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->limits;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "what is \"%s\"? There are options only", value);
        return 0;
    case ARGP_KEY_END:
        complete(options, state);
        return 0;
    }
    if (key < KEY_TRUST || key >= KEY_TRUST_END)
        return ARGP_ERR_UNKNOWN;
    *trust_file(options, key - KEY_TRUST) = value;
    return 0;
}

void coordinator_options_parse(struct coordinator_options *options, int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &limit_argp}, {.argp = &log_argp}, {0}};
    const struct argp argp = {
        .options = table,
        .children = children,
        .parser = option_parse,
        .doc = "massv-coordinator - serves one vision-language model over gRPC: requests, pictures, drafts and scheduling; worker "
               "groups (massv-worker) dial in and compute the model.\v"
               "Example:\n  massv-coordinator --target models/scenes-large \\\n"
               "    --listen 127.0.0.1:50051 --worker-listen 127.0.0.1:50052",
    };
    *options = (struct coordinator_options){.step_seconds = 120};
    argp_err_exit_status = 2;
    argp_program_version = "massv-coordinator " MASSV_VERSION;
    argp_parse(&argp, argc, argv, 0, NULL, options);
}
