/* options.h - the command line of massv-coordinator */
#ifndef COORDINATOR_OPTIONS_H
#define COORDINATOR_OPTIONS_H

#include <stdbool.h>

#include "proto/limit_flags.h"
#include "proto/rpc.h"

enum { LISTEN_MAX = 8 };

struct coordinator_options {
    const char *target, *drafter; /* folders; drafter NULL = none */
    const char *listen[LISTEN_MAX];
    int n_listen;
    const char *worker_listen;
    const char *metrics; /* NULL = no page of metrics */
    int threads;         /* 0 = one per core */
    int step_seconds;
    bool activations_f32;
    struct service_limits limits;
    struct rpc_security_files clients, workers; /* of the public and of the workers' port */
};

/* Ends the process with status 2 and one line on wrong usage, with 0 after --help. */
void coordinator_options_parse(struct coordinator_options *options, int argc, char **argv);

#endif
