/* capacity.h - how many threads and cache positions a rank takes when the command line does not say: ranks on one host share its
 * cores and memory */
#ifndef WORKER_CAPACITY_H
#define WORKER_CAPACITY_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "cluster/comm.h"
#include "model/config.h"

struct capacity {
    int threads;
    int kv_positions; /* the same on every rank */
};

/* Memory as one rank sees it. */
struct capacity_memory {
    int64_t available; /* bytes of the host */
    int ranks_here;
    int64_t shard, position, context; /* bytes of a rank's weights, of one cache position, of a sequence as long as the context */
};

/* Collective. dtype: of the weights. */
int capacity_plan(struct capacity *capacity, struct comm *comm, const struct model_config *config, enum dtype dtype,
                  struct error *err);

/* Positions of a cache in half of the memory that the weights leave, at most what 8 contexts take; 0 where that is less than a
 * page. */
int capacity_positions(const struct capacity_memory *memory);

#endif
