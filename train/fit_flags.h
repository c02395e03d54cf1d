/* fit_flags.h - the command line that project and tune share, and what both say at the end */
#ifndef TRAIN_FIT_FLAGS_H
#define TRAIN_FIT_FLAGS_H

#include <argp.h>

#include "train/fit.h"

struct fit_flags {
    struct fit_options options; /* at first the command's defaults */
    float default_rate;         /* filled for --help, from those */
    int default_batch;
    bool json, dry_run;
};

/* A child whose input is a struct fit_flags. */
extern const struct argp fit_argp;

/* Runs, or with --dry-run says what a run would need; returns the exit status. name: the command's, for messages. */
int fit_command(const char *name, const struct fit_flags *flags, struct comm *comm);

/* A value of a flag out of a table of names; ends the process where it is none. */
int fit_choice(const struct argp_state *state, const char *flag, const char *text, const char *const *names, int n);

#endif
