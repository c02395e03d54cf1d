/* ranks.h - what the ranks of a run decide together */
#ifndef TRAIN_RANKS_H
#define TRAIN_RANKS_H

#include <stdbool.h>

#include "base/error.h"
#include "cluster/comm.h"

/* Does any rank report a failure (-1) or a signal (1)? Then all hear of it, the failure first: a failing one keeps its text, the
 * others' is empty. Collective. */
int ranks_agree(struct comm *comm, int result, struct error *err);

/* Is this the rank that tells the user? Of those with a text the first, of all ranks together one. Collective. */
bool ranks_tell(struct comm *comm, const struct error *err);

#endif
