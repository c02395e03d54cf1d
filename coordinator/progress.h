/* progress.h - what a group's answer to one span adds to a request: tokens, their text, counts, and whether the answer ends with
 * them.
 *
 * The answer ends with the first token that completes a stop string, is a stop id, or is the last that was asked for. Tokens behind
 * it are dropped: they are in no count. */
#ifndef COORDINATOR_PROGRESS_H
#define COORDINATOR_PROGRESS_H

#include "coordinator/group.h"

struct progress {
    int32_t ids[DRAFT_TOKENS_MAX + 1]; /* new tokens, cut behind the first that ends the answer */
    char *texts[DRAFT_TOKENS_MAX + 1]; /* what each makes visible (answer_text.h) */
    int n;
    int accepted; /* the first of ids that were drafts */
    int32_t rejected[DRAFT_TOKENS_MAX];
    int n_rejected;
    const struct logprobs *logprobs; /* (n) the answer's, where it has any */
    const char *reason;              /* stop or length; NULL = the answer goes on */
    char *match;                     /* with stop: the string or the id's text; else NULL */
};

/* Whether a verdict can be the answer to the group's step: counts and ids in range. */
int progress_check(const struct flight *flight, const struct step_verdict *verdict, int vocabulary, struct error *err);

/* Takes the answer to a span into its request: cache length, tokens, text, acceptance. -1: the target's scores are not numbers. */
int progress_take(struct progress *progress, const struct flight_span *span, const struct step_answer *answer,
                  const struct tokenizer *tokenizer, struct error *err);
void progress_free(struct progress *progress);

#endif
