/* linear.h - y = x @ W^T + b */
#ifndef KERNELS_CPU_LINEAR_H
#define KERNELS_CPU_LINEAR_H

#include "kernels/cpu/matrix.h"

void linear(struct device *dev, float *y, const float *x, struct rows n, const struct matrix *w, const float *b);
void linear_reserve(struct device *dev, int n, int cols);

#endif
