/* choose.h - the target's own token behind each scored row of a step: greedy, sampled, biased, with log-probabilities.
 *
 * Plain rows need no more than the best id over the vocabulary shards. With penalties, bias or, in the mode COUPLED, a temperature,
 * each rank offers the best of its shard. With truncation each lists its largest scores; where the lists cover what is kept, rank 0
 * chooses from them. Other rows - truncated ones that are not covered, untruncated ones in the mode REJECTION - are gathered for
 * rank 0. It tells the others, so that every rank acts on the same bits even if their CPUs have another exp(). Log-probabilities
 * are made from each rank's share of the row. */
#ifndef WORKER_CHOOSE_H
#define WORKER_CHOOSE_H

#include "model/model.h"
#include "proto/step.h"

struct chooser;

struct chooser *chooser_new(struct model *model, struct comm *comm, int vocabulary);
void chooser_free(struct chooser *chooser); /* NULL is legal */

/* After model_extend of the step's spans; collective. tokens: one for each scored row, in order of spans, each as if the drafts
 * before it stood; behind a refused draft they mean nothing. On rank 0 answers[s].logprobs is filled where the span wants them
 * (malloc'ed, one for each scored row that counts). */
void chooser_tokens(struct chooser *chooser, const struct step *step, const struct span *spans, int32_t *tokens,
                    struct step_answer *answers);

/* Rows of a span that get scores. */
static inline int choose_rows(const struct step_span *span)
{
    return span->want_token ? span->drafts + 1 : 0;
}

#endif
