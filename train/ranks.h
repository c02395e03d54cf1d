/* ranks.h - what the ranks of a run decide together */
#ifndef TRAIN_RANKS_H
#define TRAIN_RANKS_H

#include "base/error.h"
#include "cluster/comm.h"

/* Does any rank report a failure (-1) or a signal (1)? Then all hear of it, the failure first: the failing one keeps its text.
 * Collective. */
int ranks_agree(struct comm *comm, int result, struct error *err);

#endif
