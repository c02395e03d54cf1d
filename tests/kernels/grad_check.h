/* grad_check.h - what the tests of training's kernels share: a device with one thread beside one with many, and derivatives by
 * central differences of a formula in double precision */
#ifndef TESTS_KERNELS_GRAD_CHECK_H
#define TESTS_KERNELS_GRAD_CHECK_H

#include "tests/kernels/kernel_check.h"

#include "kernels/cpu/device.h"
#include "kernels/grad.h"

/* A device with dev's instruction set and one thread: whose bits the others must have. */
static inline struct device *alone_open(const struct device *dev)
{
    struct error err;
    const struct device_options options = {.threads = 1, .activations_f32 = true, .isa = dev->simd->name};
    struct device *alone = kernels_cpu()->open(&options, &err);
    assert_non_null(alone);
    return alone;
}

static inline double *doubles_of(const float *x, size_t count)
{
    double *wide = malloc((count + 1) * sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = (double)x[i];
    return wide;
}

/* A number that depends on all of x. */
typedef double formula(const void *arg, const double *x);

/* d formula / d x[i]: error about step^2 + 1e-16 / step of the formula's size, some 1e-10. */
static inline double derivative(formula *f, const void *arg, double *x, size_t i)
{
    const double step = 1e-5;
    double before = x[i], up, down;
    x[i] = before + step;
    up = f(arg, x);
    x[i] = before - step;
    down = f(arg, x);
    x[i] = before;
    return (up - down) / (2 * step);
}

#endif
