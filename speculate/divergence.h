/* divergence.h - how far a drafter's next-token distribution is from the target's: what bounds the acceptance of its drafts.
 *
 * Rejection sampling accepts a draft drawn from q with probability sum_i min(p_i, q_i) = 1 - TVD(p, q) (Leviathan et al. 2023,
 * Theorem 3.5). Pure functions on one row. */
#ifndef SPECULATE_DIVERGENCE_H
#define SPECULATE_DIVERGENCE_H

#include <stdbool.h>

struct divergence {
    double total_variation; /* sum_i |p_i - q_i| / 2, in [0, 1] */
    bool same_best;         /* do both have their largest score at the same id: would a greedy draft be accepted? */
};

/* Of softmax(target / temperature) and softmax(drafter / temperature) over the ids that both have, [0, n). -1: a row's scores are
 * not numbers (NaN, or none finite). */
int divergence_of_scores(struct divergence *divergence, const float *target, const float *drafter, int n, float temperature);

#endif
