/* fit_parts.h - the inside of a run, for the files of train/ that are its parts: fit.c (what it is made of), fit_settings.c (what
 * makes two runs the same), fit_steps.c (the loop) */
#ifndef TRAIN_FIT_PARTS_H
#define TRAIN_FIT_PARTS_H

#include "train/fit.h"
#include "train/journal.h"
#include "train/schedule.h"

struct fit {
    const struct fit_options *options;
    struct fit_report *report;
    struct comm *comm;
    const struct kernels *kernels;
    struct device *device;
    struct model_config target, drafter;
    bool drafter_sees;                          /* the small model has a projector already */
    struct tokenizer *tokenizer;                /* the target's */
    struct safetensors *target_st, *drafter_st; /* closed when the network is open */
    uint64_t target_hash[2], drafter_hash[2];   /* model_fingerprint */
    struct features *features;
    struct dataset *data, *held_out;
    struct network *network;
    struct journal *journal; /* rank 0 */
    struct order order;
    int common; /* ids that target and drafter have */
};

/* Rank 0 writes DIR/settings.json, or, where the run goes on, compares it: what decides the weights must be the same. */
int fit_settings(const struct fit *fit, struct error *err);

/* From the step the network has reached to the last. */
int fit_steps(struct fit *fit, struct error *err);

#endif
