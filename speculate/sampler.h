/* sampler.h - from one row of the head's scores to a token: the target's own, or a drafter's guess at it. Pure but for its scratch
 * memory: the result depends on the arguments alone. */
#ifndef SPECULATE_SAMPLER_H
#define SPECULATE_SAMPLER_H

#include "speculate/warp.h"

struct sampler;

struct sampler *sampler_new(int vocabulary);
void sampler_free(struct sampler *sampler); /* NULL is legal */

/* scores (vocabulary) are used up. history: what stands before the token; its answer's length is the token's position. -1: the
 * scores are not numbers, or every id is banned.
 *
 * The target's own token. draft: the one that is to be verified here, or -1; q: what it was drawn from, in the mode REJECTION with
 * a temperature. The draft is accepted iff it is the result. */
int32_t sampler_token(struct sampler *sampler, float *scores, const struct sampling *sampling, const struct warp_history *history,
                      int32_t draft, const struct draft_weights *q);

/* The same from parts of a row, each on another rank, where sampler_divides: every part is adjusted, the largest score of all parts
 * is found, and every part makes its best offer. The token is the offer of the largest value, the lowest id on ties. */
struct sampler_offer {
    double value;
    int32_t id; /* -1 = none: no finite score */
};
bool sampler_divides(const struct sampling *sampling);
/* The part's largest score after adjusting it in place; with temperature 0 that is its offer. */
struct sampler_offer sampler_adjust(struct sampler *sampler, const struct warp_part *part, const struct sampling *sampling,
                                    const struct warp_history *history);
/* Of an adjusted part, used up; temperature above 0. largest: over all parts. */
struct sampler_offer sampler_offer(const struct warp_part *part, const struct sampling *sampling, int position, float largest);

/* And where sampling truncates, in either mode: after sampler_adjust every part lists its largest scores, and the token is chosen
 * from all lists, bit for bit as from the row - or SAMPLER_UNCOVERED: what is kept may go on behind a list's end. */
enum { SAMPLER_CANDIDATES = 128, SAMPLER_UNCOVERED = -2 };
struct sampler_list {
    warp_mass mass;
    int n;
    struct warp_candidate largest[SAMPLER_CANDIDATES]; /* sorted; the first n */
};
void sampler_list(struct sampler_list *list, const struct warp_part *part, const struct sampling *sampling, float largest);
/* lists (n_lists) of all parts, `stride` apart. draft, q: as in sampler_token. */
int32_t sampler_choose(struct sampler *sampler, const struct sampler_list *lists, int n_lists, int stride,
                       const struct sampling *sampling, int position, int32_t draft, const struct draft_weights *q);

/* A drafter's guess. In the mode REJECTION with a temperature it is drawn from *q, which is filled: the SAMPLING_DRAFT_IDS largest
 * of what truncation leaves. Else q->n = 0, and the guess is what sampler_token would give for these scores. */
int32_t sampler_draft(struct sampler *sampler, float *scores, const struct sampling *sampling, const struct warp_history *history,
                      struct draft_weights *q);

/* Log-probabilities under the head's scores, from the shares of all parts of a row: the same bits however it is cut. Scores that
 * are not finite have none. sampler_part_best: the first step, the largest score of a part; then every part makes its share. */
struct sampler_share {
    warp_mass mass;
    float chosen; /* score; -inf where another part has it */
    int n;
    struct warp_candidate top[SAMPLING_TOP_LOGPROBS]; /* sorted; the first n */
};
struct sampler_offer sampler_part_best(const struct warp_part *part);
/* Uses the part up. largest: over all parts. top: how many are wanted. */
void sampler_share(struct sampler_share *share, const struct warp_part *part, float largest, int32_t chosen, int top);
/* shares (n_shares), `stride` apart; fewer than `top` where fewer ids have any. */
void sampler_logprobs(struct logprobs *out, const struct sampler_share *shares, int n_shares, int stride, float largest, int top);

#endif
