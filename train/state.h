/* state.h - a run's state on disk: one .safetensors file, replaced whole at every checkpoint; the last few are kept where that is
 * asked for.
 *
 * "value/NAME" of every trained parameter and "moment1/NAME", "moment2/NAME", f32; "steps" (1) i64. With the settings and the data
 * this is all that the next step depends on. */
#ifndef TRAIN_STATE_H
#define TRAIN_STATE_H

#include "model/safetensors.h"
#include "train/network.h"

/* malloc'ed path of the state in a run's folder. */
char *state_path(const char *run);

/* malloc'ed path of the state of that many steps, where it was kept. */
char *state_kept_path(const char *run, int64_t steps);

/* Whole or not at all: after an error the former state is still there. */
int state_write(const struct network *network, const char *run, struct error *err);

/* Keeps the state that was just written, of `steps`, under its kept path, too - a second name, not a second file - and drops those
 * of fewer steps until `keep` (at least 1) are left. state_keep.c */
int state_keep(const char *run, int64_t steps, int keep, struct error *err);

/* Everything: the network goes on where it was. */
int state_read(struct network *network, const char *run, struct error *err);

/* The values alone, all that `run` trained: phase 2 begins where phase 1 ended. -1 where the network lacks one of them. */
int state_begin(struct network *network, const char *run, struct error *err);

/* One trained value of an opened state, or NULL. */
const struct tensor *state_value(const struct safetensors *state, const char *name);

#endif
