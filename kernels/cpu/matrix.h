/* matrix.h - weights in panels.
 *
 * A panel holds `panel` output features side by side, so that one vector load gives the same k of many outputs. k goes in pairs,
 * padded with a zero where cols is odd; outputs beyond `rows` are zeros. One pair of a panel:
 *   bf16       [lane][2]  a 32-bit word holds both: widened by a shift and a mask, and what the dot instruction wants
 *   f16, f32   [2][lane] */
#ifndef KERNELS_CPU_MATRIX_H
#define KERNELS_CPU_MATRIX_H

#include "kernels/cpu/device.h"

struct matrix {
    enum dtype dtype;
    int rows, cols, pairs;
    int panel, panels;
    size_t panel_bytes;
    char *data;
};

struct matrix *matrix_create(struct device *dev, enum dtype dtype, int rows, int cols, struct error *err);
void matrix_write(struct device *dev, struct matrix *m, int row, int n, const void *host);
void matrix_destroy(struct device *dev, struct matrix *m);
size_t matrix_bytes(const struct matrix *m);
void matrix_embed(struct device *dev, float *y, const int32_t *ids, int n, const struct matrix *w, int first_id);

#endif
