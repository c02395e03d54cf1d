/* simd_avx2.c - AVX2 with FMA and F16C */
#include <immintrin.h>

#include "kernels/cpu/simd.h"

enum { LANES = 8, PANEL_VECTORS = 2 };
typedef float vec __attribute__((vector_size(32)));
typedef int32_t vec_int __attribute__((vector_size(32)));
#define SIMD_TABLE simd_avx2
#define SIMD_NAME "avx2"

static inline vec v_fma(vec a, vec b, vec c)
{
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

static inline vec v_sqrt(vec a)
{
    return (vec)_mm256_sqrt_ps((__m256)a);
}

static inline vec v_from_f16(const uint16_t *p)
{
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#include "kernels/cpu/simd_impl.h"
