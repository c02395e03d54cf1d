/* engine_parts.h - what engine.c and engine_check.c share; nobody else includes it */
#ifndef WORKER_ENGINE_PARTS_H
#define WORKER_ENGINE_PARTS_H

#include "model/kept_pages.h"
#include "worker/engine.h"

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
    int32_t *dropped; /* (blocks of the model) users that a check takes from the page there */
};

/* NULL where the group does not hold the sequence. */
struct held *engine_held(const struct engine *engine, uint64_t id);

/* The first page of those that the span adopts of which its rows see local keys; n_adopt where the layout has no local pages. */
int engine_first_local(const struct engine *engine, const struct step_span *span);

/* 0 if the step can run; else -1 with the reason. Changes nothing. */
int engine_check(const struct engine *engine, const struct step *step, struct error *err);

#endif
