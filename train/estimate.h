/* estimate.h - what a run of training needs, from configurations alone: memory by formula, work by formula */
#ifndef TRAIN_ESTIMATE_H
#define TRAIN_ESTIMATE_H

#include "train/fit.h"

struct estimate {
    int64_t language, projector, trained; /* numbers */
    int64_t weights, states, activations; /* bytes of a rank: what products read; masters, gradients and moments; of a piece */
    double flops_per_token;               /* forward and backward, of a token whose score is wanted, without attention's square */
};

void estimate_make(struct estimate *estimate, const struct model_config *drafter, const struct fit_options *options);

/* The estimate on stdout, for people; or -1 where target and drafter cannot be read or do not go together. */
int estimate_print(const struct fit_options *options, int ranks, struct error *err);

#endif
