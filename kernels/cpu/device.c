/* device.c - opening the CPU: which instruction set, how many threads */
#include "kernels/cpu/device.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "base/memory.h"

enum {
    HUGE_PAGE = 2 << 20,
    MAX_THREADS = 1024,
    WORK_ALONE = 16384, /* numbers; some microseconds, as long as waking a thread takes */
};

static bool has_generic(void)
{
    return true;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* From the least to the best. */
static const struct {
    const struct simd *simd;
    bool (*present)(void);
} sets[] = {
    {&simd_generic, has_generic},
    {&simd_avx2, has_avx2},
    {&simd_avx512, has_avx512},
    {&simd_avx512bf16, has_avx512bf16},
};

enum { SETS = sizeof sets / sizeof *sets };

/* The set named, or the best one; NULL when it is unknown or this CPU lacks it. */
static const struct simd *set_choose(const char *name, struct error *err)
{
    const struct simd *best = NULL;
    char possible[128] = "";
    for (int i = 0; i < SETS; i++) {
        if (!sets[i].present())
            continue;
        best = sets[i].simd;
        if (name && !strcmp(name, best->name))
            return best;
        size_t used = strlen(possible);
        snprintf(possible + used, sizeof possible - used, "%s%s", used ? ", " : "", best->name);
    }
    if (name && *name) {
        fail(err, "instruction set '%s' (option isa or environment variable MASSV_ISA): this CPU can run %s", name, possible);
        return NULL;
    }
    return best;
}

/* The cores that this process may use. */
static int cores_usable(void)
{
    cpu_set_t *set = mem_new(1, sizeof *set);
    int cores = sched_getaffinity(0, sizeof *set, set) ? 1 : CPU_COUNT(set);
    free(set);
    return cores < 1 ? 1 : cores;
}

struct device *device_open(const struct device_options *options, struct error *err)
{
    const char *name = options->isa ? options->isa : getenv("MASSV_ISA");
    const struct simd *simd = set_choose(name, err);
    if (!simd)
        return NULL;
    if (options->threads < 0 || options->threads > MAX_THREADS) {
        fail(err, "threads %d: must be 0 (one per core) to %d", options->threads, MAX_THREADS);
        return NULL;
    }
    struct device *dev = mem_new(1, sizeof *dev);
    dev->simd = simd;
    dev->bf16_dot = simd->probe_bf16_dot && !options->activations_f32;
    dev->activations_f32 = options->activations_f32;
    dev->threads = options->threads ? options->threads : cores_usable();
    if (dev->threads > 1 && !(dev->pool = pool_open(dev->threads))) {
        fail(err, "threads %d: the system refuses to start them; fewer may do", dev->threads);
        device_close(dev);
        return NULL;
    }
    snprintf(dev->text, sizeof dev->text, "cpu %s, %d thread%s", simd->name, dev->threads, dev->threads == 1 ? "" : "s");
    return dev;
}

void device_close(struct device *dev)
{
    if (!dev)
        return;
    pool_close(dev->pool);
    for (int i = 0; i < SCRATCH_COUNT; i++)
        free(dev->scratch[i].memory);
    free(dev->worker_scratch);
    free(dev);
}

const char *device_describe(const struct device *dev)
{
    return dev->text;
}

bool device_activations_f32(const struct device *dev)
{
    return dev->activations_f32;
}

struct piece {
    char *memory;
    size_t bytes;
};

static void piece_touch(void *arg, int item, int worker)
{
    (void)worker;
    const struct piece *piece = arg;
    size_t at = (size_t)item * HUGE_PAGE, left = piece->bytes - at;
    mem_touch(piece->memory + at, left < HUGE_PAGE ? left : HUGE_PAGE);
}

/* One thread a huge page: when two meet in a new one, the system clears one for each of them and throws one away. */
static void device_touch(struct device *dev, void *p, size_t bytes)
{
    struct piece piece = {p, bytes};
    device_run(dev, (int)((bytes + HUGE_PAGE - 1) / HUGE_PAGE), bytes, piece_touch, &piece);
}

/* Large pieces lie on huge pages: weights are read from end to end, and small pages cost a tenth of that. What is left after the
 * last whole one stays on small pages, or every matrix of a thin shard would hold a megabyte that nobody uses. */
void *device_alloc(struct device *dev, size_t bytes)
{
    bool huge = bytes >= 2 * (size_t)HUGE_PAGE;
    void *p = NULL;
    if (bytes > PTRDIFF_MAX - HUGE_PAGE || posix_memalign(&p, huge ? HUGE_PAGE : 64, bytes ? bytes : 64))
        return NULL;
    if (huge)
        madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    device_touch(dev, p, bytes);
    return p;
}

void device_free(struct device *dev, void *p)
{
    (void)dev;
    free(p);
}

void device_copy(struct device *dev, void *dst, const void *src, size_t bytes)
{
    (void)dev;
    if (bytes)
        memcpy(dst, src, bytes);
}

void *device_scratch(struct device *dev, enum scratch which, size_t bytes)
{
    if (dev->scratch[which].bytes < bytes) {
        free(dev->scratch[which].memory);
        dev->scratch[which].memory = device_alloc(dev, bytes);
        DEVICE_CHECK(dev->scratch[which].memory, "%s: no memory for %zu bytes of scratch", dev->text, bytes);
        dev->scratch[which].bytes = bytes;
    }
    return dev->scratch[which].memory;
}

void device_reserve(struct device *dev, size_t floats)
{
    floats = (floats + 1023) / 1024 * 1024;
    if (dev->worker_floats >= floats)
        return;
    free(dev->worker_scratch);
    size_t bytes = (size_t)dev->threads * floats * sizeof *dev->worker_scratch;
    dev->worker_scratch = device_alloc(dev, bytes);
    DEVICE_CHECK(dev->worker_scratch, "%s: no memory for %zu bytes of scratch", dev->text, bytes);
    dev->worker_floats = floats;
}

float *device_worker(const struct device *dev, int worker)
{
    return dev->worker_scratch + (size_t)worker * dev->worker_floats;
}

void device_run(struct device *dev, int items, size_t work, pool_task *task, void *arg)
{
    if (dev->pool && items > 1 && work >= WORK_ALONE)
        pool_run(dev->pool, items, task, arg);
    else
        for (int i = 0; i < items; i++)
            task(arg, i, 0);
}
