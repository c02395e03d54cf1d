/* probe.h - what the device's instruction set and threads can do at best; measured for the benchmarks, and beside a training run */
#ifndef KERNELS_CPU_PROBE_H
#define KERNELS_CPU_PROBE_H

#include "kernels/kernels.h"

/* Reads `count` floats from end to end with all threads; the sum goes to *sink. */
void probe_read(struct device *dev, const float *x, size_t count, float *sink);

/* Multiply-adds from registers on all threads, in f32, or with the bf16 dot instruction. Returns the operations done, a
 * multiply-add counting two; 0 when there is no such instruction. */
double probe_fma(struct device *dev, long rounds, float *sink);
double probe_bf16_dot(struct device *dev, long rounds, float *sink);

/* Whether `linear` uses the bf16 dot instruction for bf16 weights. */
bool probe_dot_used(const struct device *dev);

#endif
