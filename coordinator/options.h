/* options.h - the command line of massv-coordinator */
#ifndef COORDINATOR_OPTIONS_H
#define COORDINATOR_OPTIONS_H

#include <stdbool.h>

#include "proto/rpc.h"

enum { LISTEN_MAX = 8 };

struct coordinator_options {
    const char *target, *drafter; /* folders; drafter NULL = none */
    const char *listen[LISTEN_MAX];
    int n_listen;
    const char *worker_listen;
    const char *metrics; /* NULL = no page of metrics */
    int draft_tokens;
    int threads; /* 0 = one per core */
    int max_requests, max_waiting;
    int message_limit; /* MiB */
    bool activations_f32;
    int max_positions;   /* 0 = the model's */
    int draft_positions; /* of the drafter's cache, over all requests */
    int drain_seconds, group_wait_seconds, step_seconds, stall_ms;
    struct rpc_security_files clients, workers; /* of the public and of the workers' port */
};

/* Ends the process with status 2 and one line on wrong usage, with 0 after --help. */
void coordinator_options_parse(struct coordinator_options *options, int argc, char **argv);

#endif
