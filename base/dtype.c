/* dtype.c - number formats */
#include "base/dtype.h"

#include <assert.h>
#include <math.h>

static const struct {
    const char *name;
    size_t size;
} formats[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_U8] = {"U8", 1},
};

size_t dtype_size(enum dtype dtype)
{
    return formats[dtype].size;
}

const char *dtype_name(enum dtype dtype)
{
    return formats[dtype].name;
}

int dtype_parse(const char *name)
{
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (!strcmp(name, formats[i].name))
            return i;
    return -1;
}

uint16_t bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t x)
{
    int exponent = x >> 10 & 31;
    float mantissa = (float)(x & 1023);
    float sign = x >> 15 ? -1.0f : 1.0f;
    if (exponent == 31)
        return x & 1023 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf(mantissa + 1024.0f, exponent - 25) : ldexpf(mantissa, -24));
}

void dtype_to_f32(float *dst, const void *src, enum dtype dtype, size_t count)
{
    const uint16_t *half = src;
    assert(dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16);
    if (dtype == DTYPE_F32)
        memcpy(dst, src, count * sizeof *dst);
    else
        for (size_t i = 0; i < count; i++)
            dst[i] = dtype == DTYPE_BF16 ? bf16_to_f32(half[i]) : f16_to_f32(half[i]);
}
