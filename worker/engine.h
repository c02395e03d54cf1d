/* engine.h - one rank's part of a worker group: sequences by id, pictures by hash, and the step that runs on them.
 *
 * Every rank is handed the same pieces and steps in the same order. A step is first checked against what the group holds; the
 * check sees the same on every rank, so either all ranks run the step or all refuse it, and a refused step changes nothing. */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include <stddef.h>

#include "model/model.h"
#include "proto/step.h"

struct engine;

struct engine_options {
    struct model *model; /* stays the caller's, like its communicator */
    struct comm *comm;
    const struct model_config *config;
    int max_rows;         /* of one step; not above the model's */
    size_t picture_bytes; /* for picture features; 0 = 1 GiB */
};

struct engine *engine_new(const struct engine_options *options);
void engine_free(struct engine *engine); /* NULL is legal */

/* A piece that cannot be kept is no fault of the group: steps that name the picture are refused. */
int engine_piece(struct engine *engine, const struct step_piece *piece, struct error *err);

/* Runs the step and fills the verdict except compute_ms; collective. answers are malloc'ed: engine_verdict_free. */
void engine_step(struct engine *engine, const struct step *step, struct step_verdict *verdict);
void engine_verdict_free(struct step_verdict *verdict);

/* Drops all sequences and pictures: the coordinator that knew them is gone. */
void engine_forget(struct engine *engine);

#endif
