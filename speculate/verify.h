/* verify.h - which draft tokens the target keeps, and the token that follows them. Pure functions; no model, no I/O.
 *
 * k drafts follow the last token of a sequence. The target was evaluated after that token and after each draft: k + 1 rows. Each
 * row gives the target's own token behind it; a draft stays while it is that token. */
#ifndef SPECULATE_VERIFY_H
#define SPECULATE_VERIFY_H

#include <stdint.h>

/* tokens (k + 1): the target's own of each row, drafts (k). Returns the number of accepted drafts, 0..k; *next = tokens[accepted],
 * which follows them. Tokens behind it are not looked at. */
int verify_tokens(const int32_t *tokens, const int32_t *drafts, int k, int32_t *next);

/* Probabilities of token ids that need not be normalised exactly. ids (count) ascending, or NULL: the ids are 0..count-1. An id
 * that is not listed has probability 0. */
struct verify_row {
    const int32_t *ids;
    const float *weight; /* (count) */
    int count;
};

/* The target's own token by rejection sampling (Leviathan et al. 2023; Chen et al. 2023), distributed as p if draft was drawn from
 * q: the draft itself iff keep * q(draft) < p(draft), else one drawn from max(p - q, 0) with u. q NULL: there is no draft, the
 * token is drawn from p. keep, u: uniform in [0, 1). Drawing takes the smallest id whose cumulative weight exceeds u * total. */
int32_t verify_sample(const struct verify_row *p, const struct verify_row *q, int32_t draft, double keep, double u);

#endif
