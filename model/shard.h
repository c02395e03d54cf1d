/* shard.h - which part of a language model one rank of a group holds: the rule of tensor parallelism stands here alone.
 *
 * Query heads are cut evenly, key/value heads too; where ranks outnumber key/value heads, each of those is held by the same number
 * of ranks. MLP columns and vocabulary rows are cut in units of SHARD_UNIT as evenly as these allow. */
#ifndef MODEL_SHARD_H
#define MODEL_SHARD_H

#include <stdint.h>

#include "base/dtype.h"
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

/* Bytes of the weights that every step reads: all layers and the head; not the embedding table, of which it reads a few rows. */
int64_t shard_step_bytes(const struct shard *shard, const struct model_config *config, enum dtype dtype);

/* Multiplications and additions of one row: two per matrix element that it meets (attention over the cache not counted). */
int64_t shard_step_flop(const struct shard *shard, const struct model_config *config);

#endif
