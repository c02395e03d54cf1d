/* acceptance.h - counts of speculative steps, for one request or for all of a service, and the figures derived from them.
 *
 * A step is one verification by the target (the token that the prompt's last row gives belongs to none). */
#ifndef SPECULATE_ACCEPTANCE_H
#define SPECULATE_ACCEPTANCE_H

#include <stdint.h>

enum { ACCEPTANCE_POSITIONS = 16 }; /* the most drafts of a step */

struct acceptance {
    uint64_t steps, drafted, accepted;
    uint64_t accepted_per_position[ACCEPTANCE_POSITIONS]; /* [i]: steps that accepted more than i drafts */
};

/* Counts one step: 0 <= accepted <= drafted <= ACCEPTANCE_POSITIONS. */
void acceptance_step(struct acceptance *acceptance, int drafted, int accepted);

/* sum += other */
void acceptance_merge(struct acceptance *sum, const struct acceptance *other);

/* Tokens that a step gives: 1 + accepted / steps; 0 without steps. */
double acceptance_mean_length(const struct acceptance *acceptance);

/* accepted / drafted; 0 without drafts. */
double acceptance_rate(const struct acceptance *acceptance);

#endif
