/* options.c - argp of massv-worker */
#include "worker/options.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/log_flags.h"
#include "base/version.h"
#include "proto/rpc_flags.h"

static const char doc[] =
    "massv-worker - one rank of a worker group: a shard of the target's language model. Started by mpirun on every rank, or alone "
    "as a group of one. Rank 0 dials the coordinator and attaches the group.\v"
    "The key/value cache holds by default 8 full contexts of the model, or what fits into half of the memory that the weights of "
    "this host's ranks leave free (the smallest of all ranks). Threads are by default the cores that this rank may use, divided "
    "by the ranks that may use the same ones.\n\n"
    "A coordinator that asks for a token gets the one in --token-file, or what MASSV_GROUP_TOKEN holds.\n\n"
    "Example:\n  mpirun -np 2 --bind-to none massv-worker \\\n"
    "    --target models/scenes-large --coordinator 127.0.0.1:50052";

static const struct argp_option table[] = {
    {"target", 't', "DIR", 0, "the target's checkpoint folder; the coordinator must have the same model", 0},
    {"coordinator", 'c', "ADDR", 0, "the coordinator's --worker-listen address, host:port or unix:/path", 0},
    {"threads", 'T', "N", 0, "compute threads of this rank; default: see below", 0},
    {"kv-positions", 'k', "N", 0, "capacity of the key/value cache over all sequences; default: see below", 0},
    {"activations", 'a', "auto|f32", 0,
     "auto: bf16 weights may meet activations rounded to bf16 where the CPU has bf16 dot instructions; f32: never (default auto)",
     0},
    {"step-seconds", 's', "S", 0, "a step that takes longer ends the job (default 30)", 0},
    {0},
};

static double seconds(struct argp_state *state, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (!*text || *end || !(value > 0 && value <= 86400))
        argp_error(state, "--step-seconds %s: seconds above 0, at most 86400, are right", text);
    return value;
}

static void finish(struct argp_state *state, const struct options *options)
{
    if (!options->target)
        argp_error(state, "--target DIR is missing");
    if (!options->coordinator)
        argp_error(state, "--coordinator ADDR is missing");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->security;
        return 0;
    case 't':
        options->target = text;
        return 0;
    case 'c':
        options->coordinator = flag_address(state, "--coordinator", text);
        return 0;
    case 'T':
        options->threads = flag_number(state, "--threads", text, 1, 1024);
        return 0;
    case 'k':
        options->kv_positions = flag_number(state, "--kv-positions", text, 1, 1 << 30);
        return 0;
    case 'a':
        if (strcmp(text, "auto") != 0 && strcmp(text, "f32") != 0)
            argp_error(state, "--activations %s: auto or f32 is right", text);
        options->activations_f32 = strcmp(text, "f32") == 0;
        return 0;
    case 's':
        options->step_seconds = seconds(state, text);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "%s: no such argument", text);
        return 0;
    case ARGP_KEY_END:
        finish(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct argp_child children[] = {{.argp = &rpc_client_argp}, {.argp = &log_argp}, {0}};
    static const struct argp argp = {.options = table, .parser = parse, .doc = doc, .children = children};
    *options = (struct options){.step_seconds = 30};
    argp_err_exit_status = 2;
    argp_program_version = "massv-worker " MASSV_VERSION;
    argp_parse(&argp, argc, argv, 0, NULL, options);
}
