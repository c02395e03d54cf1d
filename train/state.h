/* state.h - a run's state on disk: one .safetensors file, replaced whole at every checkpoint.
 *
 * "value/NAME" of every trained parameter and "moment1/NAME", "moment2/NAME", f32; "steps" (1) i64. With the settings and the data
 * this is all that the next step depends on. */
#ifndef TRAIN_STATE_H
#define TRAIN_STATE_H

#include "model/safetensors.h"
#include "train/network.h"

/* malloc'ed path of the state in a run's folder. */
char *state_path(const char *run);

/* Whole or not at all: after an error the former state is still there. */
int state_write(const struct network *network, const char *run, struct error *err);

/* Everything: the network goes on where it was. */
int state_read(struct network *network, const char *run, struct error *err);

/* The values alone, all that `run` trained: phase 2 begins where phase 1 ended. -1 where the network lacks one of them. */
int state_begin(struct network *network, const char *run, struct error *err);

/* One trained value of an opened state, or NULL. */
const struct tensor *state_value(const struct safetensors *state, const char *name);

#endif
