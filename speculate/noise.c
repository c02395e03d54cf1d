/* noise.c - random numbers of sampling from Philox counters: high word = purpose and position, low word = token ids */
#include "speculate/noise.h"

#include <math.h>

#include "base/random.h"

static void philox(uint32_t bits[4], uint64_t seed, int position, enum noise_purpose purpose, int32_t id)
{
    random_bits(bits, seed, (uint64_t)purpose << 32 | (uint32_t)position, (uint32_t)id);
}

static double join(uint32_t upper, uint32_t lower)
{
    return (double)(((uint64_t)upper << 32 | lower) >> 11); /* 53 bits */
}

double noise_uniform(uint64_t seed, int position, enum noise_purpose purpose)
{
    uint32_t bits[4];
    philox(bits, seed, position, purpose, 0);
    return join(bits[0], bits[1]) * 0x1p-53;
}

void noise_upper(uint32_t upper[NOISE_GROUP], uint64_t seed, int position, int32_t first)
{
    philox(upper, seed, position, NOISE_GUMBEL, first);
}

double noise_gumbel(uint64_t seed, int position, int32_t id, uint32_t upper)
{
    uint32_t bits[4];
    philox(bits, seed, position, NOISE_FINE, id);
    return -log(-log1p(-(join(upper, bits[0]) + 0.5) * 0x1p-53));
}
