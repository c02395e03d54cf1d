/* engine_parts.h - what engine.c and engine_check.c share; nobody else includes it */
#ifndef WORKER_ENGINE_PARTS_H
#define WORKER_ENGINE_PARTS_H

#include "worker/engine.h"
#include "worker/kept_pages.h"

struct held { /* a sequence that the group holds */
    uint64_t id;
    struct sequence *sequence;
    int32_t *ids; /* (its length): what penalties count */
    int capacity;
};

struct engine {
    struct engine_options options;
    struct pictures *pictures;
    struct chooser *chooser;
    struct held *held; /* in no order; at most one per page, so a walk finds one */
    int n_held;
    struct kept_pages *kept;
    int32_t *dropped; /* (pages of the model) what a check counts in */
};

/* NULL where the group does not hold the sequence. */
struct held *engine_held(const struct engine *engine, uint64_t id);

/* 0 if the step can run; else -1 with the reason. Changes nothing. */
int engine_check(const struct engine *engine, const struct step *step, struct error *err);

#endif
