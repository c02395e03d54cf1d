/* bench_collectives.c - massv bench collectives: what the ranks of a group say to each other, beside a plain connection between two
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/socket_probe.h"

enum { ROUNDS = 10, REPEATS = 20, REPEATED_BYTES = 1 << 20, RANKS_DEFAULT = 2 };
static const double ROUNDS_SECONDS = 10; /* after which no further round begins */
enum { KEY_RANKS = 256, KEY_HOSTS, KEY_JSON };

/* A row of a 7B model is 14 KB, a chunk of 512 prompt rows 7 MB. */
static const size_t sizes[] = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 8 << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

struct arguments {
    int ranks;
    const char *hosts;
    bool json;
};

static const struct argp_option flags[] = {{"ranks", KEY_RANKS, "N", 0, "ranks, started by mpirun; default 2", 0},
                                           {"hosts", KEY_HOSTS, "h1:1,h2:1", 0, "where they run; default: this machine", 0},
                                           {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
                                           {0}};

static const char doc[] =
    "massv bench collectives - measure what ranks say to each other\v"
    "Bytes: of the vector that all ranks have in the end. alg GB/s: bytes / time. bus GB/s: what a rank must send at least / time. "
    "socket ratio: the time over that of so many bytes on a plain TCP connection between the first rank and the last, measured in "
    "the same run; ranks of one machine share memory and may be below 1. wrong: values that are not what they should be.\n\n"
    "Example:\n  massv bench collectives --ranks 2";

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case KEY_RANKS:
        a->ranks = flag_number(state, "--ranks", arg, 2, CLI_RANKS);
        return 0;
    case KEY_HOSTS:
        a->hosts = arg;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the calls: x (count) is this rank's vector, all (count) the whole one ---- */

static void run_all_reduce(struct comm *comm, float *x, float *all, size_t count)
{
    (void)all;
    comm->calls->all_reduce_sum(comm, x, count);
}

static void run_all_gather(struct comm *comm, float *x, float *all, size_t count)
{
    comm->calls->all_gather(comm, all, x, count / (size_t)comm->size * sizeof *x);
}

static void run_broadcast(struct comm *comm, float *x, float *all, size_t count)
{
    (void)all;
    comm->calls->broadcast(comm, x, count * sizeof *x, 0);
}

static float value(int rank, size_t i)
{
    return (float)((i * 7 + (size_t)rank * 13) % 97); /* small whole numbers: every sum of them is exact */
}

static float right_all_reduce(const struct comm *comm, size_t count, size_t i)
{
    float sum = 0;
    (void)count;
    for (int r = 0; r < comm->size; r++)
        sum += value(r, i);
    return sum;
}

static float right_all_gather(const struct comm *comm, size_t count, size_t i)
{
    size_t part = count / (size_t)comm->size;
    return value((int)(i / part), i % part);
}

static float right_broadcast(const struct comm *comm, size_t count, size_t i)
{
    (void)comm;
    (void)count;
    return value(0, i);
}

static const struct collective {
    const char *name;
    void (*run)(struct comm *comm, float *x, float *all, size_t count);
    float (*right)(const struct comm *comm, size_t count, size_t i);
    bool whole_elsewhere; /* the result is in all, not in x */
    int passes;           /* over the bus of all but a rank's own part; 0: of the whole, once */
} collectives[] = {
    {"all_reduce_sum", run_all_reduce, right_all_reduce, false, 2},
    {"all_gather", run_all_gather, right_all_gather, true, 1},
    {"broadcast", run_broadcast, right_broadcast, false, 0},
};
enum { COLLECTIVES = sizeof collectives / sizeof *collectives, CASES = COLLECTIVES * SIZES };

/* ---- what is measured ---- */

struct row {
    size_t bytes;
    double seconds; /* of one call, on the rank that takes longest; the best of all rounds */
    long wrong;     /* values, over all ranks */
};

struct bench {
    struct comm *comm;
    float *x, *all;
    struct row rows[CASES];
    struct socket_probe probe;
};

/* Whole parts of whole floats. */
static size_t row_count(const struct bench *b, int i)
{
    size_t ranks = (size_t)b->comm->size, count = sizes[i % SIZES] / sizeof(float);
    return count < ranks ? ranks : count - count % ranks;
}

static void row_check(struct bench *b, const struct collective *c, struct row *row, size_t count)
{
    const float *result = c->whole_elsewhere ? b->all : b->x;
    long own = 0, *all = mem_new((size_t)b->comm->size, sizeof *all);
    for (size_t i = 0; i < count; i++)
        own += result[i] != c->right(b->comm, count, i);
    b->comm->calls->all_gather(b->comm, all, &own, sizeof own);
    for (int r = 0; r < b->comm->size; r++)
        row->wrong += all[r];
    free(all);
}

static void row_time(struct bench *b, const struct collective *c, struct row *row, size_t count)
{
    size_t repeats = row->bytes * REPEATS < REPEATED_BYTES ? REPEATS : 1 + REPEATED_BYTES / row->bytes;
    double own, slowest = 0, *all = mem_new((size_t)b->comm->size, sizeof *all);
    b->comm->calls->barrier(b->comm);
    double begin = clock_seconds();
    for (size_t i = 0; i < repeats; i++)
        c->run(b->comm, b->x, b->all, count);
    own = (clock_seconds() - begin) / (double)repeats;
    b->comm->calls->all_gather(b->comm, all, &own, sizeof own);
    for (int r = 0; r < b->comm->size; r++)
        slowest = all[r] > slowest ? all[r] : slowest;
    if (row->seconds <= 0 || slowest < row->seconds)
        row->seconds = slowest;
    free(all);
}

static void row_run(struct bench *b, int i)
{
    const struct collective *c = &collectives[i / SIZES];
    struct row *row = &b->rows[i];
    size_t count = row_count(b, i);
    row->bytes = count * sizeof(float);
    for (size_t k = 0; k < count; k++)
        b->x[k] = value(b->comm->rank, k);
    c->run(b->comm, b->x, b->all, count);
    row_check(b, c, row, count);
    row_time(b, c, row, count);
}

/* Rank 0 looks at the clock for all. */
static bool time_left(struct bench *b, double begin)
{
    char left = clock_seconds() - begin < ROUNDS_SECONDS;
    b->comm->calls->broadcast(b->comm, &left, sizeof left, 0);
    return left;
}

static int bench_run(struct bench *b, struct error *err)
{
    struct socket_line *line = NULL;
    size_t most = sizes[SIZES - 1] / sizeof(float) + (size_t)b->comm->size;
    b->x = mem_new(most, sizeof *b->x);
    b->all = mem_new(most, sizeof *b->all);
    int status = socket_line_open(&line, b->comm, err);
    double begin = clock_seconds();
    for (int round = 0; !status && round < ROUNDS && (!round || time_left(b, begin)); round++)
        for (int i = 0; !status && i < CASES; i++) {
            status = i % SIZES ? 0 : socket_line_sample(line, &b->probe, err);
            if (!status)
                row_run(b, i);
        }
    socket_line_close(line);
    free(b->x);
    free(b->all);
    return status;
}

/* ---- what is said ---- */

static double bus_bytes(const struct bench *b, int i)
{
    double all = (double)b->rows[i].bytes, n = b->comm->size;
    int passes = collectives[i / SIZES].passes;
    return passes ? all * passes * (n - 1) / n : all;
}

static double socket_ratio(const struct bench *b, int i)
{
    return b->rows[i].seconds / (b->probe.seconds + bus_bytes(b, i) / b->probe.bytes_per_second);
}

static void print_json(const struct bench *b)
{
    json_t *rows = json_array();
    for (int i = 0; i < CASES; i++) {
        const struct row *row = &b->rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:I}", "call", collectives[i / SIZES].name, "bytes",
                                              (json_int_t)row->bytes, "us", 1e6 * row->seconds, "alg_gb_per_s",
                                              (double)row->bytes / row->seconds / 1e9, "bus_gb_per_s",
                                              bus_bytes(b, i) / row->seconds / 1e9, "socket_ratio", socket_ratio(b, i), "wrong",
                                              (json_int_t)row->wrong));
    }
    json_t *root = json_pack("{s:i, s:{s:f, s:f}, s:o}", "ranks", b->comm->size, "probe", "socket_us", 1e6 * b->probe.seconds,
                             "socket_gb_per_s", b->probe.bytes_per_second / 1e9, "rows", rows);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

static void print_table(const struct bench *b)
{
    printf("%d ranks; probe: a connection between the first and the last takes %.1f us, and %.2f GB/s\n", b->comm->size,
           1e6 * b->probe.seconds, b->probe.bytes_per_second / 1e9);
    printf("%-14s %9s %10s %9s %9s %13s %6s\n", "call", "bytes", "us", "alg GB/s", "bus GB/s", "socket ratio", "wrong");
    for (int i = 0; i < CASES; i++) {
        const struct row *row = &b->rows[i];
        printf("%-14s %9zu %10.1f %9.2f %9.2f %13.2f %6ld\n", collectives[i / SIZES].name, row->bytes, 1e6 * row->seconds,
               (double)row->bytes / row->seconds / 1e9, bus_bytes(b, i) / row->seconds / 1e9, socket_ratio(b, i), row->wrong);
    }
}

static int wrong_find(const struct bench *b, struct error *err)
{
    for (int i = 0; i < CASES; i++)
        if (b->rows[i].wrong)
            return fail(err, "%s of %zu bytes gave %ld wrong values", collectives[i / SIZES].name, b->rows[i].bytes,
                        b->rows[i].wrong);
    return 0;
}

int command_bench_collectives(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.ranks = RANKS_DEFAULT};
    struct error err;
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc};
    cli_parse(&argp, argc, argv, &a);
    if (!cli_under_mpi(comm))
        return cli_on_ranks(a.ranks, a.hosts, argc, argv);
    if (a.ranks != comm->size) {
        fail(&err, "--ranks %d, but mpirun started %d", a.ranks, comm->size);
        return cli_failed(comm, argv[0], &err);
    }
    struct bench *b = mem_new(1, sizeof *b);
    b->comm = comm;
    int status = bench_run(b, &err);
    if (!status && comm->rank == 0) {
        if (a.json)
            print_json(b);
        else
            print_table(b);
    }
    status = status || wrong_find(b, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
    free(b);
    return status;
}
