/* random.h - counter-based random numbers (Philox 4x32-10; Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011). A number is a function of key and counter alone: there is no generator to share, seed or replay. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* 128 random bits for one counter under one key. */
void random_bits(uint32_t out[4], uint64_t key, uint64_t counter_high, uint64_t counter_low);

/* Uniform in [0, 1), 24 bits. */
static inline float random_unit(uint32_t bits)
{
    return (float)(bits >> 8) * 0x1p-24f;
}

#endif
