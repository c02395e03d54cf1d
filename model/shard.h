/* shard.h - which part of a language model one rank of a group holds: the rule of tensor parallelism stands here alone.
 *
 * Query heads are cut evenly, key/value heads too; where ranks outnumber key/value heads, each of those is held by the same number
 * of ranks. MLP columns and vocabulary rows are cut in units of SHARD_UNIT as evenly as these allow. */
#ifndef MODEL_SHARD_H
#define MODEL_SHARD_H

#include <stdint.h>

#include "base/error.h"
#include "model/config.h"

enum { SHARD_UNIT = 16 }; /* widest vector of a CPU backend in f32 elements: slices begin at whole vectors */

struct shard {
    int h, first_h;      /* query heads */
    int g, first_g;      /* key/value heads */
    int ff, first_ff;    /* MLP columns */
    int rows, first_row; /* of embedding table and head */
};

/* The part of `rank` of `ranks`; -1 saying why that many ranks cannot hold this model. */
int shard_plan(struct shard *shard, const struct model_config *config, int rank, int ranks, struct error *err);

/* Matrix elements of one layer: what a step reads, and half of the multiplications and additions of one row. */
int64_t shard_layer_elements(const struct shard *shard, const struct model_config *config);

#endif
