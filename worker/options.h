/* options.h - the command line of massv-worker */
#ifndef WORKER_OPTIONS_H
#define WORKER_OPTIONS_H

#include <stdbool.h>

struct options {
    const char *target, *coordinator; /* of argv */
    int threads, kv_positions;        /* 0 = the default, worker/capacity.h */
    bool activations_f32;
    double step_seconds;
};

/* Ends the process on --help (0) and wrong usage (2). */
void options_parse(struct options *options, int argc, char **argv);

#endif
