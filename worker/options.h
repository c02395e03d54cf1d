/* options.h - the command line of massv-worker */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include <stdbool.h>

#include "proto/rpc.h"

struct options {
    const char *target, *coordinator; /* of argv */
    int threads, kv_positions;        /* 0 = the default, worker/capacity.h */
    bool activations_f32;
    double step_seconds;
    struct rpc_security_files security; /* towards the coordinator */
};

/* Ends the process on --help (0) and wrong usage (2). */
void options_parse(struct options *options, int argc, char **argv);

#endif
