/* device.h - the CPU as a device: instruction set, threads, scratch memory */
#ifndef KERNELS_CPU_DEVICE_H
#define KERNELS_CPU_DEVICE_H

#include "kernels/cpu/pool.h"
#include "kernels/cpu/simd.h"
#include "kernels/kernels.h"

/* Buffers that live as long as the device and grow to the largest use; each is used by one operation at a time. */
enum scratch { SCRATCH_ROWS, SCRATCH_PLAN, SCRATCH_COUNT };

struct device {
    const struct simd *simd;
    bool bf16_dot; /* bf16 weights meet activations rounded to bf16 */
    bool activations_f32;
    int threads;
    struct pool *pool; /* NULL with one thread */
    struct {
        void *memory;
        size_t bytes;
    } scratch[SCRATCH_COUNT];
    float *worker_scratch; /* (threads, worker_floats) */
    size_t worker_floats;
    char text[64];
};

struct device *device_open(const struct device_options *options, struct error *err);
void device_close(struct device *dev);
const char *device_describe(const struct device *dev);
bool device_activations_f32(const struct device *dev);

void *device_alloc(struct device *dev, size_t bytes);
void device_free(struct device *dev, void *p);
void device_copy(struct device *dev, void *dst, const void *src, size_t bytes);

/* At least `bytes`, 64-byte aligned, contents undefined; the process ends when there is no memory. */
void *device_scratch(struct device *dev, enum scratch which, size_t bytes);
/* Makes every worker's own scratch at least `floats` long; worker w's starts at device_worker(dev, w). */
void device_reserve(struct device *dev, size_t floats);
float *device_worker(const struct device *dev, int worker);

/* Runs task(arg, i, worker) for all i < items over the threads, or here if `work` (numbers read or written, roughly) is too little
 * to be worth waking them. */
void device_run(struct device *dev, int items, size_t work, pool_task *task, void *arg);

#endif
