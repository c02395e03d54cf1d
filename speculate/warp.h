/* warp.h - the target's scores of one row, from the head to what a token is chosen from. Pure functions on one row.
 *
 * Order: repetition penalty, frequency and presence penalty, bias, banned ids, temperature, top-k, top-p, min-p (that of Hugging
 * Face transformers). What comes before a row are its prompt and the answer's tokens, accepted drafts included, so each row of a
 * verification has a history of its own. */
#ifndef SPECULATE_WARP_H
#define SPECULATE_WARP_H

#include "base/sampling.h"

/* The ids before a row. Ids outside the vocabulary are passed over. */
struct warp_history {
    const int32_t *prompt, *answer;
    int n_prompt, n_answer;
};

/* Columns [first, first + n) of a row: all of it, or what one rank has. */
struct warp_part {
    float *scores; /* (n) */
    int first, n;
};

/* In place: penalties, bias, banned ids. Repetition penalty: s > 0 ? s / r : s * r for ids of prompt and answer
 * (Keskar et al. 2019, CTRL); then minus frequency_penalty per occurrence in the answer and presence_penalty once. Scores that are
 * not numbers become -inf. counts (n) is all zeros before and after. */
void warp_adjust(const struct warp_part *part, const struct sampling *sampling, const struct warp_history *history,
                 int32_t *counts);

/* The column of the largest score, the lowest on ties; -1 when no score is finite. */
int32_t warp_best(const float *scores, int n);

/* Temperature (above 0) in place, relative to the row's largest adjusted score, which becomes 0: small temperatures then reach no
 * infinity but that of what has no chance. */
void warp_temper(const struct warp_part *part, float largest, float temperature);

/* What is left of a row: scores of count ids, ascending; ids NULL = first, first + 1, ... */
struct warp_row {
    const int32_t *ids;
    int32_t first;
    const float *scores;
    int count;
};

/* A sum of exponentials, in units of 2^-90: whole numbers, so that it does not depend on how a row is cut. */
__extension__ typedef unsigned __int128 warp_mass;

static inline double warp_mass_value(warp_mass mass)
{
    return (double)mass * 0x1p-90;
}

struct warp_candidate {
    float score;
    int32_t id;
};

/* Room for one row. */
struct warp_scratch {
    struct warp_candidate *candidates;
    int32_t *ids;
    float *scores, *weights;
};
void warp_scratch_create(struct warp_scratch *scratch, int n);
void warp_scratch_free(struct warp_scratch *scratch);

static inline bool warp_truncates(const struct sampling *s)
{
    return s->top_k > 0 || (s->top_p > 0 && s->top_p < 1) || s->min_p > 0;
}

/* What top-k, top-p and min-p leave of a whole row of tempered scores (n); it lies in scores or scratch. Top-k keeps ties with the
 * k-th; top-p keeps the largest until their probability reaches top_p, the lower id first on ties; min-p keeps what has at least
 * min_p of the largest probability. */
struct warp_row warp_truncate(const float *scores, int n, const struct sampling *sampling, struct warp_scratch *scratch);

/* The same row, bit for bit, from its largest scores: sorted (count), none left out between them; `whole`: none behind them either.
 * n and mass are of the whole row. count = 0 in the result: what is kept may go on behind them. */
struct warp_row warp_truncate_sorted(const struct warp_candidate *sorted, int count, bool whole, int n, warp_mass mass,
                                     const struct sampling *sampling, struct warp_scratch *scratch);
int warp_order(const void *a, const void *b); /* of struct warp_candidate, for qsort */

/* The mass of exp(score - largest) over scores (n), none of them above `largest`. */
warp_mass warp_mass_of(const float *scores, int n, float largest);

/* The `most` largest of a part's scores, sorted; fewer when it has fewer finite ones. */
int warp_largest(struct warp_candidate *to, int most, const struct warp_part *part);

/* Probabilities of a row into weights (count). */
void warp_weights(const struct warp_row *row, float *weights);

#endif
