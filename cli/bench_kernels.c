/* bench_kernels.c - massv bench kernels: each operation beside what the machine can do, and beside a check of what it computed.
 *
 * Times are the least of several runs, probes the best of several rounds taken between them: other work on the machine only adds
 * time, so both are nearest to the truth there. ratio = max(bytes / read bandwidth, flop / peak) / time: 1 is the machine's limit.
 */
#include "cli/bench_kernels.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/probe.h"

enum { KEY_THREADS = 256, KEY_ISA, KEY_JSON, KEY_QUICK, KEY_ACTIVATIONS };
enum { MOST_FIGURES = 64, LEAST_RUNS = 5 };

struct arguments {
    int threads;
    const char *isa;
    bool json, quick, activations_f32;
};

static const struct argp_option flags[] = {
    {"threads", KEY_THREADS, "T", 0, "compute threads (default: one per core)", 0},
    {"isa", KEY_ISA, "NAME", 0, "instruction set: generic, avx2, avx512 or avx512bf16 (default: the best one here)", 0},
    {"activations", KEY_ACTIVATIONS, "auto|f32", 0, "f32: never round activations to bf16", 0},
    {"quick", KEY_QUICK, 0, 0, "fewer shapes, some seconds", 0},
    {"json", KEY_JSON, 0, 0, "one JSON object instead of a table", 0},
    {0}};

static const char doc[] = "massv bench kernels - measure the arithmetic of this machine's CPU\v"
                          "Every figure stands beside its probe, taken in the same run: read bandwidth of memory, multiply-adds "
                          "from registers. ratio is the least time that the probes allow over the time taken. error is the largest "
                          "deviation of what was computed from double precision.\n\n"
                          "Example:\n  massv bench kernels --quick --threads 2";

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_THREADS:
        a->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case KEY_ISA:
        a->isa = arg;
        return 0;
    case KEY_ACTIVATIONS:
        a->activations_f32 = !strcmp(arg, "f32");
        if (!a->activations_f32 && strcmp(arg, "auto"))
            argp_error(state, "--activations %s: auto or f32 is wanted", arg);
        return 0;
    case KEY_QUICK:
        a->quick = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct figure {
    const char *operation;
    char shape[64];
    int n;
    double seconds, bytes, flop, error;
    bool right;
};

struct bench {
    struct arguments arguments;
    struct device *dev;
    struct probe_run *run;
    struct probe probe;
    int n_figures;
    struct figure figures[MOST_FIGURES];
};

/* The least time of one run, over at least LEAST_RUNS and some tenths of a second. */
static double case_time(const struct bench *b, struct bench_case *c)
{
    double least = 1e9, end = clock_seconds() + (b->arguments.quick ? 0.1 : 0.4);
    c->run(c, 0);
    for (int i = 0; i < LEAST_RUNS || clock_seconds() < end; i++) {
        double start = clock_seconds();
        c->run(c, i % c->copies);
        double took = clock_seconds() - start;
        least = took < least ? took : least;
    }
    return least;
}

static void case_measure(struct bench *b, struct bench_case *c, const int *counts)
{
    for (; *counts; counts++) {
        struct figure *f = &b->figures[b->n_figures++];
        bench_case_rows(c, *counts);
        probe_sample(b->run, &b->probe);
        *f = (struct figure){.operation = c->operation, .n = c->n, .bytes = c->bytes, .flop = c->flop};
        f->seconds = case_time(b, c);
        f->error = c->check(c);
        f->right = f->error <= c->tolerance;
        memcpy(f->shape, c->shape, sizeof f->shape);
    }
}

/* Measures a case whose opening returned `opened`, and closes it. */
static int case_finish(struct bench *b, struct bench_case *c, int opened, const int *counts)
{
    if (!opened)
        case_measure(b, c, counts);
    bench_case_close(c);
    return opened;
}

static int cases_run(struct bench *b, struct error *err)
{
    static const int all[] = {1, 2, 4, 6, 8, 16, 64, 512, 0}, few[] = {1, 6, 64, 0}, decode[] = {1, 6, 0};
    static const int patches[] = {1024, 0}, norm[] = {1, 512, 0};
    bool quick = b->arguments.quick;
    struct bench_case c;
    if (case_finish(b, &c, bench_linear(&c, b->dev, 4096, 4096, 512, err), quick ? few : all))
        return -1;
    if (!quick && case_finish(b, &c, bench_linear(&c, b->dev, 2048, 11008, 512, err), all))
        return -1;
    if (case_finish(b, &c, bench_attend_cached(&c, b->dev, quick ? 1024 : 4096, 6, err), decode))
        return -1;
    if (case_finish(b, &c, bench_attend_rows(&c, b->dev, patches[0], err), patches))
        return -1;
    return case_finish(b, &c, bench_rms_norm(&c, b->dev, 4096, 512, err), norm);
}

static double figure_peak(const struct bench *b, const struct figure *f)
{
    return strcmp(f->operation, "linear") ? b->probe.gflop_per_s : b->probe.linear_gflop_per_s;
}

static double figure_ratio(const struct bench *b, const struct figure *f)
{
    double memory = f->bytes * 1e-9 / b->probe.read_gb_per_s, arithmetic = f->flop * 1e-9 / figure_peak(b, f);
    return (memory > arithmetic ? memory : arithmetic) / f->seconds;
}

static void table_print(const struct bench *b)
{
    printf("%s: reads %.1f GB/s, multiply-adds %.1f GFLOP/s", kernels_cpu()->describe(b->dev), b->probe.read_gb_per_s,
           b->probe.gflop_per_s);
    if (b->probe.bf16_gflop_per_s > 0)
        printf(", bf16 dot %.1f GFLOP/s", b->probe.bf16_gflop_per_s);
    printf("\n%-14s %-38s %5s %9s %7s %8s %6s  %s\n", "operation", "shape", "n", "ms", "GB/s", "GFLOP/s", "ratio", "error");
    for (int i = 0; i < b->n_figures; i++) {
        const struct figure *f = &b->figures[i];
        printf("%-14s %-38s %5d %9.3f %7.1f %8.1f %6.2f  %.1e %s\n", f->operation, f->shape, f->n, f->seconds * 1e3,
               f->bytes / f->seconds * 1e-9, f->flop / f->seconds * 1e-9, figure_ratio(b, f), f->error,
               f->right ? "right" : "WRONG");
    }
}

static void json_print(const struct bench *b)
{
    json_t *rows = json_array();
    for (int i = 0; i < b->n_figures; i++) {
        const struct figure *f = &b->figures[i];
        json_array_append_new(rows, json_pack("{s:s s:s s:i s:f s:f s:f s:f s:f s:b}", "operation", f->operation, "shape", f->shape,
                                              "n", f->n, "ms", f->seconds * 1e3, "gb_per_s", f->bytes / f->seconds * 1e-9,
                                              "gflop_per_s", f->flop / f->seconds * 1e-9, "ratio", figure_ratio(b, f), "error",
                                              f->error, "right", f->right));
    }
    json_t *all = json_pack("{s:s s:{s:f s:f s:f} s:o}", "device", kernels_cpu()->describe(b->dev), "probe", "read_gb_per_s",
                            b->probe.read_gb_per_s, "gflop_per_s", b->probe.gflop_per_s, "bf16_gflop_per_s",
                            b->probe.bf16_gflop_per_s, "rows", rows);
    json_dumpf(all, stdout, JSON_REAL_PRECISION(6));
    printf("\n");
    json_decref(all);
}

static int bench_run(struct bench *b, struct error *err)
{
    const struct arguments *a = &b->arguments;
    struct device_options options = {.threads = a->threads, .isa = a->isa, .activations_f32 = a->activations_f32};
    b->run = probe_open(a->threads, a->isa, a->activations_f32, err);
    if (!b->run || !(b->dev = kernels_cpu()->open(&options, err)) || cases_run(b, err))
        return -1;
    probe_sample(b->run, &b->probe);
    if (a->json)
        json_print(b);
    else
        table_print(b);
    for (int i = 0; i < b->n_figures; i++)
        if (!b->figures[i].right)
            return fail(err, "%s with %d rows computed something else: error %g", b->figures[i].operation, b->figures[i].n,
                        b->figures[i].error);
    return 0;
}

int command_bench_kernels(struct comm *comm, int argc, char **argv)
{
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc};
    struct bench *b = mem_new(1, sizeof *b);
    struct error err;
    cli_parse(&argp, argc, argv, &b->arguments);
    int status = bench_run(b, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
    kernels_cpu()->close(b->dev);
    probe_close(b->run);
    free(b);
    return status;
}
