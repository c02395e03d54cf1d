/* drafter_parts.h - what drafter.c (opening, picture features) and drafter_propose.c (sequences, proposals) share */
#ifndef COORDINATOR_DRAFTER_PARTS_H
#define COORDINATOR_DRAFTER_PARTS_H

#include "cluster/comm.h"
#include "coordinator/drafter.h"
#include "model/drafter_sight.h"
#include "model/model.h"
#include "speculate/sampler.h"

/* Rows of one step of the drafter's model: a prompt goes in chunks of this. */
enum { DRAFTER_ROWS = 512 };

struct drafter {
    enum drafter_kind kind;
    struct model_config config, target;
    const struct kernels *kernels;
    struct drafter_sight sight;
    struct comm *comm; /* of one rank */
    struct model *model;
    struct sampler *sampler;
    float *row;     /* (vocabulary) for it */
    int pages_held; /* by sequences: as many as each ever filled */
};

#endif
