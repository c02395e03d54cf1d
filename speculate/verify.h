/* verify.h - which draft tokens the target keeps, and the token that follows them. Pure functions; no model, no I/O.
 *
 * k drafts follow the last token of a sequence. The target was evaluated after that token and after each draft: k + 1 rows. */
#ifndef SPECULATE_VERIFY_H
#define SPECULATE_VERIFY_H

#include <stdint.h>

/* Greedy: best (k + 1) is the target's argmax of each row, drafts (k). A draft stays while it is the argmax of the row before it.
 * Returns the number of accepted drafts, 0..k; *next = best[accepted], the target's own token after them. */
int verify_greedy(const int32_t *best, const int32_t *drafts, int k, int32_t *next);

/* Probabilities of token ids that need not be normalised exactly. ids (count) ascending, or NULL: the ids are 0..count-1. An id
 * that is not listed has probability 0. */
struct verify_row {
    const int32_t *ids;
    const float *weight; /* (count) */
    int count;
};

/* Sampling (Leviathan et al. 2023; Chen et al. 2023): the tokens are distributed as if drawn from p (k + 1) alone. Draft x, drawn
 * from q[i], stays iff uniforms[i] * q[i](x) < p[i](x); at the first that does not, *next is drawn from max(p[i] - q[i], 0); after
 * k accepted drafts from p[k]. Uniforms (k) and u_next in [0, 1). Drawing takes the smallest id whose cumulative weight exceeds
 * u_next * total. Returns the number of accepted drafts. */
int verify_rejection(const struct verify_row *p, const struct verify_row *q, const int32_t *drafts, int k, const double *uniforms,
                     double u_next, int32_t *next);

#endif
