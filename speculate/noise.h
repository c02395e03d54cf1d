/* noise.h - every random number of sampling, as a function of the request's seed, the position in the answer and what it is for.
 *
 * No generator, no state: a step that is repeated, replayed on another group or computed beside other requests finds the same
 * numbers. Each is used for at most one decision that counts: what is drawn behind a refused draft is thrown away unseen. */
#ifndef SPECULATE_NOISE_H
#define SPECULATE_NOISE_H

#include <stdint.h>

enum noise_purpose {
    NOISE_GUMBEL, /* of a token id */
    NOISE_FINE,   /* the lower bits of that */
    NOISE_DRAFT,  /* draws the draft */
    NOISE_KEEP,   /* keeps or refuses it */
    NOISE_NEXT    /* draws the token that replaces it, or that stands alone */
};

/* Uniform in [0, 1), 53 bits. position: tokens of the answer before this one. */
double noise_uniform(uint64_t seed, int position, enum noise_purpose purpose);

/* The Gumbel noise of a token id: -log(E) with E exponential, E = -log(1 - u), u in (0, 1) of 53 bits. It is never above
 * NOISE_GUMBEL_MOST. The 32 upper bits of u come for NOISE_GROUP ids at once, [first, first + NOISE_GROUP) with `first` a multiple:
 * where they show that an id has no chance, the rest is not computed. */
enum { NOISE_GROUP = 4 };
void noise_upper(uint32_t upper[NOISE_GROUP], uint64_t seed, int position, int32_t first);
double noise_gumbel(uint64_t seed, int position, int32_t id, uint32_t upper);
#define NOISE_GUMBEL_MOST 37.5 /* 54 log 2, rounded up */

#endif
