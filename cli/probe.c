/* probe.c - measuring the machine */
#include "cli/probe.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/probe.h"
#include "kernels/kernels.h"

enum {
    READ_BYTES = 512 << 20,  /* far beyond any cache */
    FMA_ROUNDS = 1600 * 1000 /* of 12 multiply-adds: some 10 to 40 ms */
};

struct probe_run {
    const struct kernels *cpu;
    struct device *dev;
    float *memory;
};

struct probe_run *probe_open(int threads, const char *isa, int activations_f32, struct error *err)
{
    struct probe_run *run = mem_new(1, sizeof *run);
    struct device_options options = {.threads = threads, .isa = isa, .activations_f32 = activations_f32 != 0};
    run->cpu = kernels_cpu();
    run->dev = run->cpu->open(&options, err);
    if (!run->dev) {
        probe_close(run);
        return NULL;
    }
    run->memory = run->cpu->alloc(run->dev, READ_BYTES);
    if (!run->memory) {
        fail(err, "no memory for the %d MiB of the read probe", READ_BYTES >> 20);
        probe_close(run);
        return NULL;
    }
    memset(run->memory, 0, READ_BYTES);
    return run;
}

void probe_close(struct probe_run *run)
{
    if (!run)
        return;
    if (run->dev)
        run->cpu->free(run->dev, run->memory);
    run->cpu->close(run->dev);
    free(run);
}

static void keep_larger(double *best, double amount, double seconds)
{
    double rate = amount / seconds * 1e-9;
    *best = rate > *best ? rate : *best;
}

void probe_sample(struct probe_run *run, struct probe *best)
{
    volatile float sink; /* so that the loops have a result that somebody takes */
    float out;
    double start = clock_seconds(), done;
    probe_read(run->dev, run->memory, READ_BYTES / sizeof *run->memory, &out);
    sink = out;
    keep_larger(&best->read_gb_per_s, READ_BYTES, clock_seconds() - start);
    start = clock_seconds();
    done = probe_fma(run->dev, FMA_ROUNDS, &out);
    sink = out;
    keep_larger(&best->gflop_per_s, done, clock_seconds() - start);
    start = clock_seconds();
    done = probe_bf16_dot(run->dev, FMA_ROUNDS, &out);
    sink = out;
    keep_larger(&best->bf16_gflop_per_s, done, clock_seconds() - start);
    (void)sink;
    best->linear_gflop_per_s = probe_dot_used(run->dev) ? best->bf16_gflop_per_s : best->gflop_per_s;
}

int probe_measure(struct probe *probe, int threads, const char *isa, int activations_f32, struct error *err)
{
    struct probe_run *run = probe_open(threads, isa, activations_f32, err);
    if (!run)
        return -1;
    *probe = (struct probe){0};
    for (int round = 0; round < 3; round++)
        probe_sample(run, probe);
    probe_close(run);
    return 0;
}
