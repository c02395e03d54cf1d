/* dtype.h - the number formats in which weights are stored, and their exact values as f32 */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64, DTYPE_I32, DTYPE_U8, DTYPE_COUNT };

/* Bytes of one element. */
size_t dtype_size(enum dtype dtype);

/* The safetensors name ("BF16"), and back; dtype_parse returns -1 for a name that is none of ours. */
const char *dtype_name(enum dtype dtype);
int dtype_parse(const char *name);

static inline float bf16_to_f32(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round to nearest, ties to even; NaN stays NaN. */
uint16_t bf16_from_f32(float x);

float f16_to_f32(uint16_t x);

/* count elements of a floating dtype as f32. */
void dtype_to_f32(float *dst, const void *src, enum dtype dtype, size_t count);

#endif
