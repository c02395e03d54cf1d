/* sampler.c - one row of scores to a token: adjust, truncate, choose */
#include "speculate/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "speculate/coupled.h"
#include "speculate/noise.h"
#include "speculate/verify.h"

struct sampler {
    int vocabulary;
    int32_t *counts; /* zeros between calls */
    struct warp_scratch scratch;
};

struct sampler *sampler_new(int vocabulary)
{
    struct sampler *sampler = mem_new(1, sizeof *sampler);
    sampler->vocabulary = vocabulary;
    sampler->counts = mem_new((size_t)vocabulary, sizeof *sampler->counts);
    warp_scratch_create(&sampler->scratch, vocabulary);
    return sampler;
}

void sampler_free(struct sampler *sampler)
{
    if (!sampler)
        return;
    warp_scratch_free(&sampler->scratch);
    free(sampler->counts);
    free(sampler);
}

bool sampler_divides(const struct sampling *s)
{
    return s->temperature == 0 || (s->mode == SAMPLING_COUPLED && !warp_truncates(s));
}

struct sampler_offer sampler_adjust(struct sampler *sampler, const struct warp_part *part, const struct sampling *s,
                                    const struct warp_history *history)
{
    warp_adjust(part, s, history, sampler->counts);
    return sampler_part_best(part);
}

struct sampler_offer sampler_part_best(const struct warp_part *part)
{
    int32_t best = warp_best(part->scores, part->n);
    return best < 0 ? (struct sampler_offer){-INFINITY, -1}
                    : (struct sampler_offer){(double)part->scores[best], part->first + best};
}

struct sampler_offer sampler_offer(const struct warp_part *part, const struct sampling *s, int position, float largest)
{
    struct sampler_offer offer;
    warp_temper(part, largest, s->temperature);
    const struct warp_row row = {NULL, part->first, part->scores, part->n};
    offer.id = coupled_token(&row, s->seed, position, &offer.value);
    return offer;
}

/* Adjusts and tempers a whole row. Not ROW_READY: the token, or -1 without a finite score. */
enum { ROW_READY = -2 };
static int32_t row_prepare(struct sampler *sampler, const struct warp_part *whole, const struct sampling *s,
                           const struct warp_history *history)
{
    struct sampler_offer best = sampler_adjust(sampler, whole, s, history);
    if (best.id < 0 || s->temperature == 0)
        return best.id;
    warp_temper(whole, (float)best.value, s->temperature);
    return ROW_READY;
}

static int32_t row_choose(struct sampler *sampler, const struct warp_row *row, const struct sampling *s, int position,
                          int32_t draft, const struct draft_weights *q)
{
    if (s->mode == SAMPLING_COUPLED)
        return coupled_token(row, s->seed, position, NULL);
    warp_weights(row, sampler->scratch.weights);
    const struct verify_row p = {row->ids, sampler->scratch.weights, row->count};
    const struct verify_row drawn_from = {q ? q->ids : NULL, q ? q->weight : NULL, q ? q->n : 0};
    return verify_sample(&p, draft >= 0 ? &drawn_from : NULL, draft, noise_uniform(s->seed, position, NOISE_KEEP),
                         noise_uniform(s->seed, position, NOISE_NEXT));
}

int32_t sampler_token(struct sampler *sampler, float *scores, const struct sampling *s, const struct warp_history *history,
                      int32_t draft, const struct draft_weights *q)
{
    const struct warp_part whole = {scores, 0, sampler->vocabulary};
    int32_t token = row_prepare(sampler, &whole, s, history);
    if (token != ROW_READY)
        return token;
    const struct warp_row row = warp_truncate(scores, whole.n, s, &sampler->scratch);
    return row_choose(sampler, &row, s, history->n_answer, draft, q);
}

void sampler_list(struct sampler_list *list, const struct warp_part *part, const struct sampling *s, float largest)
{
    warp_temper(part, largest, s->temperature);
    list->n = warp_largest(list->largest, SAMPLER_CANDIDATES, part);
    list->mass = warp_mass_of(part->scores, part->n, 0);
}

int32_t sampler_choose(struct sampler *sampler, const struct sampler_list *lists, int n_lists, int stride, const struct sampling *s,
                       int position, int32_t draft, const struct draft_weights *q)
{
    struct warp_candidate *all = mem_new((size_t)n_lists * SAMPLER_CANDIDATES, sizeof *all);
    warp_mass mass = 0;
    float border = -INFINITY; /* a full list says nothing of what lies below its last, nor of ties with it */
    int n = 0, known = 0;
    for (int i = 0; i < n_lists; i++) {
        const struct sampler_list *list = &lists[i * stride];
        memcpy(all + n, list->largest, (size_t)list->n * sizeof *all);
        n += list->n;
        mass += list->mass;
        if (list->n == SAMPLER_CANDIDATES && list->largest[list->n - 1].score > border)
            border = list->largest[list->n - 1].score;
    }
    qsort(all, (size_t)n, sizeof *all, warp_order);
    while (known < n && all[known].score > border)
        known++;
    struct warp_row row = warp_truncate_sorted(all, known, border == -INFINITY, sampler->vocabulary, mass, s, &sampler->scratch);
    free(all);
    return row.count ? row_choose(sampler, &row, s, position, draft, q) : SAMPLER_UNCOVERED;
}

int32_t sampler_draft(struct sampler *sampler, float *scores, const struct sampling *s, const struct warp_history *history,
                      struct draft_weights *q)
{
    const struct warp_part whole = {scores, 0, sampler->vocabulary};
    struct warp_candidate largest[SAMPLING_DRAFT_IDS];
    struct sampling narrow = *s;
    q->n = 0;
    if (!sampling_rejects(s))
        return sampler_token(sampler, scores, s, history, -1, NULL);
    int32_t token = row_prepare(sampler, &whole, s, history);
    if (token != ROW_READY)
        return token;
    if (narrow.top_k <= 0 || narrow.top_k > SAMPLING_DRAFT_IDS)
        narrow.top_k = SAMPLING_DRAFT_IDS;
    /* nobody asks for the mass where top-k is at work */
    warp_mass mass = whole.n > SAMPLING_DRAFT_IDS ? 0 : warp_mass_of(scores, whole.n, 0);
    int n = warp_largest(largest, SAMPLING_DRAFT_IDS, &whole);
    const struct warp_row row = warp_truncate_sorted(largest, n, true, whole.n, mass, &narrow, &sampler->scratch);
    warp_weights(&row, q->weight);
    q->n = row.count;
    memcpy(q->ids, row.ids, (size_t)row.count * sizeof *q->ids);
    const struct verify_row drawn_from = {q->ids, q->weight, q->n};
    return verify_sample(&drawn_from, NULL, -1, 0, noise_uniform(s->seed, history->n_answer, NOISE_DRAFT));
}

/* ---- log-probabilities ---- */

void sampler_share(struct sampler_share *share, const struct warp_part *part, float largest, int32_t chosen, int top)
{
    int64_t at = (int64_t)chosen - part->first;
    for (int i = 0; i < part->n; i++)
        if (!isfinite(part->scores[i]))
            part->scores[i] = -INFINITY;
    share->chosen = 0 <= at && at < part->n ? part->scores[at] : -INFINITY;
    share->n = top > 0 ? warp_largest(share->top, top, part) : 0;
    share->mass = warp_mass_of(part->scores, part->n, largest);
}

void sampler_logprobs(struct logprobs *out, const struct sampler_share *shares, int n_shares, int stride, float largest, int top)
{
    struct warp_candidate *all = mem_new((size_t)n_shares * SAMPLING_TOP_LOGPROBS, sizeof *all);
    warp_mass mass = 0;
    float chosen = -INFINITY;
    int n = 0;
    for (int i = 0; i < n_shares; i++) {
        const struct sampler_share *share = &shares[i * stride];
        memcpy(all + n, share->top, (size_t)share->n * sizeof *all);
        n += share->n;
        mass += share->mass;
        chosen = share->chosen > chosen ? share->chosen : chosen;
    }
    qsort(all, (size_t)n, sizeof *all, warp_order);
    double log_mass = log(warp_mass_value(mass));
    *out = (struct logprobs){.chosen = (float)((double)chosen - (double)largest - log_mass), .n_top = n < top ? n : top};
    for (int i = 0; i < out->n_top; i++) {
        out->top_ids[i] = all[i].id;
        out->top[i] = (float)((double)all[i].score - (double)largest - log_mass);
    }
    free(all);
}
