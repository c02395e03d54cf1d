/* simd_avx512bf16.c - AVX-512 with the bf16 dot product: sums of products of bf16 pairs in f32 */
#include <immintrin.h>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/vectors_512.h"

#define SIMD_TABLE simd_avx512bf16
#define SIMD_NAME "avx512bf16"
#define SIMD_DOT 1

/* sum[lane] += w[lane][0] * x[0] + w[lane][1] * x[1] */
static inline vec v_dot(vec sum, const char *w, uint32_t x)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(w), (__m512bh)_mm512_set1_epi32((int32_t)x));
}

#include "kernels/cpu/simd_impl.h"
