/* choose.c - scored rows to tokens */
#include "worker/choose.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "speculate/sampler.h"

struct chooser {
    struct model *model;
    struct comm *comm;
    int vocabulary;
    struct sampler *sampler;
    float *row, *raw; /* (vocabulary) scores that the sampler uses up, and as they came */
};

struct chooser *chooser_new(struct model *model, struct comm *comm, int vocabulary)
{
    struct chooser *chooser = mem_new(1, sizeof *chooser);
    *chooser = (struct chooser){.model = model,
                                .comm = comm,
                                .vocabulary = vocabulary,
                                .sampler = sampler_new(vocabulary),
                                .row = mem_new((size_t)vocabulary, sizeof(float)),
                                .raw = mem_new((size_t)vocabulary, sizeof(float))};
    return chooser;
}

void chooser_free(struct chooser *chooser)
{
    if (!chooser)
        return;
    sampler_free(chooser->sampler);
    free(chooser->row);
    free(chooser->raw);
    free(chooser);
}

/* What stands before the token of the span's scored row j. */
static struct warp_history history_of(const struct step_span *span, const int32_t *ids, int j)
{
    int before = span->length + span->n - span->drafts;
    return (struct warp_history){.prompt = ids,
                                 .n_prompt = before - span->answered,
                                 .answer = ids + before - span->answered,
                                 .n_answer = span->answered + j};
}

/* The token of scored row j from chooser->raw. ids: all of the sequence. */
static int32_t row_token(struct chooser *c, const struct step_span *span, const int32_t *ids, int j)
{
    const struct warp_history history = history_of(span, ids, j);
    bool verifies = j < span->drafts;
    memcpy(c->row, c->raw, (size_t)c->vocabulary * sizeof *c->row);
    return sampler_token(c->sampler, c->row, &span->sampling, &history, verifies ? span->ids[span->n - span->drafts + j] : -1,
                         verifies && span->weights ? &span->weights[j] : NULL);
}

/* All rows of a span that is not plain, the first of them scored row `first` of the step. */
static void span_tokens(struct chooser *c, const struct step_span *span, const int32_t *ids, int first, int32_t *tokens,
                        struct logprobs *logprobs)
{
    bool stands = c->comm->rank == 0; /* the drafts before row j do */
    for (int j = 0; j < choose_rows(span); j++) {
        model_scores_row(c->model, first + j, c->raw);
        if (!stands)
            continue;
        tokens[j] = row_token(c, span, ids, j);
        if (logprobs && tokens[j] >= 0)
            sampler_logprobs(&logprobs[j], c->raw, c->vocabulary, tokens[j], span->sampling.top_logprobs);
        stands = j < span->drafts && tokens[j] == span->ids[span->n - span->drafts + j];
    }
}

void chooser_tokens(struct chooser *c, const struct step *step, const struct span *spans, int32_t *tokens,
                    struct step_answer *answers)
{
    int first = 0;
    bool decided = false;
    model_best(c->model, tokens);
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *span = &step->spans[s];
        int rows = choose_rows(span);
        if (rows && !sampling_is_plain(&span->sampling, span->answered)) {
            if (span->sampling.logprobs && c->comm->rank == 0)
                answers[s].logprobs = mem_new((size_t)rows, sizeof *answers[s].logprobs);
            span_tokens(c, span, spans[s].history, first, tokens + first, answers[s].logprobs);
            decided = true;
        }
        first += rows;
    }
    if (decided)
        c->comm->calls->broadcast(c->comm, tokens, (size_t)first * sizeof *tokens, 0);
}
