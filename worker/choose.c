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
    float *row; /* (vocabulary) scores that the sampler uses up */
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
                                .row = mem_new((size_t)vocabulary, sizeof(float))};
    return chooser;
}

void chooser_free(struct chooser *chooser)
{
    if (!chooser)
        return;
    sampler_free(chooser->sampler);
    free(chooser->row);
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

/* Behind a refused draft nobody looks. rows, tokens: of the step, up to row i. */
static bool row_counts(const struct row *rows, const int32_t *tokens, int i)
{
    return rows[i].j == 0 || tokens[i - 1] == SAMPLER_UNCOVERED || tokens[i - 1] == row_draft(&rows[i - 1]);
}

/* How a row comes to its token: the dearer, the later. */
enum way {
    WAY_BEST,   /* the largest score */
    WAY_OFFERS, /* the best of what the ranks offer: penalties, bias, noise */
    WAY_LISTS,  /* from the ranks' largest scores: truncation. A row that they do not cover goes the next way */
    WAY_GATHER  /* from all scores */
};

static enum way row_way(const struct row *row)
{
    const struct sampling *s = &row->span->sampling;
    if (sampling_is_plain(s, row->span->answered))
        return WAY_BEST;
    return sampler_divides(s) ? WAY_OFFERS : warp_truncates(s) ? WAY_LISTS : WAY_GATHER;
}

/* ---- offers and lists ---- */

/* This rank's part of row i. */
static struct warp_part part_read(struct chooser *c, int i)
{
    struct warp_part part = {.scores = c->row};
    part.n = model_scores_part(c->model, i, part.scores, &part.first);
    return part;
}

/* The same, adjusted; its largest score. */
static struct sampler_offer part_adjust(struct chooser *c, const struct row *row, int i, struct warp_part *part)
{
    const struct warp_history history = row_history(row);
    *part = part_read(c, i);
    return sampler_adjust(c->sampler, part, &row->span->sampling, &history);
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
            if (offer.value > offers[i].value) /* -inf where there is none */
                offers[i] = offer;
        }
    free(all);
}

/* What this rank says of row i when the largest score of all ranks is known: the offer with noise, or its list. */
static void part_say(struct chooser *c, const struct row *row, int i, struct sampler_offer *offer, struct sampler_list *list)
{
    const struct sampling *s = &row->span->sampling;
    struct warp_part part;
    if (offer->id < 0 || s->temperature == 0)
        return; /* nothing to choose from, or chosen */
    part_adjust(c, row, i, &part);
    if (row_way(row) == WAY_OFFERS)
        *offer = sampler_offer(&part, s, row->span->answered + row->j, (float)offer->value);
    else
        sampler_list(list, &part, s, (float)offer->value);
}

/* On rank 0. lists: of all ranks, n apart. */
static int32_t lists_token(struct chooser *c, const struct row *row, const struct sampler_list *lists, int n)
{
    const struct step_span *span = row->span;
    int32_t draft = row_draft(row);
    return sampler_choose(c->sampler, lists, c->comm->size, n, &span->sampling, span->answered + row->j, draft,
                          draft >= 0 && span->weights ? &span->weights[row->j] : NULL);
}

/* Rank 0 chooses from the lists and tells the others: SAMPLER_UNCOVERED where it cannot. */
static void lists_take(struct chooser *c, const struct row *rows, int n, const struct sampler_offer *largest,
                       const struct sampler_list *lists, int n_lists, int32_t *tokens)
{
    size_t bytes = (size_t)n_lists * sizeof *lists;
    struct sampler_list *all = mem_new((size_t)c->comm->size, bytes);
    c->comm->calls->all_gather(c->comm, all, lists, bytes);
    for (int i = 0, at = 0; i < n && c->comm->rank == 0; i++) {
        if (row_way(&rows[i]) != WAY_LISTS)
            continue;
        bool chooses = largest[i].id >= 0 && row_counts(rows, tokens, i);
        tokens[i] = chooses ? lists_token(c, &rows[i], all + at, n_lists) : -1;
        at++;
    }
    free(all);
    c->comm->calls->broadcast(c->comm, tokens, (size_t)n * sizeof *tokens, 0);
}

/* Two rounds for all such rows of the step at once: the largest scores, then what the ranks say. */
static void parts_take(struct chooser *c, const struct row *rows, int n, int n_lists, int32_t *tokens)
{
    struct sampler_offer *offers = mem_new((size_t)n, sizeof *offers);
    struct sampler_list *lists = mem_new((size_t)n_lists, sizeof *lists);
    struct warp_part part;
    for (int i = 0; i < n; i++)
        if (row_way(&rows[i]) == WAY_OFFERS || row_way(&rows[i]) == WAY_LISTS)
            offers[i] = part_adjust(c, &rows[i], i, &part);
    offers_reduce(c, offers, n);
    for (int i = 0, at = 0; i < n; i++) {
        enum way way = row_way(&rows[i]);
        if (way == WAY_OFFERS || way == WAY_LISTS)
            part_say(c, &rows[i], i, &offers[i], &lists[at]);
        at += way == WAY_LISTS;
    }
    if (n_lists)
        lists_take(c, rows, n, offers, lists, n_lists, tokens);
    offers_reduce(c, offers, n);
    for (int i = 0; i < n; i++)
        if (row_way(&rows[i]) == WAY_OFFERS)
            tokens[i] = offers[i].id;
    free(offers);
    free(lists);
}

/* ---- rows that are gathered ---- */

/* On rank 0, from chooser->row. */
static int32_t row_token(struct chooser *c, const struct row *row)
{
    const struct warp_history history = row_history(row);
    int32_t draft = row_draft(row);
    return sampler_token(c->sampler, c->row, &row->span->sampling, &history, draft,
                         draft >= 0 && row->span->weights ? &row->span->weights[row->j] : NULL);
}

/* Rank 0 chooses. */
static void gathered_take(struct chooser *c, const struct row *rows, int n, int32_t *tokens)
{
    for (int i = 0; i < n; i++) {
        if (row_way(&rows[i]) != WAY_GATHER && tokens[i] != SAMPLER_UNCOVERED)
            continue;
        model_scores_row(c->model, i, c->row);
        if (c->comm->rank == 0)
            tokens[i] = row_counts(rows, tokens, i) ? row_token(c, &rows[i]) : -1;
    }
    c->comm->calls->broadcast(c->comm, tokens, (size_t)n * sizeof *tokens, 0);
}

/* ---- log-probabilities ---- */

static bool row_tells(const struct row *rows, const int32_t *tokens, int i)
{
    return rows[i].span->sampling.logprobs && row_counts(rows, tokens, i) && tokens[i] >= 0;
}

/* On rank 0. shares: of all ranks, n apart; largest: over them, of each row. */
static void logprobs_fill(struct chooser *c, const struct step *step, const struct row *rows, int n, const int32_t *tokens,
                          const struct sampler_offer *largest, const struct sampler_share *shares, struct step_answer *answers)
{
    for (int i = 0; i < n; i++) {
        if (!row_tells(rows, tokens, i))
            continue;
        const struct step_span *span = rows[i].span;
        struct step_answer *answer = &answers[span - step->spans];
        if (!answer->logprobs)
            answer->logprobs = mem_new((size_t)choose_rows(span), sizeof *answer->logprobs);
        sampler_logprobs(&answer->logprobs[rows[i].j], shares + i, c->comm->size, n, (float)largest[i].value,
                         span->sampling.top_logprobs);
    }
}

/* Two rounds again: the largest scores as the head gives them, then each rank's shares of what belongs to the tokens. */
static void logprobs_take(struct chooser *c, const struct step *step, const struct row *rows, int n, const int32_t *tokens,
                          struct step_answer *answers)
{
    struct sampler_offer *largest = mem_new((size_t)n, sizeof *largest);
    struct sampler_share *own = mem_new((size_t)n, sizeof *own), *all = mem_new((size_t)n * (size_t)c->comm->size, sizeof *all);
    struct warp_part part;
    for (int i = 0; i < n; i++)
        if (row_tells(rows, tokens, i)) {
            part = part_read(c, i);
            largest[i] = sampler_part_best(&part);
        }
    offers_reduce(c, largest, n);
    for (int i = 0; i < n; i++)
        if (row_tells(rows, tokens, i)) {
            part = part_read(c, i);
            sampler_share(&own[i], &part, (float)largest[i].value, tokens[i], rows[i].span->sampling.top_logprobs);
        }
    c->comm->calls->all_gather(c->comm, all, own, (size_t)n * sizeof *own);
    if (c->comm->rank == 0)
        logprobs_fill(c, step, rows, n, tokens, largest, all, answers);
    free(largest);
    free(own);
    free(all);
}

void chooser_tokens(struct chooser *c, const struct step *step, const struct span *spans, int32_t *tokens,
                    struct step_answer *answers)
{
    int n = model_scored_rows(c->model), at = 0, ways[WAY_GATHER + 1] = {0};
    bool gathers = false, tells = false;
    struct row *rows = mem_new((size_t)n, sizeof *rows);
    for (int s = 0; s < step->n_spans; s++)
        for (int j = 0; j < choose_rows(&step->spans[s]); j++) {
            rows[at] = (struct row){&step->spans[s], spans[s].history, j};
            tells |= step->spans[s].sampling.logprobs;
            ways[row_way(&rows[at++])]++;
        }
    model_best(c->model, tokens);
    if (ways[WAY_OFFERS] || ways[WAY_LISTS])
        parts_take(c, rows, n, ways[WAY_LISTS], tokens);
    for (int i = 0; i < n; i++)
        gathers |= row_way(&rows[i]) == WAY_GATHER || tokens[i] == SAMPLER_UNCOVERED;
    if (gathers)
        gathered_take(c, rows, n, tokens);
    if (tells)
        logprobs_take(c, step, rows, n, tokens, answers);
    free(rows);
}
