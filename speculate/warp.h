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

/* In place on scores (n): penalties, bias, banned ids. Repetition penalty: s > 0 ? s / r : s * r for ids of prompt and answer
 * (Keskar et al. 2019, CTRL); then minus frequency_penalty per occurrence in the answer and presence_penalty once. Scores that are
 * not numbers become -inf. counts (n) is all zeros before and after. */
void warp_adjust(float *scores, int n, const struct sampling *sampling, const struct warp_history *history, int32_t *counts);

/* The column of the largest score, the lowest on ties; -1 when no score is finite. */
int32_t warp_best(const float *scores, int n);

/* What is left of a row: scores of count ids, ascending; ids NULL = all, 0..count-1. The largest score is 0. */
struct warp_row {
    const int32_t *ids;
    const float *scores;
    int count;
};

/* Room for one row. */
struct warp_scratch {
    struct warp_candidate {
        float score;
        int32_t id;
    } * candidates;
    int32_t *ids;
    float *scores, *weights;
};
void warp_scratch_create(struct warp_scratch *scratch, int n);
void warp_scratch_free(struct warp_scratch *scratch);

/* Temperature (above 0) in place on adjusted scores (n), one of them finite; then what top-k, top-p and min-p leave, which lies in
 * scores or scratch. Top-k keeps ties with the k-th; top-p keeps the largest until their probability reaches top_p, the lower id
 * first on ties; min-p keeps what has at least min_p of the largest probability. */
struct warp_row warp_truncate(float *scores, int n, const struct sampling *sampling, struct warp_scratch *scratch);

/* Probabilities of a row into weights (count). */
void warp_weights(const struct warp_row *row, float *weights);

#endif
