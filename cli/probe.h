/* probe.h - what this machine can do at best, measured: the yardstick that stands beside every figure of `massv bench` */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include "base/error.h"

struct probe {
    double read_gb_per_s;      /* sequential reads of memory beyond the caches, all threads; 1e9 bytes */
    double gflop_per_s;        /* f32 multiply-adds from registers, all threads; a multiply-add counts two */
    double bf16_gflop_per_s;   /* the same of the bf16 dot instruction; 0 where there is none */
    double linear_gflop_per_s; /* the one of the two that `linear` with bf16 weights is to be measured by */
};

struct probe_run; /* the probe's own threads and memory (512 MiB) */

/* threads and isa as in struct device_options. activations_f32 as there too: it decides linear_gflop_per_s. */
struct probe_run *probe_open(int threads, const char *isa, int activations_f32, struct error *err);
void probe_close(struct probe_run *run);

/* One round of every probe (some 150 ms); `best` keeps the largest of each, and starts as zeros. Call it between the parts of a
 * measurement, so that both see the same machine. */
void probe_sample(struct probe_run *run, struct probe *best);

/* Three rounds at once, for those who measure something short. */
int probe_measure(struct probe *probe, int threads, const char *isa, int activations_f32, struct error *err);

#endif
