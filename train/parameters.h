/* parameters.h - the numbers that training changes, and those that stay: one list, a few pieces of device memory.
 *
 * Trained parameters stand first in the list and in memory, so that their gradients and moments are pieces of the same layout.
 * Parameters that `follow` another begin where it ends: queries, keys and values are one matrix to the products. */
#ifndef TRAIN_PARAMETERS_H
#define TRAIN_PARAMETERS_H

#include "kernels/grad.h"
#include "model/safetensors.h"

enum parameter_fresh { FRESH_NORMAL, FRESH_ZERO, FRESH_ONE };

struct parameter {
    char name[192]; /* as published */
    int dims;
    int64_t shape[2];
    size_t count;
    enum parameter_fresh fresh;
    bool follows, trained;
    bool has_value, has_copy; /* f32; rounded to bf16 */
    size_t value_at, copy_at;
};

struct parameters {
    const struct kernels *k;
    const struct grad_kernels *g;
    struct device *dev;
    struct parameter *list;
    int n, room;
    size_t floats, trained_floats, copies;
    float *values;                        /* (floats) */
    float *gradients, *moment1, *moment2; /* (trained_floats) */
    uint16_t *rounded;                    /* (copies) */
};

/* Appends one; rows 0 = a vector. Returns its index. */
int parameters_add(struct parameters *p, const char *name, int rows, int cols, enum parameter_fresh fresh, bool follows);

/* The first `trained` of the list are trained; dtype: of matrices as products read them. Memory for all; gradients and moments are
 * zero. parameters_free is due whatever comes back. */
int parameters_place(struct parameters *p, int trained, enum dtype dtype, struct error *err);
void parameters_free(struct parameters *p);

/* Values of parameter i: from a tensor of st, or fresh. */
int parameters_load(struct parameters *p, int i, struct safetensors *st, const char *tensor, struct error *err);
void parameters_fresh(struct parameters *p, int i, uint64_t seed);

/* What operations take. weights: `count` parameters from i on, below each other. vector and gradient are NULL for i < 0, gradient
 * also where i is not trained. */
struct grad_weights parameters_weights(const struct parameters *p, int i, int count);
float *parameters_vector(const struct parameters *p, int i);
float *parameters_gradient(const struct parameters *p, int i);

/* Numbers [first, first + n) of parameter i to and from host memory, as f32. */
void parameters_read(const struct parameters *p, int i, size_t first, size_t n, float *host);
void parameters_write(struct parameters *p, int i, size_t first, size_t n, const float *host);
/* Renews the rounded copies of what is trained. */
void parameters_round(struct parameters *p);

#endif
