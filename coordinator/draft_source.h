/* draft_source.h - where the scheduler gets its drafts: the drafter (drafter.h), nobody, or what a test puts here */
#ifndef COORDINATOR_DRAFT_SOURCE_H
#define COORDINATOR_DRAFT_SOURCE_H

#include "coordinator/drafter.h"

/* The functions of drafter.h with another first argument. */
struct draft_source {
    void *context;
    const char *kind; /* none, text, vision, massv */
    struct draft_sequence *(*begin)(void *context, const struct prompt *prompt, const struct prepared_picture *pictures,
                                    int max_positions, struct error *err);
    void (*end)(void *context, struct draft_sequence *sequence);
    int (*behind)(void *context, const struct draft_sequence *sequence, int n_tokens);
    int (*propose)(void *context, struct proposal *proposals, int count, int prompt_rows);
};

/* drafter NULL: a source whose begin is never to be called (kind "none"). */
struct draft_source draft_source_of(struct drafter *drafter);

#endif
