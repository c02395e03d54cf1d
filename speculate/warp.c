/* warp.c - penalties, bias, temperature and truncation of one row of scores */
#include "speculate/warp.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

/* ---- penalties and bias ---- */

static bool column_of(const struct warp_part *part, int32_t id, int *column)
{
    int64_t at = (int64_t)id - part->first;
    *column = (int)at;
    return 0 <= at && at < part->n;
}

/* counts: occurrences in the answer; -1 where only the prompt has the id. */
static void ids_count(int32_t *counts, const struct warp_part *part, const struct warp_history *h)
{
    int at;
    for (int i = 0; i < h->n_prompt; i++)
        if (column_of(part, h->prompt[i], &at))
            counts[at] = -1;
    for (int i = 0; i < h->n_answer; i++)
        if (column_of(part, h->answer[i], &at))
            counts[at] = counts[at] < 0 ? 1 : counts[at] + 1;
}

/* Each distinct id once: its count is taken away. */
static void ids_penalize(const struct warp_part *part, const struct sampling *s, const int32_t *ids, int n_ids, int32_t *counts)
{
    for (int i = 0, at; i < n_ids; i++) {
        if (!column_of(part, ids[i], &at) || !counts[at])
            continue;
        float *x = &part->scores[at];
        *x = *x > 0.0f ? *x / s->repetition_penalty : *x * s->repetition_penalty;
        if (counts[at] > 0)
            *x -= s->frequency_penalty * (float)counts[at] + s->presence_penalty;
        counts[at] = 0;
    }
}

void warp_adjust(const struct warp_part *part, const struct sampling *s, const struct warp_history *h, int32_t *counts)
{
    int at;
    if (s->repetition_penalty != 1 || s->frequency_penalty != 0 || s->presence_penalty != 0) {
        ids_count(counts, part, h);
        ids_penalize(part, s, h->prompt, h->n_prompt, counts);
        ids_penalize(part, s, h->answer, h->n_answer, counts);
    }
    for (int i = 0; i < s->n_bias; i++)
        if (column_of(part, s->bias_ids[i], &at))
            part->scores[at] += s->bias[i];
    for (int i = 0; h->n_answer < s->banned_until && i < s->n_banned; i++)
        if (column_of(part, s->banned_ids[i], &at))
            part->scores[at] = -INFINITY;
    for (int i = 0; i < part->n; i++)
        if (isnan(part->scores[i]))
            part->scores[i] = -INFINITY;
}

int32_t warp_best(const float *scores, int n)
{
    int32_t best = -1;
    for (int i = 0; i < n; i++)
        if (isfinite(scores[i]) && (best < 0 || scores[i] > scores[best]))
            best = i;
    return best;
}

/* ---- temperature and truncation ---- */

void warp_scratch_create(struct warp_scratch *scratch, int n)
{
    size_t count = (size_t)n;
    scratch->candidates = mem_new(count, sizeof *scratch->candidates);
    scratch->ids = mem_new(count, sizeof *scratch->ids);
    scratch->scores = mem_new(count, sizeof *scratch->scores);
    scratch->weights = mem_new(count, sizeof *scratch->weights);
}

void warp_scratch_free(struct warp_scratch *scratch)
{
    free(scratch->candidates);
    free(scratch->ids);
    free(scratch->scores);
    free(scratch->weights);
}

void warp_temper(const struct warp_part *part, float largest, float temperature)
{
    for (int i = 0; i < part->n; i++)
        part->scores[i] = (part->scores[i] - largest) / temperature;
}

static double mass(const float *scores, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)scores[i]);
    return sum;
}

static int by_score(const void *a, const void *b)
{
    const struct warp_candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    const struct warp_candidate *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

/* The scores from -reach up; *sum = their mass. */
static int candidates_collect(struct warp_candidate *to, const float *scores, int n, float reach, double *sum)
{
    int count = 0;
    *sum = 0;
    for (int i = 0; i < n; i++)
        if (scores[i] >= -reach) {
            to[count++] = (struct warp_candidate){scores[i], i};
            *sum += exp((double)scores[i]);
        }
    return count;
}

/* Enough candidates to cut top-k and top-p from, sorted; *total = the mass of which top_p is a part. Few of a vocabulary are near
 * the largest score, and only those are sorted. */
static int candidates_find(struct warp_candidate *to, const float *scores, int n, const struct sampling *s, double *total)
{
    bool by_count = s->top_k > 0 && s->top_k < n;
    double sum, wanted = s->top_p > 0 && s->top_p < 1 ? (double)s->top_p : 0;
    int count;
    *total = by_count ? 0 : mass(scores, n);
    for (float reach = 4;; reach = reach < 1e4f ? reach * 2 : INFINITY) {
        count = candidates_collect(to, scores, n, reach, &sum);
        if (isinf(reach) || (by_count ? count >= s->top_k
                             : wanted ? sum > wanted * *total
                                      : exp(-(double)reach) < (double)s->min_p))
            break;
    }
    qsort(to, (size_t)count, sizeof *to, by_score);
    if (!by_count)
        return count;
    int kept = s->top_k < count ? s->top_k : count;
    while (kept < count && to[kept].score == to[kept - 1].score)
        kept++;
    for (int i = 0; i < kept; i++)
        *total += exp((double)to[i].score);
    return kept;
}

/* How many of the sorted candidates top-p and min-p leave: at least one. */
static int candidates_cut(const struct warp_candidate *candidates, int count, const struct sampling *s, double total)
{
    double before = 0, wanted = s->top_p > 0 && s->top_p < 1 ? (double)s->top_p * total : INFINITY;
    int kept = 0;
    while (kept < count) {
        double weight = exp((double)candidates[kept].score);
        if (kept && (before >= wanted || weight < (double)s->min_p))
            break;
        before += weight;
        kept++;
    }
    return kept;
}

struct warp_row warp_truncate(const float *scores, int n, const struct sampling *s, struct warp_scratch *scratch)
{
    if (!warp_truncates(s))
        return (struct warp_row){NULL, 0, scores, n};
    double total;
    int count = candidates_find(scratch->candidates, scores, n, s, &total);
    count = candidates_cut(scratch->candidates, count, s, total);
    qsort(scratch->candidates, (size_t)count, sizeof *scratch->candidates, by_id);
    for (int i = 0; i < count; i++) {
        scratch->ids[i] = scratch->candidates[i].id;
        scratch->scores[i] = scratch->candidates[i].score;
    }
    return (struct warp_row){scratch->ids, 0, scratch->scores, count};
}

void warp_weights(const struct warp_row *row, float *weights)
{
    double sum = mass(row->scores, row->count);
    for (int i = 0; i < row->count; i++)
        weights[i] = (float)(exp((double)row->scores[i]) / sum);
}
