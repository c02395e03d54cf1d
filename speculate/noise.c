/* noise.c - random numbers of sampling from Philox counters: high word = purpose and position, low word = token ids */
#include "speculate/noise.h"

#include <math.h>

#include "base/random.h"

static void philox(uint32_t bits[4], uint64_t seed, int position, enum noise_purpose purpose, uint64_t low)
{
    random_bits(bits, seed, (uint64_t)purpose << 32 | (uint32_t)position, low);
}

static uint64_t join(uint32_t a, uint32_t b)
{
    return ((uint64_t)a << 32 | b) >> (64 - NOISE_BITS);
}

double noise_uniform(uint64_t seed, int position, enum noise_purpose purpose)
{
    uint32_t bits[4];
    philox(bits, seed, position, purpose, 0);
    return (double)join(bits[0], bits[1]) * 0x1p-53;
}

uint64_t noise_token_bits(uint64_t seed, int position, int32_t id)
{
    uint32_t bits[4];
    philox(bits, seed, position, NOISE_GUMBEL, (uint32_t)id);
    return join(bits[0], bits[1]);
}

double noise_gumbel(uint64_t bits)
{
    return -log(-log1p(-((double)bits + 0.5) * 0x1p-53));
}
