/* probe.c - the loops of simd_probe.h on all threads at once */
#include "kernels/cpu/probe.h"

#include "kernels/cpu/device.h"

enum { READ_ITEM = 1 << 18 }; /* floats, 1 MiB: an item of `linear` is about as long */

struct probe_task {
    const struct device *dev;
    const float *x;
    size_t count;
    long rounds;
    double (*loop)(long rounds, float *sink);
    double done; /* of one item */
};

static void read_item(void *arg, int item, int worker)
{
    const struct probe_task *task = arg;
    size_t first = (size_t)item * READ_ITEM;
    size_t count = task->count - first < READ_ITEM ? task->count - first : READ_ITEM;
    *device_worker(task->dev, worker) += task->dev->simd->probe_read(task->x + first, count);
}

static void loop_item(void *arg, int item, int worker)
{
    struct probe_task *task = arg;
    double done = task->loop(task->rounds, device_worker(task->dev, worker));
    if (item == 0)
        task->done = done;
}

void probe_read(struct device *dev, const float *x, size_t count, float *sink)
{
    struct probe_task task = {.dev = dev, .x = x, .count = count};
    device_reserve(dev, 16);
    device_run(dev, (int)((count + READ_ITEM - 1) / READ_ITEM), count, read_item, &task);
    *sink = *device_worker(dev, 0);
}

static double loop_run(struct device *dev, long rounds, double (*loop)(long rounds, float *sink), float *sink)
{
    struct probe_task task = {.dev = dev, .rounds = rounds / 16 + 1, .loop = loop};
    int items = 16 * dev->threads; /* so that no thread waits long for another */
    device_reserve(dev, 16);
    device_run(dev, items, SIZE_MAX, loop_item, &task);
    *sink = *device_worker(dev, 0);
    return task.done * items;
}

double probe_fma(struct device *dev, long rounds, float *sink)
{
    return loop_run(dev, rounds, dev->simd->probe_fma, sink);
}

double probe_bf16_dot(struct device *dev, long rounds, float *sink)
{
    return dev->simd->probe_bf16_dot ? loop_run(dev, rounds, dev->simd->probe_bf16_dot, sink) : 0.0;
}

bool probe_dot_used(const struct device *dev)
{
    return dev->bf16_dot;
}
