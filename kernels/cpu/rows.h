/* rows.h - operations on rows of activations and scores */
#ifndef KERNELS_CPU_ROWS_H
#define KERNELS_CPU_ROWS_H

#include "kernels/cpu/device.h"

void rows_rms_norm(struct device *dev, float *y, const float *x, int n, int d, int stride, const float *weight, float offset,
                   float eps);
void rows_rms_norm_heads(struct device *dev, float *x, int n, int heads, int c, int stride, const float *weight, float offset,
                         float eps);
void rows_layer_norm(struct device *dev, float *y, const float *x, int n, int d, const float *weight, const float *bias, float eps);
void rows_rope(struct device *dev, float *x, int n, int heads, int c, int stride, const float *cosine, const float *sine);
void rows_silu_gate(struct device *dev, float *y, const float *x, int n, int d);
void rows_gelu_tanh_gate(struct device *dev, float *y, const float *x, int n, int d);
void rows_gelu_erf(struct device *dev, float *x, size_t count);
void rows_gelu_tanh(struct device *dev, float *x, size_t count);
void rows_add(struct device *dev, float *x, const float *y, size_t count);
void rows_scale(struct device *dev, float *x, float factor, size_t count);
void rows_soft_cap(struct device *dev, float *x, float cap, size_t count);
void rows_mean(struct device *dev, float *y, const float *x, int n, int group, int d);
void rows_gather(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d);
void rows_scatter(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d);
void rows_best(struct device *dev, float *value, int32_t *id, const float *x, int n, int d);
void rows_penalize(struct device *dev, float *x, int n, int d, const int32_t *ids, const int32_t *count, int ids_stride,
                   const float *penalty);

#endif
