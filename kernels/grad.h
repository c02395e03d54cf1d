/* grad.h - what only training needs: products with weights that change, the backward pass of each operation, losses, AdamW. A
 * second table beside kernels.h, with its letters, its rules of memory and order, and its devices.
 *
 * Gradients. `dx` is the gradient of the loss by x. Where an operation adds to a gradient its formula says `+=`. Determinism. The
 * bits of a result depend on its inputs alone, never on the number of threads: a sum over rows (a weight's gradient) runs in the
 * order of the rows. They may depend on how many rows are computed together. */
#ifndef KERNELS_GRAD_H
#define KERNELS_GRAD_H

#include "kernels/kernels.h"

/* Weights (rows, cols) row by row in memory of the device, f32 or bf16: they change with every step, so nothing is laid out for
 * them in advance. */
struct grad_weights {
    const void *p;
    enum dtype dtype; /* DTYPE_F32, DTYPE_BF16 */
    int rows, cols;
};

/* A ragged batch: segment s has the rows [bound[s], bound[s + 1]), and no row sees a key of another segment. */
struct grad_segments {
    int n;
    const int32_t *bound; /* (n + 1), device memory; bound[0] = 0 */
};

/* What a row of scores is compared with: K ids and their probabilities, which sum to 1. */
struct grad_soft_labels {
    int k;
    const int32_t *ids; /* (n, k) distinct in a row; -1 = none */
    const float *probs; /* (n, k) */
};

struct adamw {
    float lr, beta1, beta2, eps;
    float weight_decay; /* decoupled: w -= lr * weight_decay * w before the step (Loshchilov, Hutter: "Decoupled weight decay
                           regularization", 2019) */
    int64_t step;       /* 1 for the first */
    float factor;       /* gradients are multiplied by it first: clipping */
};

struct grad_kernels {
    const char *name; /* that of the struct kernels whose devices it takes */

    /* x <- 0, count numbers. */
    void (*zero)(struct device *dev, float *x, size_t count);
    /* y <- x rounded to bf16. */
    void (*narrow)(struct device *dev, uint16_t *y, const float *x, size_t count);

    /* y (n, rows) = x (n, cols) @ W^T + b; b (rows) or NULL. */
    void (*linear)(struct device *dev, float *y, const float *x, int n, const struct grad_weights *w, const float *b);
    /* dx (n, cols) = dy (n, rows) @ W; with `add`, dx += it. */
    void (*linear_input)(struct device *dev, float *dx, const float *dy, int n, const struct grad_weights *w, bool add);
    /* dw (rows, cols) += dy^T @ x; db (rows) += the sum of dy's rows, or NULL. */
    void (*linear_weights)(struct device *dev, float *dw, float *db, const float *dy, const float *x, int n, int rows, int cols);

    /* y (n, d) = rows ids[r] of W; and back: dw[index[r]] += dx[r], index -1 = nowhere; an index may occur often. */
    void (*embed)(struct device *dev, float *y, const int32_t *ids, int n, const struct grad_weights *w);
    void (*scatter_add)(struct device *dev, float *dw, const float *dx, const int32_t *index, int n, int d);

    /* Of kernels.h's rms_norm with rows d apart: dx += and dw (d) +=; NULL: not wanted. */
    void (*rms_norm_backward)(struct device *dev, float *dx, float *dw, const float *dy, const float *x, int n, int d,
                              const float *weight, float offset, float eps);
    /* Of kernels.h's rms_norm_heads, x being what went in: dx, at first the gradient of what came out, becomes x's in place; rows
     * of both `stride` apart. dw (c) += or NULL. */
    void (*rms_norm_heads_backward)(struct device *dev, float *dx, float *dw, const float *x, int n, int heads, int c, int stride,
                                    const float *weight, float offset, float eps);
    /* Of kernels.h's attend_rows: dq, dk, dv = (not +=), rows `stride` apart like q, k, v. y (n, h * c) is its result. */
    void (*attend_rows_backward)(struct device *dev, float *dq, float *dk, float *dv, const float *dy, const float *y,
                                 const float *q, const float *k, const float *v, int n, int stride, const struct attention *a,
                                 const struct grad_segments *segments);
    /* Of the gates and activations of kernels.h: dx = (n, 2d) of a gate, count numbers of an activation. dx may be x, or dy. */
    void (*silu_gate_backward)(struct device *dev, float *dx, const float *dy, const float *x, int n, int d);
    void (*gelu_tanh_gate_backward)(struct device *dev, float *dx, const float *dy, const float *x, int n, int d);
    void (*gelu_erf_backward)(struct device *dev, float *dx, const float *dy, const float *x, size_t count);
    /* Of kernels.h's soft_cap, y being what came out: dx, at first y's gradient, becomes that of what went in. */
    void (*soft_cap_backward)(struct device *dev, float *dx, const float *y, float cap, size_t count);

    /* Losses. Scores x (n, d) become their gradients, times `scale`; loss (n) is that of each row, unscaled.
     * cross_entropy: -log softmax(x)[label]. The other two are against q = softmax of the first `common` columns, the sums over the
     * K ids: kl: sum p (log p - log q); tvd: (sum |p - q| + 1 - sum q) / 2. */
    void (*cross_entropy)(struct device *dev, float *loss, float *x, int n, int d, const int32_t *labels, float scale);
    void (*kl)(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale);
    void (*tvd)(struct device *dev, float *loss, float *x, int n, int d, int common, const struct grad_soft_labels *p, float scale);

    /* The sum of squares, in double precision; waits for what was called before. */
    double (*square_sum)(struct device *dev, const float *x, size_t count);
    /* One step of weights w with moments m and v by the gradients g, count numbers each. */
    void (*adamw)(struct device *dev, float *w, float *m, float *v, const float *g, size_t count, const struct adamw *options);

    /* A yardstick for the products: f32 multiply-adds from registers on all threads, some 10 to 40 ms of them. Returns the
     * operations done, a multiply-add counting two. */
    double (*multiply_adds)(struct device *dev);
};

const struct grad_kernels *grad_kernels_cpu(void);

#endif
