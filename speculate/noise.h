/* noise.h - every random number of sampling, as a function of the request's seed, the position in the answer and what it is for.
 *
 * No generator, no state: a step that is repeated, replayed on another group or computed beside other requests finds the same
 * numbers. Each is used for at most one decision that counts: what is drawn behind a refused draft is thrown away unseen. */
#ifndef SPECULATE_NOISE_H
#define SPECULATE_NOISE_H

#include <stdint.h>

enum noise_purpose {
    NOISE_GUMBEL, /* of a token id */
    NOISE_DRAFT,  /* draws the draft */
    NOISE_KEEP,   /* keeps or refuses it */
    NOISE_NEXT    /* draws the token that replaces it, or that stands alone */
};

enum { NOISE_BITS = 53 };

/* Uniform in [0, 1), NOISE_BITS bits. position: tokens of the answer before this one. */
double noise_uniform(uint64_t seed, int position, enum noise_purpose purpose);

/* The bits behind a token's Gumbel noise, below 2^NOISE_BITS, and the noise: -log(E) with E exponential, E = -log(1 - u),
 * u = (bits + 1/2) / 2^NOISE_BITS. It is never above NOISE_GUMBEL_MOST. */
uint64_t noise_token_bits(uint64_t seed, int position, int32_t id);
double noise_gumbel(uint64_t bits);
#define NOISE_GUMBEL_MOST 37.5 /* 54 log 2, rounded up */

#endif
