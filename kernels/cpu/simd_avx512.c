/* simd_avx512.c - AVX-512 F, BW, VL, DQ */
#include <immintrin.h>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/vectors_512.h"

#define SIMD_TABLE simd_avx512
#define SIMD_NAME "avx512"

#include "kernels/cpu/simd_impl.h"
