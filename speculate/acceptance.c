/* acceptance.c - counts of speculative steps and the figures derived from them */
#include "speculate/acceptance.h"

#include <assert.h>

void acceptance_step(struct acceptance *acceptance, int drafted, int accepted)
{
    assert(0 <= accepted && accepted <= drafted && drafted <= ACCEPTANCE_POSITIONS);
    acceptance->steps++;
    acceptance->drafted += (uint64_t)drafted;
    acceptance->accepted += (uint64_t)accepted;
    for (int i = 0; i < accepted; i++)
        acceptance->accepted_per_position[i]++;
}

void acceptance_merge(struct acceptance *sum, const struct acceptance *other)
{
    sum->steps += other->steps;
    sum->drafted += other->drafted;
    sum->accepted += other->accepted;
    for (int i = 0; i < ACCEPTANCE_POSITIONS; i++)
        sum->accepted_per_position[i] += other->accepted_per_position[i];
}

double acceptance_mean_length(const struct acceptance *acceptance)
{
    return acceptance->steps ? 1 + (double)acceptance->accepted / (double)acceptance->steps : 0;
}

double acceptance_rate(const struct acceptance *acceptance)
{
    return acceptance->drafted ? (double)acceptance->accepted / (double)acceptance->drafted : 0;
}
