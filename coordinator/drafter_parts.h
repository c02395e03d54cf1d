/* drafter_parts.h - what drafter.c (opening, picture features) and drafter_propose.c (sequences, proposals) share */
#ifndef COORDINATOR_DRAFTER_PARTS_H
#define COORDINATOR_DRAFTER_PARTS_H

#include "cluster/comm.h"
#include "coordinator/drafter.h"
#include "model/drafter_sight.h"
#include "model/model.h"
#include "proto/generate.h"
#include "speculate/sampler.h"

/* Rows of one step of the drafter's model: a prompt goes in chunks of this. */
enum { DRAFTER_ROWS = 512 };

/* Rows behind what is final of a sequence: those, and drafts and the token before them, which may be rolled back. */
enum { DRAFTER_ROWS_OPEN = DRAFTER_ROWS + DRAFT_TOKENS_MAX + 1 };

struct drafter {
    enum drafter_kind kind;
    struct model_config config, target;
    const struct kernels *kernels;
    struct drafter_sight sight;
    struct comm *comm; /* of one rank */
    struct model *model;
    struct sampler *sampler;
    float *row;      /* (vocabulary) for it */
    int blocks_held; /* by sequences: as many as each may ever have filled */
};

#endif
