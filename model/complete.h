/* complete.h - is a checkpoint whole? */
#ifndef MODEL_COMPLETE_H
#define MODEL_COMPLETE_H

#include "model/config.h"
#include "model/safetensors.h"

/* Has it every tensor that its configuration asks for, in the right shape? Says which one not. Only headers are read. */
int checkpoint_complete(struct safetensors *st, const struct model_config *config, struct error *err);

#endif
