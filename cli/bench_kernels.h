/* bench_kernels.h - the operations that `massv bench kernels` measures: their inputs, one run, and a check of what it computed */
#ifndef CLI_BENCH_KERNELS_H
#define CLI_BENCH_KERNELS_H

#include "kernels/kernels.h"

enum { BENCH_COPIES = 8 };

/* An operation with its inputs, `copies` times where they would otherwise stay in a cache. */
struct bench_case {
    const char *operation;
    char shape[64];
    const struct kernels *cpu;
    struct device *dev;
    int rows, cols, copies;
    int n;              /* rows of the next run; bench_case_rows */
    double bytes, flop; /* of one run: memory that must be read, arithmetic */
    double tolerance;   /* of `check` */
    struct matrix *weights[BENCH_COPIES];
    struct kv_cache *kv;
    uint16_t *stored; /* (rows, cols) bf16: every copy of the weights */
    float *x, *y, *weight;
    int32_t *first, *last, *slot, *sequence, *pages;
    void (*set_rows)(struct bench_case *c);
    void (*run)(struct bench_case *c, int copy);
    double (*check)(const struct bench_case *c); /* largest error of the last run's y, relative to the sum of magnitudes */
};

/* -1 when memory is short. max_n: most rows. Close what was opened, and what failed to. */
int bench_linear(struct bench_case *c, struct device *dev, int rows, int cols, int max_n, struct error *err);
int bench_attend_cached(struct bench_case *c, struct device *dev, int positions, int max_n, struct error *err);
int bench_attend_rows(struct bench_case *c, struct device *dev, int max_n, struct error *err);
int bench_rms_norm(struct bench_case *c, struct device *dev, int d, int max_n, struct error *err);
void bench_case_close(struct bench_case *c);

/* How many rows the next runs have; sets bytes and flop. */
void bench_case_rows(struct bench_case *c, int n);

#endif
