/* coupled.h - the token that the target's scores and the request's noise choose together (the Gumbel-max trick; Gumbel 1954, and
 * for speculation Daliri, Musco, Suresh 2024, "Coupling without communication"). Whoever has the same scores and seed chooses the
 * same token; a drafter with similar scores often does. Pure. */
#ifndef SPECULATE_COUPLED_H
#define SPECULATE_COUPLED_H

#include "speculate/warp.h"

/* The id of the row's largest score + noise, the lowest on ties: distributed as the row's probabilities. *value: that sum, so that
 * parts of a row can be compared; may be NULL. count > 0. */
int32_t coupled_token(const struct warp_row *row, uint64_t seed, int position, double *value);

#endif
