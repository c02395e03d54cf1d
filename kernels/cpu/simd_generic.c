/* simd_generic.c - the plain path: vectors of the compiler, no instruction set beyond the platform's least */
#include <math.h>

#include "kernels/cpu/simd.h"

enum { LANES = 4, PANEL_VECTORS = 2 };
typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_int __attribute__((vector_size(16)));
#define SIMD_TABLE simd_generic
#define SIMD_NAME "generic"

static inline vec v_fma(vec a, vec b, vec c)
{
    return a * b + c;
}

static inline vec v_sqrt(vec a)
{
    return (vec){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])};
}

/* f16 by its bits: exponent and mantissa move up, 2^112 corrects the bias; what became 2^16 or more was infinite or NaN. */
static inline vec v_from_f16(const uint16_t *p)
{
    vec_int half = {p[0], p[1], p[2], p[3]};
    vec value = (vec)((half & 0x7fff) << 13) * 0x1p112f;
    vec_int special = (value >= 65536.0f) & 0x7f800000;
    return (vec)((vec_int)value | special | (half & 0x8000) << 16);
}

#include "kernels/cpu/simd_impl.h"
