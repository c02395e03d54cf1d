/* progress.c - bookkeeping of verdicts */
#include "coordinator/progress.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int progress_check(const struct flight *flight, const struct step_verdict *verdict, int vocabulary, struct error *err)
{
    if (!flight->id || verdict->step != flight->id)
        return fail(err, "verdict on step %llu while step %llu is in flight", (unsigned long long)verdict->step,
                    (unsigned long long)flight->id);
    if (verdict->error[0])
        return 0;
    if (verdict->n_answers != flight->n_spans)
        return fail(err, "verdict on step %llu has %d answers for %d spans", (unsigned long long)flight->id, verdict->n_answers,
                    flight->n_spans);
    for (int i = 0; i < flight->n_spans; i++) {
        const struct step_answer *answer = &verdict->answers[i];
        if (answer->accepted < 0 || answer->accepted > flight->spans[i].drafts)
            return fail(err, "verdict on step %llu accepts %d of %d drafts", (unsigned long long)flight->id, answer->accepted,
                        flight->spans[i].drafts);
        if (answer->next < -1 || answer->next >= vocabulary)
            return fail(err, "verdict on step %llu: token %d is not in the vocabulary of %d", (unsigned long long)flight->id,
                        answer->next, vocabulary);
    }
    return 0;
}

static void end_at(struct progress *progress, const char *reason, char *match)
{
    free(progress->match);
    progress->reason = reason;
    progress->match = match;
}

/* The end by a token itself: what its text held back is shown, unless that, too, completes a stop string. */
static void end_by_token(struct progress *progress, struct request *r, const struct tokenizer *tokenizer, int32_t id)
{
    const char *stop;
    if (r->n_tokens >= r->min_tokens && request_stops_at(r, id))
        end_at(progress, "stop", answer_text_of(tokenizer, &id, 1, true));
    else if (r->n_tokens == r->max_tokens)
        end_at(progress, "length", NULL);
    else
        return;
    char **text = &progress->texts[progress->n - 1];
    char *rest = answer_text_rest(&r->text, &stop), *all = mem_format("%s%s", *text, rest);
    free(rest);
    free(*text);
    *text = all;
    if (stop)
        end_at(progress, "stop", mem_string(stop));
}

static void token_append(struct progress *progress, struct request *r, const struct tokenizer *tokenizer, int32_t id)
{
    const char *stop;
    r->tokens[r->n_tokens++] = id;
    progress->ids[progress->n] = id;
    progress->texts[progress->n++] = answer_text_push(&r->text, tokenizer, id, r->n_tokens >= r->min_tokens, &stop);
    if (stop)
        end_at(progress, "stop", mem_string(stop));
    else
        end_by_token(progress, r, tokenizer, id);
}

/* Appends ids to the answer up to the first that ends it. */
static void tokens_append(struct progress *progress, struct request *r, const struct tokenizer *tokenizer, const int32_t *ids,
                          int n)
{
    for (int i = 0; i < n && !progress->reason; i++)
        token_append(progress, r, tokenizer, ids[i]);
}

static void verification_take(struct progress *progress, struct request *r, const struct tokenizer *tokenizer,
                              const struct step_answer *answer)
{
    tokens_append(progress, r, tokenizer, r->drafts, answer->accepted);
    progress->accepted = progress->n;
    r->computed += 1 + answer->accepted;
    acceptance_step(&r->acceptance, r->n_drafts, progress->accepted);
    if (progress->reason)
        return;
    tokens_append(progress, r, tokenizer, &answer->next, 1);
    progress->n_rejected = r->n_drafts - answer->accepted;
    memcpy(progress->rejected, r->drafts + answer->accepted, (size_t)progress->n_rejected * sizeof *progress->rejected);
}

int progress_take(struct progress *progress, const struct flight_span *span, const struct step_answer *answer,
                  const struct tokenizer *tokenizer, struct error *err)
{
    struct request *r = span->request;
    *progress = (struct progress){.logprobs = answer->logprobs};
    if (span->want_token && answer->next < 0)
        return fail(err, "the target's scores after token %d of the answer are not numbers", r->n_tokens);
    if (span->kind == SPAN_VERIFY) {
        verification_take(progress, r, tokenizer, answer);
        return 0;
    }
    r->computed += span->rows;
    if (span->want_token)
        tokens_append(progress, r, tokenizer, &answer->next, 1);
    return 0;
}

void progress_free(struct progress *progress)
{
    for (int i = 0; i < progress->n; i++)
        free(progress->texts[i]);
    free(progress->match);
}
