/* run.h - what the folder of a finished or interrupted run says of itself (DIR/settings.json) */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include <jansson.h>

#include "base/error.h"
#include "train/graft.h"

/* All of it; json_decref is due. Errors name the file, and the line where it is no JSON. */
int run_settings(json_t **settings, const char *run, struct error *err);

/* The projector that it trains. */
int run_projector(const char *run, struct graft_projector *projector, struct error *err);

/* -1 where the run was made with another target or small language model than those of these fingerprints. */
int run_check(const char *run, const uint64_t target[2], const uint64_t drafter[2], struct error *err);

#endif
