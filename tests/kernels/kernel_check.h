/* kernel_check.h - what the tests of the kernels share: a device per instruction set and thread count, inputs from fixed seeds, and
 * comparisons that say where they failed */
#ifndef TESTS_KERNELS_KERNEL_CHECK_H
#define TESTS_KERNELS_KERNEL_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"

#include "base/random.h"
#include "kernels/kernels.h"

static const char *const check_sets[] = {"generic", "avx2", "avx512", "avx512bf16"};

enum { CHECK_SETS = 4, CHECK_THREADS = 3 };

/* Runs test(device) on every instruction set that this CPU has, with 1, 2 and 3 threads; names those it lacks. activations_f32: as
 * in device_options. */
static inline void check_devices_with(bool activations_f32, void (*test)(struct device *dev))
{
    const struct kernels *cpu = kernels_cpu();
    for (int set = 0; set < CHECK_SETS; set++)
        for (int threads = 1; threads <= CHECK_THREADS; threads++) {
            struct error err;
            struct device_options options = {.threads = threads, .activations_f32 = activations_f32, .isa = check_sets[set]};
            struct device *dev = cpu->open(&options, &err);
            if (!dev) {
                print_message("skipped on %s: %s\n", check_sets[set], err.text);
                break;
            }
            test(dev);
            cpu->close(dev);
        }
}

static inline void check_devices(void (*test)(struct device *dev))
{
    check_devices_with(true, test);
}

/* Uniform in [-1, 1), from a seed. */
static inline float check_number(uint64_t seed, size_t i)
{
    uint32_t bits[4];
    random_bits(bits, seed, 0, i / 4);
    return 2.0f * random_unit(bits[i % 4]) - 1.0f;
}

static inline float *check_numbers(struct device *dev, uint64_t seed, size_t count)
{
    float *x = kernels_cpu()->alloc(dev, count * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++)
        x[i] = check_number(seed, i);
    return x;
}

static inline float *check_room(struct device *dev, size_t count)
{
    float *x = kernels_cpu()->alloc(dev, count * sizeof *x);
    assert_non_null(x);
    memset(x, 0x7f, count * sizeof *x); /* large numbers: what is not written shows */
    return x;
}

#define check_failed(...)                                                                                                          \
    do {                                                                                                                           \
        print_error(__VA_ARGS__);                                                                                                  \
        print_error("\n");                                                                                                         \
        _fail(__FILE__, __LINE__);                                                                                                 \
    } while (0)

/* |x - expected| <= tolerance, or both NaN, or equal infinities. */
static inline void check_near(double x, double expected, double tolerance, const char *what, size_t i)
{
    if (!(fabs(x - expected) <= tolerance) && !(isnan(x) && isnan(expected)) && x != expected)
        check_failed("%s [%zu]: %.9g instead of %.9g, tolerance %.3g", what, i, x, expected, tolerance);
}

static inline void check_same(const float *x, const float *expected, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&x[i], &expected[i], sizeof *x))
            check_failed("%s [%zu]: bits differ, %.9g and %.9g", what, i, (double)x[i], (double)expected[i]);
}

#endif
