/* attend.h - attention over the cache, and over rows */
#ifndef KERNELS_CPU_ATTEND_H
#define KERNELS_CPU_ATTEND_H

#include "kernels/cpu/kv.h"

void attend_cached(struct device *dev, float *y, const float *q, int n, int stride, struct kv_cache *kv, int layer,
                   const struct kv_rows *rows, const struct attention *a);
void attend_rows(struct device *dev, float *y, const float *q, const float *k, const float *v, int n, int stride,
                 const struct attention *a);

#endif
