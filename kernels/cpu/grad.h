/* grad.h - the operations of kernels/grad.h on the CPU, by file */
#ifndef KERNELS_CPU_GRAD_H
#define KERNELS_CPU_GRAD_H

#include "kernels/cpu/device.h"
#include "kernels/grad.h"

/* product.c */
void product_linear(struct device *dev, float *y, const float *x, int n, const struct grad_weights *w, const float *b);
void product_linear_input(struct device *dev, float *dx, const float *dy, int n, const struct grad_weights *w, bool add);
void product_linear_weights(struct device *dev, float *dw, float *db, const float *dy, const float *x, int n, int rows, int cols);

/* grad_attend.c */
void grad_attend_rows(struct device *dev, float *dq, float *dk, float *dv, const float *dy, const float *y, const float *q,
                      const float *k, const float *v, int n, int stride, const struct attention *a,
                      const struct grad_segments *segments);

/* grad_rows.c */
void grad_zero(struct device *dev, float *x, size_t count);
void grad_narrow(struct device *dev, uint16_t *y, const float *x, size_t count);
void grad_embed(struct device *dev, float *y, const int32_t *ids, int n, const struct grad_weights *w);
void grad_scatter_add(struct device *dev, float *dw, const float *dx, const int32_t *index, int n, int d);
void grad_rms_norm(struct device *dev, float *dx, float *dw, const float *dy, const float *x, int n, int d, const float *weight,
                   float offset, float eps);
void grad_rms_norm_heads(struct device *dev, float *dx, float *dw, const float *x, int n, int heads, int c, int stride,
                         const float *weight, float offset, float eps);
void grad_silu_gate(struct device *dev, float *dx, const float *dy, const float *x, int n, int d);
void grad_gelu_tanh_gate(struct device *dev, float *dx, const float *dy, const float *x, int n, int d);
void grad_gelu_erf(struct device *dev, float *dx, const float *dy, const float *x, size_t count);
void grad_soft_cap(struct device *dev, float *dx, const float *y, float cap, size_t count);
double grad_square_sum(struct device *dev, const float *x, size_t count);
void grad_adamw(struct device *dev, float *w, float *m, float *v, const float *g, size_t count, const struct adamw *options);
/* sum (d) += the rows of x (n, d) */
void grad_rows_sum(struct device *dev, float *sum, const float *x, int n, int d);

/* grad_loss.c */
void grad_cross_entropy(struct device *dev, float *loss, float *x, int n, int d, const int32_t *labels, float scale);
void grad_kl(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale);
void grad_tvd(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale);

#endif
