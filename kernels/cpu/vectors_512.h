/* vectors_512.h - the vectors that both AVX-512 paths share */
#ifndef KERNELS_CPU_VECTORS_512_H
#define KERNELS_CPU_VECTORS_512_H

#include <immintrin.h>
#include <stdint.h>

enum { LANES = 16, PANEL_VECTORS = 4 };
typedef float vec __attribute__((vector_size(64)));
typedef int32_t vec_int __attribute__((vector_size(64)));

static inline vec v_fma(vec a, vec b, vec c)
{
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

static inline vec v_sqrt(vec a)
{
    return (vec)_mm512_sqrt_ps((__m512)a);
}

static inline vec v_from_f16(const uint16_t *p)
{
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

#endif
