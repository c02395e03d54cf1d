/* bench_step.c - massv bench step: how near one step of a language model comes to what this machine's memory and arithmetic allow.
 * Weights are random, in the shapes of a published model; layers are left out so that a large model fits (all are alike). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/probe.h"
#include "model/family.h"
#include "model/model.h"
#include "model/shard.h"

enum { KEY_SHAPE = 256, KEY_LAYERS, KEY_RANKS, KEY_RANKS_OF, KEY_WEIGHTS, KEY_THREADS, KEY_ACTIVATIONS, KEY_JSON };

enum {
    CONTEXT = 16,        /* positions before the measured rows */
    PROMPT_ROWS = 512,   /* the step that is measured for prompts */
    ROUNDS = 5,          /* of the generated rows */
    ROUNDS_SECONDS = 25, /* after these no new round begins */
    PROMPT_ROUNDS = 2,   /* of the prompt rows, which take seconds */
    WEIGHT_MIB = 1024,   /* weights by default: beyond every cache, and done within a minute on two cores */
};

/* What Gemma3's shapes share. */
#define GEMMA .vocabulary = 262208, .window = 1024, .local_theta = 1e4f, .rope_factor = 8
enum { GEMMA_PATTERN = 6 }; /* every sixth layer is global */

static const struct shape {
    const char *name, *model_type;
    struct model_config config;
} shapes[] = {
    {"qwen2.5-vl-3b", "qwen2", {.layers = 36, .d = 2048, .h = 16, .g = 2, .c = 128, .ff = 11008, .vocabulary = 151936}},
    {"qwen2.5-vl-7b", "qwen2", {.layers = 28, .d = 3584, .h = 28, .g = 4, .c = 128, .ff = 18944, .vocabulary = 152064}},
    {"qwen2.5-vl-32b", "qwen2", {.layers = 64, .d = 5120, .h = 40, .g = 8, .c = 128, .ff = 27648, .vocabulary = 152064}},
    {"qwen2.5-vl-72b", "qwen2", {.layers = 80, .d = 8192, .h = 64, .g = 8, .c = 128, .ff = 29568, .vocabulary = 152064}},
    {"gemma3-4b", "gemma3_text", {.layers = 34, .d = 2560, .h = 8, .g = 4, .c = 256, .ff = 10240, .query_scalar = 256, GEMMA}},
    {"gemma3-12b", "gemma3_text", {.layers = 48, .d = 3840, .h = 16, .g = 8, .c = 256, .ff = 15360, .query_scalar = 256, GEMMA}},
    {"gemma3-27b", "gemma3_text", {.layers = 62, .d = 5376, .h = 32, .g = 16, .c = 128, .ff = 21504, .query_scalar = 168, GEMMA}},
    {"scenes-large", "qwen2", {.layers = 8, .d = 256, .h = 8, .g = 4, .c = 32, .ff = 704, .vocabulary = 704}},
};

struct arguments {
    const struct shape *shape;
    int layers, ranks, ranks_of, threads;
    enum dtype weights;
    bool activations_f32, json;
};

static const struct argp_option flags[] = {
    {"shape", KEY_SHAPE, "NAME", 0,
     "qwen2.5-vl-3b, qwen2.5-vl-7b, qwen2.5-vl-32b, qwen2.5-vl-72b, gemma3-4b, gemma3-12b, gemma3-27b or scenes-large", 0},
    {"layers", KEY_LAYERS, "L", 0, "run L layers; default: what fits into about a gigabyte, at least one", 0},
    {"ranks", KEY_RANKS, "N", 0, "measure the sharded step on N ranks, started by mpirun; default 1", 0},
    {"ranks-of", KEY_RANKS_OF, "N", 0, "measure one rank's shard of N alone, without the sums over ranks", 0},
    {"weights", KEY_WEIGHTS, "bf16|f16|f32", 0, "format of the weights; default bf16", 0},
    {"threads", KEY_THREADS, "T", 0, "compute threads per rank; default: cores / ranks", 0},
    {"activations", KEY_ACTIVATIONS, "auto|f32", 0, "auto: round activations to bf16 where the processor multiplies bf16 (default)",
     0},
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {0}};

static const char doc[] = "massv bench step - measure steps of a language model beside what the machine can do\v"
                          "Rows: n generated rows (a verification of n - 1 drafts), and 512 prompt rows. roofline_ratio is the "
                          "step's time over the larger of "
                          "weight bytes / read bandwidth and operations / arithmetic peak, both measured in the same run.\n\n"
                          "Example:\n  massv bench step --shape qwen2.5-vl-7b --ranks-of 4 --json";

static int choice(const struct argp_state *state, const char *flag, const char *arg, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (!strcasecmp(arg, names[i]))
            return i;
    argp_error(state, "%s %s: it is none of those that --help lists", flag, arg);
    exit(CLI_USAGE); /* argp_error may return under ARGP_NO_EXIT only */
}

static void shape_choose(const struct argp_state *state, const char *arg, struct arguments *a)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, arg))
            a->shape = &shapes[i];
    if (!a->shape)
        argp_error(state, "--shape %s: it is none of those that --help lists", arg);
}

static void arguments_check(const struct argp_state *state, const struct arguments *a)
{
    if (!a->shape)
        argp_error(state, "--shape is missing");
    else if (a->layers > a->shape->config.layers)
        argp_error(state, "--layers %d: %s has %d", a->layers, a->shape->name, a->shape->config.layers);
    if (a->ranks_of > 1 && a->ranks > 1)
        argp_error(state, "--ranks-of measures one rank alone: it does not go with --ranks");
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    static const char *const dtypes[] = {"f32", "f16", "bf16", NULL}; /* in the order of enum dtype */
    static const char *const activations[] = {"auto", "f32", NULL};
    struct arguments *a = state->input;
    switch (key) {
    case KEY_SHAPE:
        shape_choose(state, arg, a);
        return 0;
    case KEY_LAYERS:
        a->layers = flag_number(state, "--layers", arg, 1, 1000);
        return 0;
    case KEY_RANKS:
        a->ranks = flag_number(state, "--ranks", arg, 1, CLI_RANKS);
        return 0;
    case KEY_RANKS_OF:
        a->ranks_of = flag_number(state, "--ranks-of", arg, 1, CLI_RANKS);
        return 0;
    case KEY_WEIGHTS:
        a->weights = (enum dtype)choice(state, "--weights", arg, dtypes);
        return 0;
    case KEY_THREADS:
        a->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case KEY_ACTIVATIONS:
        a->activations_f32 = choice(state, "--activations", arg, activations) == 1;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    case ARGP_KEY_END:
        arguments_check(state, a);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what is measured ---- */

static const int row_counts[] = {1, 2, 4, 6, 8, PROMPT_ROWS};
enum { CASES = sizeof row_counts / sizeof *row_counts };

struct bench {
    struct comm *comm;
    struct model_config config; /* of what this run opens: a shard of --ranks-of is a smaller model of its own */
    struct shard shard;
    enum dtype weights;
    struct model *model;
    struct probe_run *probes;
    struct probe probe; /* the best of all samples */
    double seconds[CASES];
    int32_t ids[CONTEXT + PROMPT_ROWS];
    int32_t positions[CONTEXT + PROMPT_ROWS][3];
};

/* The head is the embedding table here: a step reads a few rows of that table, so a second one would only take memory. */
static int bench_config(struct bench *b, const struct arguments *a, struct error *err)
{
    struct model_config *c = &b->config;
    struct shard part;
    *c = a->shape->config;
    snprintf(c->name, sizeof c->name, "%s", a->shape->name);
    c->family = family_find(a->shape->model_type);
    c->tied = true;
    c->norm_eps = 1e-6f;
    c->rope_theta = 1e6f;
    for (int i = 0; c->window && i < c->layers; i++)
        c->local[i] = (i + 1) % GEMMA_PATTERN != 0;
    if (shard_plan(&part, c, 0, a->ranks_of, err))
        return -1;
    c->h = part.h;
    c->g = part.g;
    c->ff = part.ff;
    c->vocabulary = part.rows;
    if (shard_plan(&b->shard, c, b->comm->rank, b->comm->size, err))
        return -1;
    int64_t size = (int64_t)dtype_size(a->weights), layer = shard_layer_elements(&b->shard, c) * size;
    int64_t room = ((int64_t)WEIGHT_MIB << 20) - (int64_t)b->shard.rows * c->d * size, fit = room < layer ? 1 : room / layer;
    c->layers = a->layers ? a->layers : fit < c->layers ? (int)fit : c->layers;
    return 0;
}

static int64_t weight_bytes(const struct bench *b)
{
    int64_t head = (int64_t)b->shard.rows * b->config.d;
    return (b->config.layers * shard_layer_elements(&b->shard, &b->config) + head) * (int64_t)dtype_size(b->weights);
}

/* Two per matrix element and row. Of a prompt only the last row meets the head. */
static double flop(const struct bench *b, int rows)
{
    double head = (double)b->shard.rows * b->config.d * (rows == PROMPT_ROWS ? 1 : rows);
    return 2 * ((double)b->config.layers * (double)shard_layer_elements(&b->shard, &b->config) * rows + head);
}

static int step_run(struct bench *b, struct sequence *sequence, int first, int n, bool generated, struct error *err)
{
    int32_t best[8];
    const struct span span = {.sequence = sequence,
                              .n = n,
                              .ids = b->ids + first,
                              .positions = (const int32_t(*)[3])(b->positions + first),
                              .generated = generated,
                              .n_scored = generated ? n : 1,
                              .repetition_penalty = 1};
    if (model_extend(b->model, &span, 1, err))
        return -1;
    model_best(b->model, best);
    return 0;
}

/* One timed step; the best of all rounds counts, as the probes keep their best. */
static int case_run(struct bench *b, int i, struct error *err)
{
    bool generated = row_counts[i] != PROMPT_ROWS;
    int first = generated ? CONTEXT : 0;
    struct sequence *sequence = sequence_new(b->model);
    int status = generated ? step_run(b, sequence, 0, CONTEXT, false, err) : 0;
    b->comm->calls->barrier(b->comm);
    double begin = clock_seconds();
    if (!status)
        status = step_run(b, sequence, first, row_counts[i], generated, err);
    double seconds = clock_seconds() - begin;
    if (!b->seconds[i] || seconds < b->seconds[i])
        b->seconds[i] = seconds;
    sequence_release(b->model, sequence);
    return status;
}

/* Rank 0 looks at the clock for all. */
static bool time_left(struct bench *b, double begin)
{
    char left = clock_seconds() - begin < ROUNDS_SECONDS;
    b->comm->calls->broadcast(b->comm, &left, sizeof left, 0);
    return left;
}

/* Every rank probes at the same time: ranks of one machine share its memory in the step, too. */
static int rounds_run(struct bench *b, struct error *err)
{
    double begin = clock_seconds();
    for (int round = 0; round < ROUNDS && (!round || time_left(b, begin)); round++)
        for (int i = 0; i < CASES; i++) {
            b->comm->calls->barrier(b->comm);
            probe_sample(b->probes, &b->probe);
            if ((row_counts[i] != PROMPT_ROWS || round < PROMPT_ROUNDS) && case_run(b, i, err))
                return -1;
        }
    return 0;
}

static int bench_run(struct bench *b, const struct arguments *a, struct error *err)
{
    const struct kernels *k = kernels_cpu();
    const struct device_options device = {.threads = cli_threads(a->threads, b->comm->size), .activations_f32 = a->activations_f32};
    struct model_options options = {.kernels = k,
                                    .comm = b->comm,
                                    .kv_positions = CONTEXT + PROMPT_ROWS,
                                    .max_rows = PROMPT_ROWS,
                                    .fill = "random",
                                    .fill_dtype = a->weights};
    for (int i = 0; i < CONTEXT + PROMPT_ROWS; i++) {
        b->ids[i] = i * 37 % b->config.vocabulary;
        b->positions[i][0] = i;
    }
    options.device = k->open(&device, err);
    if (!options.device)
        return -1;
    b->probes = probe_open(device.threads, NULL, a->activations_f32, err);
    int status = b->probes ? model_open(&b->model, NULL, &b->config, &options, err) : -1;
    if (!status)
        status = rounds_run(b, err);
    model_close(b->model);
    probe_close(b->probes);
    k->close(options.device);
    return status;
}

/* ---- what is said ---- */

static double peak(const struct bench *b)
{
    return b->weights == DTYPE_BF16 ? b->probe.linear_gflop_per_s : b->probe.gflop_per_s;
}

static double roofline_ratio(const struct bench *b, int i)
{
    double read = (double)weight_bytes(b) / (b->probe.read_gb_per_s * 1e9), compute = flop(b, row_counts[i]) / (peak(b) * 1e9);
    return b->seconds[i] / fmax(read, compute);
}

static void print_json(const struct bench *b, const struct arguments *a, int threads)
{
    json_t *rows = json_array();
    char weights[8];
    snprintf(weights, sizeof weights, "%s", a->weights == DTYPE_BF16 ? "bf16" : a->weights == DTYPE_F16 ? "f16" : "f32");
    for (int i = 0; i < CASES; i++)
        json_array_append_new(rows,
                              json_pack("{s:i, s:f, s:f, s:f, s:f}", "n", row_counts[i], "ms", b->seconds[i] * 1e3,
                                        "weight_gb_per_s", (double)weight_bytes(b) / b->seconds[i] / 1e9, "gflop_per_s",
                                        flop(b, row_counts[i]) / b->seconds[i] / 1e9, "roofline_ratio", roofline_ratio(b, i)));
    json_t *root = json_pack("{s:s, s:s, s:i, s:i, s:{s:f, s:f}, s:o}", "shape", a->shape->name, "weights", weights, "threads",
                             threads, "ranks", a->ranks_of > 1 ? a->ranks_of : b->comm->size, "probe", "read_gb_per_s",
                             b->probe.read_gb_per_s, "gflop_per_s", peak(b), "rows", rows);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

static void print_table(const struct bench *b)
{
    printf("probe: read %.1f GB/s, %.1f Gflop/s\n", b->probe.read_gb_per_s, peak(b));
    printf("%6s %10s %12s %10s %10s\n", "rows", "ms", "weight GB/s", "Gflop/s", "roofline");
    for (int i = 0; i < CASES; i++)
        printf("%6d %10.2f %12.1f %10.1f %10.2f\n", row_counts[i], b->seconds[i] * 1e3,
               (double)weight_bytes(b) / b->seconds[i] / 1e9, flop(b, row_counts[i]) / b->seconds[i] / 1e9, roofline_ratio(b, i));
}

/* What ran: above the table, or beside the JSON object. */
static void print_note(FILE *f, const struct bench *b, const struct arguments *a)
{
    fprintf(f, "%s: %d of %d layers and the head, %.2f GB of weights a rank", a->shape->name, b->config.layers,
            a->shape->config.layers, (double)weight_bytes(b) / 1e9);
    if (a->ranks_of > 1)
        fprintf(f, "; one rank's shard of %d, the sums over ranks are not included", a->ranks_of);
    fputc('\n', f);
}

int command_bench_step(struct comm *comm, int argc, char **argv)
{
    struct arguments a = {.ranks = 1, .ranks_of = 1, .weights = DTYPE_BF16};
    struct error err;
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc};
    cli_parse(&argp, argc, argv, &a);
    if (a.ranks > 1 && !cli_under_mpi(comm)) { /* what is impossible is said before mpirun, whose own words are many */
        struct model_config config = a.shape->config;
        snprintf(config.name, sizeof config.name, "%s", a.shape->name);
        return model_ranks_possible(&config, a.ranks, &err) ? cli_failed(comm, argv[0], &err)
                                                            : cli_on_ranks(a.ranks, NULL, argc, argv);
    }
    if (a.ranks != comm->size) {
        fail(&err, "--ranks %d, but mpirun started %d", a.ranks, comm->size);
        return cli_failed(comm, argv[0], &err);
    }
    struct bench *b = mem_new(1, sizeof *b);
    b->comm = comm;
    b->weights = a.weights;
    int status = bench_config(b, &a, &err) || bench_run(b, &a, &err) ? cli_failed(comm, argv[0], &err) : CLI_DONE;
    if (status == CLI_DONE && comm->rank == 0) {
        print_note(a.json ? stderr : stdout, b, &a);
        if (a.json)
            print_json(b, &a, cli_threads(a.threads, comm->size));
        else
            print_table(b);
    }
    free(b);
    return status;
}
