/* rank.h - what one rank holds: its device, its shard of the model and the engine on it */
#ifndef WORKER_RANK_H
#define WORKER_RANK_H

#include "worker/options.h"
#include "worker/order.h"

struct rank;

/* Collective: when one rank cannot open its shard, all return -1; err.text is empty on ranks that have nothing to add. comm stays
 * the caller's. */
int rank_open(struct rank **rank, struct comm *comm, const struct options *options, struct error *err);
void rank_close(struct rank *rank); /* NULL is legal */

const struct post *rank_post(const struct rank *rank);

/* What the leader tells the coordinator about the group. */
const struct step_hello *rank_hello(const struct rank *rank);

#endif
