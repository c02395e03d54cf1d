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

struct row { /* a scored row */
    const struct step_span *span;
    const int32_t *ids; /* of its sequence */
    int j;              /* of the span's scored rows */
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

/* What stands before the row's token. */
static struct warp_history row_history(const struct row *row)
{
    int before = row->span->length + row->span->n - row->span->drafts;
    return (struct warp_history){.prompt = row->ids,
                                 .n_prompt = before - row->span->answered,
                                 .answer = row->ids + before - row->span->answered,
                                 .n_answer = row->span->answered + row->j};
}

static int32_t row_draft(const struct row *row)
{
    const struct step_span *span = row->span;
    return row->j < span->drafts ? span->ids[span->n - span->drafts + row->j] : -1;
}

/* ---- rows whose token is the best of what the ranks offer ---- */

static bool row_divides(const struct row *row)
{
    const struct sampling *s = &row->span->sampling;
    return !sampling_is_plain(s, row->span->answered) && !s->logprobs && sampler_divides(s);
}

/* This rank's offer for row i: its largest score, or with `largest` (of all ranks) its score with noise. */
static struct sampler_offer part_offer(struct chooser *c, const struct row *row, int i, const struct sampler_offer *largest)
{
    struct warp_part part = {.scores = c->row};
    const struct warp_history history = row_history(row);
    part.n = model_scores_part(c->model, i, part.scores, &part.first);
    struct sampler_offer offer = sampler_adjust(c->sampler, &part, &row->span->sampling, &history);
    if (!largest || largest->id < 0 || row->span->sampling.temperature == 0)
        return largest ? *largest : offer;
    return sampler_offer(&part, &row->span->sampling, history.n_answer, (float)largest->value);
}

/* The best of all ranks' offers, in place; ids rise with the rank, so the first of equal ones has the lowest. */
static void offers_reduce(struct chooser *c, struct sampler_offer *offers, int n)
{
    struct sampler_offer *all = mem_new((size_t)n * (size_t)c->comm->size, sizeof *all);
    c->comm->calls->all_gather(c->comm, all, offers, (size_t)n * sizeof *offers);
    memcpy(offers, all, (size_t)n * sizeof *offers);
    for (int rank = 1; rank < c->comm->size; rank++)
        for (int i = 0; i < n; i++) {
            struct sampler_offer offer = all[rank * n + i];
            if (offer.id >= 0 && (offers[i].id < 0 || offer.value > offers[i].value))
                offers[i] = offer;
        }
    free(all);
}

/* Two rounds for all such rows of the step at once: the largest scores, then the noise. */
static void offers_take(struct chooser *c, const struct row *rows, int n, int32_t *tokens)
{
    struct sampler_offer *offers = mem_new((size_t)n, sizeof *offers);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < n; i++)
            if (row_divides(&rows[i]))
                offers[i] = part_offer(c, &rows[i], i, round ? &offers[i] : NULL);
        offers_reduce(c, offers, n);
    }
    for (int i = 0; i < n; i++)
        if (row_divides(&rows[i]))
            tokens[i] = offers[i].id;
    free(offers);
}

/* ---- rows that are gathered ---- */

static bool row_gathers(const struct row *row)
{
    return !sampling_is_plain(&row->span->sampling, row->span->answered) && !row_divides(row);
}

/* The token of a row from chooser->raw. */
static int32_t row_token(struct chooser *c, const struct row *row)
{
    const struct warp_history history = row_history(row);
    int32_t draft = row_draft(row);
    memcpy(c->row, c->raw, (size_t)c->vocabulary * sizeof *c->row);
    return sampler_token(c->sampler, c->row, &row->span->sampling, &history, draft,
                         draft >= 0 && row->span->weights ? &row->span->weights[row->j] : NULL);
}

/* All rows of a span, the first of them scored row `first` of the step. */
static void span_tokens(struct chooser *c, const struct row *rows, int first, int32_t *tokens, struct logprobs *logprobs)
{
    bool stands = c->comm->rank == 0; /* the drafts before row j do */
    const struct step_span *span = rows->span;
    for (int j = 0; j < choose_rows(span); j++) {
        model_scores_row(c->model, first + j, c->raw);
        if (!stands)
            continue;
        tokens[j] = row_token(c, &rows[j]);
        if (logprobs && tokens[j] >= 0)
            sampler_logprobs(&logprobs[j], c->raw, c->vocabulary, tokens[j], span->sampling.top_logprobs);
        stands = j < span->drafts && tokens[j] == row_draft(&rows[j]);
    }
}

static void gathered_take(struct chooser *c, const struct step *step, const struct row *rows, int32_t *tokens,
                          struct step_answer *answers)
{
    int first = 0;
    for (int s = 0; s < step->n_spans; s++) {
        const struct step_span *span = &step->spans[s];
        int n = choose_rows(span);
        if (n && row_gathers(&rows[first])) {
            if (span->sampling.logprobs && c->comm->rank == 0)
                answers[s].logprobs = mem_new((size_t)n, sizeof *answers[s].logprobs);
            span_tokens(c, &rows[first], first, tokens + first, answers[s].logprobs);
        }
        first += n;
    }
    c->comm->calls->broadcast(c->comm, tokens, (size_t)first * sizeof *tokens, 0);
}

void chooser_tokens(struct chooser *c, const struct step *step, const struct span *spans, int32_t *tokens,
                    struct step_answer *answers)
{
    int n = model_scored_rows(c->model), at = 0;
    struct row *rows = mem_new((size_t)n, sizeof *rows);
    bool divides = false, gathers = false;
    for (int s = 0; s < step->n_spans; s++)
        for (int j = 0; j < choose_rows(&step->spans[s]); j++) {
            rows[at] = (struct row){&step->spans[s], spans[s].history, j};
            divides |= row_divides(&rows[at]);
            gathers |= row_gathers(&rows[at++]);
        }
    model_best(c->model, tokens);
    if (divides)
        offers_take(c, rows, n, tokens);
    if (gathers)
        gathered_take(c, step, rows, tokens, answers);
    free(rows);
}
