/* fingerprint.h - 128 bits that tell two checkpoints apart: coordinator and worker group of one service compare theirs */
#ifndef MODEL_FINGERPRINT_H
#define MODEL_FINGERPRINT_H

#include "model/config.h"
#include "model/safetensors.h"

/* Over names, dtypes and shapes of all tensors and every number of config that changes what the language model computes; not over
 * the weights' bytes (a group would have to read all of them) nor over the folder's name. */
int model_fingerprint(struct safetensors *st, const struct model_config *config, uint64_t hash[2], struct error *err);

#endif
