/* prepare.h - from a request's text and picture files to ids, positions and picture features for target and drafter: everything
 * between the API and the scheduler. The vision tower runs once per picture; a few recent pictures are kept by content hash, so
 * that a picture that comes again is not computed again. Thread: the preparing thread only. */
#ifndef COORDINATOR_PREPARE_H
#define COORDINATOR_PREPARE_H

#include "coordinator/drafter.h"
#include "proto/generate.h"
#include "proto/rpc.h"

struct preparer;

struct prepared_picture {          /* or a crop of one */
    uint64_t hash[2];              /* of the file's bytes; a crop's is made of that */
    int rows;                      /* tokens */
    float *target;                 /* (rows, d of the target); shared, counted */
    float *drafter;                /* (the drafter's tokens of it, d of the drafter), or NULL */
    struct shared_picture *shared; /* whose the features are */
};

struct prepared {
    struct prompt prompt;
    struct prepared_picture *pictures; /* as in prompt */
    int n_pictures;
    int image_tokens;
    double image_ms;
};

struct preparer_options {
    const struct kernels *kernels;
    struct device *device;
    const struct model_config *config; /* of the target */
    const struct tokenizer *tokenizer;
    struct drafter *drafter;    /* NULL without one */
    int64_t max_picture_pixels; /* of a file, checked before decoding */
    int max_prompt_tokens;      /* 0 = what the context of the model leaves */
    size_t recent_bytes;        /* features of recent pictures that are kept; 0 = 256 MiB */
};

/* st: the target's checkpoint; its tower and merger are loaded when it has them. */
int preparer_open(struct preparer **preparer, struct safetensors *st, const struct preparer_options *options, struct error *err);
void preparer_close(struct preparer *preparer);

/* RPC_OK; RPC_RESOURCE_EXHAUSTED where a limit of this service is in the way, which err names by its flag; RPC_INVALID_ARGUMENT for
 * every other fault of the request. */
enum rpc_status prepare_request(struct preparer *preparer, const struct generate_request *request, struct prepared *prepared,
                                struct error *err);
/* Both from any thread. A copy shares the pictures. */
void prepared_copy(struct prepared *to, const struct prepared *from);
void prepared_free(struct prepared *prepared);

#endif
