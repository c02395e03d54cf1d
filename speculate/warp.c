/* warp.c - penalties, bias, temperature and truncation of one row of scores */
#include "speculate/warp.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    float largest = -INFINITY; /* in a register: scores[best] would be read again for each score */
    for (int i = 0; i < n; i++)
        if (scores[i] > largest && scores[i] <= FLT_MAX) {
            largest = scores[i];
            best = i;
        }
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

/* w: at most 1. Two conversions of 45 bits each are several times faster than one of 90. */
static warp_mass mass_units(double w)
{
    double scaled = w * 0x1p45;
    int64_t high = (int64_t)scaled, low = (int64_t)((scaled - (double)high) * 0x1p45);
    return (warp_mass)high << 45 | (warp_mass)low;
}

warp_mass warp_mass_of(const float *scores, int n, float largest)
{
    warp_mass sum = 0; /* at most 1 of each of 2^18 ids */
    for (int i = 0; i < n; i++)
        sum += mass_units(exp((double)scores[i] - (double)largest));
    return sum;
}

int warp_order(const void *a, const void *b)
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

/* Most of a row is not among the largest so far: one comparison. */
int warp_largest(struct warp_candidate *to, int most, const struct warp_part *part)
{
    int n = 0;
    for (int i = 0; i < part->n; i++) {
        float score = part->scores[i];
        if (score == -INFINITY || (n == most && !(score > to[n - 1].score)))
            continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && score > to[at - 1].score; at--)
            to[at] = to[at - 1];
        to[at] = (struct warp_candidate){score, part->first + i};
    }
    return n;
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

static bool by_count(const struct sampling *s, int n)
{
    return s->top_k > 0 && s->top_k < n;
}

static double mass_wanted(const struct sampling *s, double total)
{
    return s->top_p > 0 && s->top_p < 1 ? (double)s->top_p * total : INFINITY;
}

/* Candidates of a whole row that top-k, top-p and min-p choose from, sorted. Few of a vocabulary are near the largest score, and
 * only those are sorted. */
static int candidates_find(struct warp_candidate *to, const float *scores, int n, const struct sampling *s, warp_mass mass)
{
    double sum, wanted = mass_wanted(s, warp_mass_value(mass));
    int count;
    for (float reach = 4;; reach = reach < 1e4f ? reach * 2 : INFINITY) {
        count = candidates_collect(to, scores, n, reach, &sum);
        bool enough = by_count(s, n)     ? count >= s->top_k
                      : isfinite(wanted) ? sum > wanted * (1 + 1e-9) /* the sum has another order below */
                                         : exp(-(double)reach) < (double)s->min_p;
        if (isinf(reach) || enough)
            break;
    }
    qsort(to, (size_t)count, sizeof *to, warp_order);
    return count;
}

/* How many of the sorted candidates are left; 0 when that depends on what is behind them. */
static int candidates_cut(const struct warp_candidate *sorted, int count, bool whole, int n, const struct sampling *s,
                          warp_mass mass)
{
    double before = 0, total = by_count(s, n) ? 0 : warp_mass_value(mass);
    int most = count, kept = 0;
    if (by_count(s, n)) {
        most = s->top_k < count ? s->top_k : count;
        while (most < count && sorted[most].score == sorted[most - 1].score)
            most++;
        for (int i = 0; i < most; i++)
            total += exp((double)sorted[i].score);
        if (most == count && !whole)
            return 0;
    }
    double wanted = mass_wanted(s, total);
    for (; kept < most; kept++) {
        double weight = exp((double)sorted[kept].score);
        if (kept && (before >= wanted || weight < (double)s->min_p))
            break;
        before += weight;
    }
    return kept < count || whole ? kept : 0;
}

/* The candidates that were kept, ascending by id. */
static struct warp_row candidates_row(const struct warp_candidate *kept, int count, struct warp_scratch *scratch)
{
    memmove(scratch->candidates, kept, (size_t)count * sizeof *kept);
    qsort(scratch->candidates, (size_t)count, sizeof *kept, by_id);
    for (int i = 0; i < count; i++) {
        scratch->ids[i] = scratch->candidates[i].id;
        scratch->scores[i] = scratch->candidates[i].score;
    }
    return (struct warp_row){scratch->ids, 0, scratch->scores, count};
}

struct warp_row warp_truncate(const float *scores, int n, const struct sampling *s, struct warp_scratch *scratch)
{
    if (!warp_truncates(s))
        return (struct warp_row){NULL, 0, scores, n};
    warp_mass mass = mass_wanted(s, 1) < 1 ? warp_mass_of(scores, n, 0) : 0; /* only top-p asks for it */
    int count = candidates_find(scratch->candidates, scores, n, s, mass);
    count = candidates_cut(scratch->candidates, count, true, n, s, mass);
    return candidates_row(scratch->candidates, count, scratch);
}

struct warp_row warp_truncate_sorted(const struct warp_candidate *sorted, int count, bool whole, int n, warp_mass mass,
                                     const struct sampling *s, struct warp_scratch *scratch)
{
    return candidates_row(sorted, candidates_cut(sorted, count, whole, n, s, mass), scratch);
}

void warp_weights(const struct warp_row *row, float *weights)
{
    double sum = 0;
    for (int i = 0; i < row->count; i++)
        sum += exp((double)row->scores[i]);
    for (int i = 0; i < row->count; i++)
        weights[i] = (float)(exp((double)row->scores[i]) / sum);
}
