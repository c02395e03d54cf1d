/* fit.h - one run of training: a drafter's projector, or projector and language model, on a file of records */
#ifndef TRAIN_FIT_H
#define TRAIN_FIT_H

#include "cluster/comm.h"
#include "train/dataset.h"
#include "train/graft.h"
#include "train/network.h"

struct fit_options {
    const char *command; /* "project", "tune": stands in settings and messages */
    const char *target, *drafter, *data, *out;
    const char *held_out; /* records whose loss is measured on the way; NULL = none */
    const char *pictures; /* folder where relative paths of pictures in data and held_out begin; NULL = beside the file */
    const char *from;     /* run whose values this one begins with; NULL = the drafter's own */
    const char *features; /* folder of picture features; NULL = "features" beside out */
    struct graft_projector projector;
    enum dataset_labels labels;
    enum train_loss loss;
    bool train_language, recompute, resume, skip_errors;
    enum dtype weights;
    int epochs, batch; /* samples of a step */
    int steps;         /* 0 = as many as the epochs have */
    int tokens;        /* about so many are computed at once; the gradients of a step's pieces add up */
    int limit, max_length, threads, evaluate_every, checkpoint_seconds;
    int keep; /* states: the last one alone, or so many, each under its step as well (state_keep) */
    float learning_rate, warmup /* share of the steps */, weight_decay, beta2, clip;
    uint64_t seed;
};

struct fit_report {
    int64_t before, steps; /* done before this start; done now, those included */
    int64_t wanted;
    int samples, skipped;
    int64_t tokens;             /* of this start */
    double seconds;             /* of its steps */
    double flops;               /* of those steps, on all ranks: products and attention, what is recomputed included */
    double peak;                /* FLOP/s of all ranks (peak.h), measured before the first step */
    double loss, held_out_loss; /* mean of the last steps; NaN = none */
    int64_t saved;              /* steps of the state that the folder holds, as far as this start knows; -1 = none */
    struct error first_fault, plot_fault;
};

/* Collective; report is filled on every rank. 1: a signal came, and the state is on disk. After any result, whatever was written
 * before is still there. */
int fit_run(struct fit_report *report, const struct fit_options *options, struct comm *comm, struct error *err);

#endif
