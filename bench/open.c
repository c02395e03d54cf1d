/* open.c - what opening a checkpoint costs one rank: its time beside reading as many bytes plainly, its memory beside shard + KV.
 *
 *     make build/bench/open && build/bench/open
 *
 * A checkpoint of a published shape is written and, in a fresh process for each rank, opened as that rank's shard; then a prompt
 * fills the key/value cache. The communicator has no peers: opening must not need any. The file is in the page cache: what is
 * measured is what our reading and packing add to the machine's own copying; a disk can only be slower. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "model/family.h"
#include "model/model.h"

enum {
    LAYER_TENSORS = 12,
    READ_BYTES = 2 << 20,   /* of one pread of the probes */
    COPY_BYTES = 256 << 20, /* of the memcpy probe: beyond every cache */
    CHUNK = 512,            /* rows of a step */
    MAX_POSITIONS = 1 << 20,
};
static const double goal = 1.15; /* resident memory over shard + KV */

static const struct model_config published = {
    /* the language model of Qwen2.5-VL-3B */
    .name = "qwen2.5-vl-3b",
    .layers = 36,
    .d = 2048,
    .h = 16,
    .g = 2,
    .c = 128,
    .ff = 11008,
    .vocabulary = 151936,
    .tied = true,
    .norm_eps = 1e-6f,
    .rope_theta = 1e6f,
};

static const struct {
    int rank, ranks;
} cases[] = {{0, 1}, {0, 2}, {1, 4}};
enum { CASES = sizeof cases / sizeof *cases };

struct arguments {
    int layers, threads, positions, rounds;
    const char *folder;
    bool json;
};

/* What one rank's process measured; it comes through a pipe. Best seconds of all rounds; memory is of the first round. */
struct figures {
    int failed;
    struct error err;
    int64_t shard, kv; /* bytes: weights of this rank, pages of the cache in use */
    double open, read, fresh, copy;
    int64_t before, opened, filled, peak; /* resident bytes: at the start, after opening, after the prompt; the most until then */
};

static const struct argp_option flags[] = {
    {"layers", 'l', "L", 0, "layers of the checkpoint, 1 to 36; default 3: with the embedding table about a gigabyte", 0},
    {"threads", 't', "T", 0, "compute threads of the rank; default: all cores", 0},
    {"positions", 'p', "N", 0, "positions of the key/value cache, all of which are filled; default 512", 0},
    {"rounds", 'r', "R", 0, "how often all is measured; the best counts; default 3", 0},
    {"folder", 'f', "DIR", 0, "where the checkpoint is written until the end; default $TMPDIR or /tmp", 0},
    {"json", 'j', 0, 0, "print one JSON object", 0},
    {0}};

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'l':
        a->layers = flag_number(state, "--layers", arg, 1, published.layers);
        return 0;
    case 't':
        a->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case 'p':
        a->positions = flag_number(state, "--positions", arg, 1, MAX_POSITIONS);
        return 0;
    case 'r':
        a->rounds = flag_number(state, "--rounds", arg, 1, 100);
        return 0;
    case 'f':
        a->folder = arg;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the checkpoint ---- */

struct names {
    struct tensor *t;
    int n;
};

static void tensor_add(struct names *names, const char *name, int64_t rows, int64_t cols)
{
    struct tensor t = {.name = mem_string(name), .dtype = DTYPE_BF16, .dims = rows ? 2 : 1, .shape = {rows ? rows : cols, cols}};
    t.bytes = (size_t)(rows ? rows * cols : cols) * dtype_size(t.dtype);
    names->t[names->n++] = t;
}

static void layer_add(struct names *names, const struct model_config *c, int layer)
{
    const int64_t d = c->d, q = (int64_t)c->h * c->c, kv = (int64_t)c->g * c->c, ff = c->ff;
    const struct {
        const char *name;
        int64_t rows, cols; /* rows 0: a vector */
    } tensors[LAYER_TENSORS] = {
        {"input_layernorm.weight", 0, d},   {"post_attention_layernorm.weight", 0, d},
        {"self_attn.q_proj.weight", q, d},  {"self_attn.k_proj.weight", kv, d},
        {"self_attn.v_proj.weight", kv, d}, {"self_attn.q_proj.bias", 0, q},
        {"self_attn.k_proj.bias", 0, kv},   {"self_attn.v_proj.bias", 0, kv},
        {"self_attn.o_proj.weight", d, q},  {"mlp.gate_proj.weight", ff, d},
        {"mlp.up_proj.weight", ff, d},      {"mlp.down_proj.weight", d, ff},
    };
    for (int i = 0; i < LAYER_TENSORS; i++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, tensors[i].name);
        tensor_add(names, name, tensors[i].rows, tensors[i].cols);
    }
}

/* bf16 of the size of trained weights: a random sign and mantissa, exponents from 2^-9 to 2^-6. */
static void content_fill(uint16_t *x, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (uint16_t)((state >> 16 & 0x807f) | (118 + (state >> 8 & 3)) << 7);
    }
}

static int checkpoint_write(const char *path, const struct model_config *c, struct error *err)
{
    int count = c->layers * LAYER_TENSORS + 2;
    struct names names = {mem_new((size_t)count, sizeof *names.t), 0};
    tensor_add(&names, "model.embed_tokens.weight", c->vocabulary, c->d);
    tensor_add(&names, "model.norm.weight", 0, c->d);
    for (int i = 0; i < c->layers; i++)
        layer_add(&names, c, i);
    uint16_t *content = mem_new(names.t[0].bytes, 1); /* the largest tensor; the others get its beginning */
    content_fill(content, names.t[0].bytes / sizeof *content);
    const void **data = mem_new((size_t)count, sizeof *data);
    for (int i = 0; i < count; i++)
        data[i] = content;
    int status = safetensors_write(path, names.t, data, count, err);
    for (int i = 0; i < count; i++)
        free((char *)names.t[i].name);
    free(names.t);
    free(data);
    free(content);
    return status;
}

/* In a process of its own, so that none of its memory is inherited. Ctrl-C ends that one, and this one clears up after it. */
static int checkpoint_write_apart(const char *path, const struct model_config *c, struct error *err)
{
    struct error *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = -1;
    if (shared == MAP_FAILED)
        return fail(err, "no memory to share with the writer");
    fail(shared, "writing %s was interrupted", path);
    void (*before)(int) = signal(SIGINT, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_DFL);
        _exit(checkpoint_write(path, c, shared) ? CLI_FAILED : CLI_DONE);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && status) {
        char *part = mem_format("%s.%ld.part", path, (long)pid);
        unlink(part);
        free(part);
    }
    signal(SIGINT, before);
    *err = *shared;
    munmap(shared, sizeof *shared);
    return status ? -1 : 0;
}

/* The checkpoint as an open file without a name: nothing is left of it when the last process ends. */
static int checkpoint_open(int *fd, const char *folder, const struct model_config *c, struct error *err)
{
    char *dir = mem_format("%s/massv-open-XXXXXX", folder), *path = NULL;
    int status = mkdtemp(dir) ? 0 : fail(err, "%s: %s", folder, strerror(errno));
    if (!status) {
        path = mem_format("%s/model.safetensors", dir);
        status = checkpoint_write_apart(path, c, err);
        if (!status && (*fd = open(path, O_RDONLY)) < 0)
            status = fail(err, "%s: %s", path, strerror(errno));
        unlink(path);
        rmdir(dir);
    }
    free(path);
    free(dir);
    return status;
}

/* ---- probes ---- */

static double min_seconds(double best, double seconds)
{
    return best > 0 && best < seconds ? best : seconds;
}

/* Reads `bytes` of the file: to `to`, all of it or (reused) one buffer of it over and over. */
static int read_plainly(int fd, char *to, int64_t bytes, bool reused, double *best, struct error *err)
{
    double begin = clock_seconds();
    for (int64_t at = 0, n; at < bytes; at += n) {
        n = pread(fd, to + (reused ? 0 : at), (size_t)(bytes - at < READ_BYTES ? bytes - at : READ_BYTES), at);
        if (n <= 0)
            return fail(err, "the checkpoint cannot be read again: %s", n ? strerror(errno) : "it is too short");
    }
    *best = min_seconds(*best, clock_seconds() - begin);
    return 0;
}

/* What opening cannot do without: the bytes come from the file to memory that nobody touched before, on huge pages as the device's.
 */
static int read_fresh(int fd, int64_t bytes, double *best, struct error *err)
{
    char *to = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (to == MAP_FAILED)
        return fail(err, "no memory for a copy of the shard");
    madvise(to, (size_t)bytes, MADV_HUGEPAGE);
    int status = read_plainly(fd, to, bytes, false, best, err);
    munmap(to, (size_t)bytes);
    return status;
}

/* The shard may be a little larger than the whole file: norms and biases become f32. */
static int64_t bytes_read(const struct figures *f, int fd)
{
    struct stat status;
    return !fstat(fd, &status) && status.st_size < f->shard ? status.st_size : f->shard;
}

static int probes_run(struct figures *f, int fd, struct error *err)
{
    char *from = mem_new(COPY_BYTES, 1), *to = mem_new(COPY_BYTES, 1);
    memset(from, 1, COPY_BYTES);
    memset(to, 2, COPY_BYTES);
    int status = read_plainly(fd, to, bytes_read(f, fd), true, &f->read, err);
    double begin = clock_seconds();
    memcpy(to, from, COPY_BYTES);
    f->copy = min_seconds(f->copy, clock_seconds() - begin);
    free(from);
    free(to);
    return status ? status : read_fresh(fd, bytes_read(f, fd), &f->fresh, err);
}

/* A field of /proc/self/status in bytes; 0 where there is none. */
static int64_t memory_field(const char *name)
{
    char line[256];
    long long kib = 0;
    size_t length = strlen(name);
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, length) && line[length] == ':')
            kib = strtoll(line + length + 1, NULL, 10);
    if (f)
        fclose(f);
    return kib * 1024;
}

/* ---- one rank ---- */

/* A rank without peers: its sums are its own share. */
struct alone {
    struct comm comm;
    int sums;
};

static void alone_sum(struct comm *comm, float *x, size_t count)
{
    (void)x, (void)count;
    ((struct alone *)comm)->sums++;
}

/* Fills the cache with a prompt. */
static int prompt_run(struct model *model, const struct arguments *a, struct error *err)
{
    struct sequence *sequence = sequence_new(model);
    int32_t ids[CHUNK], positions[CHUNK][3] = {{0}};
    int status = 0;
    for (int first = 0; first < a->positions && !status; first += CHUNK) {
        int n = a->positions - first < CHUNK ? a->positions - first : CHUNK;
        for (int i = 0; i < n; i++) {
            ids[i] = (first + i) * 37 % published.vocabulary;
            positions[i][0] = first + i;
        }
        const struct span span = {.sequence = sequence,
                                  .n = n,
                                  .ids = ids,
                                  .positions = (const int32_t(*)[3])positions,
                                  .n_scored = 1,
                                  .repetition_penalty = 1};
        status = model_extend(model, &span, 1, err);
    }
    sequence_release(model, sequence);
    return status;
}

/* Opens the shard once; the first time, memory is looked at before and after the cache is filled. */
static int open_once(struct figures *f, const struct model_config *c, const struct arguments *a, struct model_options *options,
                     const char *path, struct error *err)
{
    struct safetensors *st = NULL;
    struct model *model = NULL;
    const struct alone *alone = (const struct alone *)options->comm;
    double begin = clock_seconds();
    int status = safetensors_open(&st, path, err) || model_open(&model, st, c, options, err) ? -1 : 0;
    double seconds = clock_seconds() - begin;
    if (!status && !f->open) {
        f->opened = memory_field("VmRSS");
        status = alone->sums ? fail(err, "opening took %d sums over ranks, and there are no others", alone->sums)
                             : prompt_run(model, a, err);
        f->filled = memory_field("VmRSS");
        f->peak = memory_field("VmHWM");
    }
    f->open = min_seconds(f->open, seconds);
    model_close(model);
    safetensors_close(st);
    return status;
}

static int rank_measure(struct figures *f, int rank, int ranks, int fd, const struct model_config *c, const struct arguments *a)
{
    static const struct comm_calls calls = {.name = "alone",
                                            .all_reduce_sum = alone_sum}; /* any other call would end the process */
    struct alone alone = {.comm = {.calls = &calls, .rank = rank, .size = ranks}};
    const struct device_options device = {.threads = a->threads};
    struct model_options options = {.kernels = kernels_cpu(), .comm = &alone.comm, .kv_positions = a->positions, .max_rows = CHUNK};
    struct error *err = &f->err;
    char path[64];
    int pages = (a->positions + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
    f->shard = model_shard_bytes(c, ranks, DTYPE_BF16);
    f->kv = (int64_t)pages * MODEL_PAGE_POSITIONS * model_position_bytes(c, ranks);
    f->before = memory_field("VmRSS");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    options.device = options.kernels->open(&device, err);
    int status = options.device ? 0 : -1;
    for (int i = 0; i < a->rounds && !status; i++)
        status = open_once(f, c, a, &options, path, err) || probes_run(f, fd, err) ? -1 : 0;
    if (options.device)
        options.kernels->close(options.device);
    return status;
}

/* In a fresh process. */
static int rank_run(struct figures *f, int rank, int ranks, int fd, const struct model_config *c, const struct arguments *a,
                    struct error *err)
{
    int ends[2], status = 0;
    if (pipe(ends))
        return fail(err, "no pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        f->failed = rank_measure(f, rank, ranks, fd, c, a);
        _exit(write(ends[1], f, sizeof *f) == (ssize_t)sizeof *f ? CLI_DONE : CLI_FAILED);
    }
    close(ends[1]);
    ssize_t got = pid < 0 ? -1 : read(ends[0], f, sizeof *f); /* less than a pipe holds: in one piece */
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (got != (ssize_t)sizeof *f)
        return fail(err, "the process of rank %d of %d ended without figures (status %d)", rank, ranks, status);
    if (f->failed)
        *err = f->err;
    return f->failed;
}

/* ---- what is said ---- */

static double ratio(const struct figures *f)
{
    return (double)f->peak / (double)(f->shard + f->kv);
}

static double rate(const struct figures *f, double seconds)
{
    return (double)f->shard / seconds / 1e9;
}

static void print_json(const struct figures *figures, const struct arguments *a, int threads)
{
    json_t *list = json_array();
    for (int i = 0; i < CASES; i++) {
        const struct figures *f = &figures[i];
        json_array_append_new(list,
                              json_pack("{s:i, s:i, s:I, s:I, s:f, s:f, s:{s:f, s:f, s:f}, s:{s:I, s:I, s:I, s:I}, s:f, s:f}",
                                        "rank", cases[i].rank, "ranks", cases[i].ranks, "shard_bytes", (json_int_t)f->shard,
                                        "kv_bytes", (json_int_t)f->kv, "seconds", f->open, "gb_per_s", rate(f, f->open), "probe",
                                        "read_gb_per_s", rate(f, f->read), "read_to_new_memory_gb_per_s", rate(f, f->fresh),
                                        "copy_gb_per_s", COPY_BYTES / f->copy / 1e9, "resident_bytes", "before",
                                        (json_int_t)f->before, "opened", (json_int_t)f->opened, "filled", (json_int_t)f->filled,
                                        "peak", (json_int_t)f->peak, "memory_ratio", ratio(f), "memory_goal", goal));
    }
    json_t *root = json_pack("{s:s, s:i, s:i, s:i, s:o}", "shape", published.name, "layers", a->layers, "threads", threads,
                             "positions", a->positions, "ranks", list);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(root);
}

static void print_table(const struct figures *figures, const struct arguments *a, int threads)
{
    printf("%s, %d of %d layers and the table, bf16, file in the page cache; %d threads; best of %d\n\n", published.name, a->layers,
           published.layers, threads, a->rounds);
    printf("%-10s %9s %9s | %s\n", "", "", "", "GB/s of the shard's bytes");
    printf("%-10s %9s %9s | %8s %8s %14s %8s %12s\n", "rank", "shard MB", "opened s", "opened", "pread", "to new memory", "memcpy",
           "opened/new");
    for (int i = 0; i < CASES; i++) {
        const struct figures *f = &figures[i];
        printf("%4d of %-2d %9.1f %9.3f | %8.2f %8.2f %14.2f %8.2f %12.2f\n", cases[i].rank, cases[i].ranks, (double)f->shard / 1e6,
               f->open, rate(f, f->open), rate(f, f->read), rate(f, f->fresh), COPY_BYTES / f->copy / 1e9, f->fresh / f->open);
    }
    printf("\n%-10s %9s %9s | %8s %8s %14s %8s %12s\n", "rank", "shard MB", "KV MB", "before", "opened", "cache filled", "peak MB",
           "peak/both");
    for (int i = 0; i < CASES; i++) {
        const struct figures *f = &figures[i];
        printf("%4d of %-2d %9.1f %9.1f | %8.1f %8.1f %14.1f %8.1f %12.3f  (goal %.2f: %s)\n", cases[i].rank, cases[i].ranks,
               (double)f->shard / 1e6, (double)f->kv / 1e6, (double)f->before / 1e6, (double)f->opened / 1e6,
               (double)f->filled / 1e6, (double)f->peak / 1e6, ratio(f), goal, ratio(f) <= goal ? "kept" : "MISSED");
    }
}

int main(int argc, char **argv)
{
    const char *temporary = getenv("TMPDIR");
    struct arguments a = {.layers = 3, .positions = 512, .rounds = 3, .folder = temporary && *temporary ? temporary : "/tmp"};
    const struct argp argp = {.options = flags,
                              .parser = arguments_parse,
                              .doc = "open - time and memory of opening a checkpoint, as one rank of several\v"
                                     "Example:\n  build/bench/open --layers 3 --json"};
    struct error err;
    struct figures figures[CASES] = {0};
    struct model_config config = published;
    int fd = -1;
    cli_parse(&argp, argc, argv, &a);
    config.layers = a.layers;
    config.family = family_find("qwen2");
    int threads = cli_threads(a.threads, 1);
    a.threads = threads;
    int status = checkpoint_open(&fd, a.folder, &config, &err);
    for (int i = 0; i < CASES && !status; i++)
        status = rank_run(&figures[i], cases[i].rank, cases[i].ranks, fd, &config, &a, &err);
    if (status) {
        fprintf(stderr, "open: %s\n", err.text);
        return CLI_FAILED;
    }
    if (a.json)
        print_json(figures, &a, threads);
    else
        print_table(figures, &a, threads);
    return CLI_DONE;
}
