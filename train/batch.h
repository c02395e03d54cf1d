/* batch.h - the samples of one call as the device wants them: rows one after the other, nothing padded */
#ifndef TRAIN_BATCH_H
#define TRAIN_BATCH_H

#include "train/network.h"

struct batch_angles {
    float *cosine, *sine, *reverse; /* (n, c / 2); reverse: of the opposite turn's sine */
};

/* One piece of memory twice, on the host and on the device; columns stand at the same places of both. */
struct batch_columns {
    int32_t *ids, *table;     /* (n) rows of the embedding table; table: -1 at a picture's places */
    int32_t *first, *last;    /* (n) rows that a row sees */
    int32_t *local_first;     /* (n) in local layers, where the model has them; last is the same */
    int32_t *bound;           /* (samples + 1) */
    int32_t *place;           /* (tokens) rows of pictures */
    int32_t *scored, *labels; /* (n_scored) rows that predict, and what */
    int32_t *soft_ids;        /* (n_scored, soft_k) */
    float *soft_probs;        /* (n_scored, soft_k) */
    struct batch_angles global, local;
    /* Resampler: rows of each picture's queries and then of its features, over which one attention runs. */
    struct projector_cross cross;
    int32_t *cross_bound; /* (pictures + 1) */
};

struct batch {
    int samples, n, pictures, feature_rows, tokens, n_scored, soft_k, cross_rows;
    double pairs, local_pairs, cross_pairs; /* of queries and keys that see each other */
    struct batch_columns host, device;
    void *host_block, *device_block;
    size_t bytes;
};

struct network;

/* Checks the samples against the network and lays them out. Memory stays with batch and grows; batch_free is due. */
int batch_make(struct batch *batch, const struct network *net, const struct train_sample *samples, int n,
               const struct train_objective *objective, struct error *err);
void batch_free(struct batch *batch, const struct network *net);

#endif
