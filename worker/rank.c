/* rank.c - opening a shard, on all ranks or on none */
#include "worker/rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "model/fingerprint.h"
#include "worker/capacity.h"

/* Rows of the largest step: prompt chunks of this size keep a step short and the matrix products efficient. */
enum { RANK_ROWS = MODEL_ROWS };

struct rank {
    struct model_config config;
    struct safetensors *st;
    const struct kernels *kernels;
    struct device *device;
    struct model *model;
    struct post post;
    struct step_hello hello;
};

/* 0 when rc is 0 on every rank. Of the ranks that failed the first keeps its text: one fault, one line. */
static int ranks_agree(struct comm *comm, int rc, struct error *err)
{
    int32_t mine = rc, *all = mem_new((size_t)comm->size, sizeof *all);
    int first = 0;
    comm->calls->all_gather(comm, all, &mine, sizeof mine);
    while (first < comm->size && all[first] == 0)
        first++;
    free(all);
    if (first < comm->size && first != comm->rank)
        err->text[0] = 0;
    return first < comm->size ? -1 : 0;
}

static int rank_read(struct rank *rank, const struct comm *comm, const struct options *options, struct error *err)
{
    if (config_read(&rank->config, options->target, err) != 0 || safetensors_open(&rank->st, options->target, err) != 0 ||
        model_fingerprint(rank->st, &rank->config, rank->hello.model_hash, err) != 0)
        return -1;
    return model_ranks_possible(&rank->config, comm->size, err);
}

/* The dtype of the largest tensor stands for all. */
static enum dtype weights_dtype(const struct safetensors *st)
{
    const struct tensor *largest = NULL;
    for (int i = 0; i < safetensors_count(st); i++)
        if (!largest || safetensors_at(st, i)->bytes > largest->bytes)
            largest = safetensors_at(st, i);
    return largest ? largest->dtype : DTYPE_F32;
}

static int rank_load(struct rank *rank, const struct options *options, const struct capacity *capacity, struct error *err)
{
    const struct device_options device = {.threads = options->threads ? options->threads : capacity->threads,
                                          .activations_f32 = options->activations_f32};
    rank->kernels = kernels_cpu();
    rank->device = rank->kernels->open(&device, err);
    if (!rank->device)
        return -1;
    const struct model_options model = {
        .kernels = rank->kernels,
        .device = rank->device,
        .comm = rank->post.comm,
        .kv_positions = options->kv_positions ? options->kv_positions : capacity->kv_positions,
        .max_rows = RANK_ROWS,
    };
    return model_open(&rank->model, rank->st, &rank->config, &model, err);
}

static int rank_engine(struct rank *rank, const struct options *options, struct error *err)
{
    const struct engine_options engine = {
        .model = rank->model, .comm = rank->post.comm, .config = &rank->config, .max_rows = RANK_ROWS};
    const struct watchdog_options watch = {.timeout = options->step_seconds, .rank = rank->post.comm->rank};
    rank->post.engine = engine_new(&engine);
    return watchdog_open(&rank->post.watchdog, &watch, err);
}

static void rank_introduce(struct rank *rank)
{
    struct step_hello *hello = &rank->hello;
    hello->protocol = STEP_PROTOCOL;
    hello->ranks = rank->post.comm->size;
    hello->pages = model_blocks(rank->model) / kv_layout_whole(model_layout(rank->model));
    hello->page_positions = MODEL_PAGE_POSITIONS;
    hello->max_rows = RANK_ROWS;
    snprintf(hello->version, sizeof hello->version, "%s", MASSV_VERSION);
    snprintf(hello->model, sizeof hello->model, "%s", rank->config.name);
    snprintf(hello->device, sizeof hello->device, "%s", rank->kernels->describe(rank->device));
    gethostname(hello->host, sizeof hello->host - 1);
    const char *name = getenv(GROUP_NAME_VARIABLE);
    snprintf(hello->group, sizeof hello->group, "%s", name ? name : "");
}

int rank_open(struct rank **rank, struct comm *comm, const struct options *options, struct error *err)
{
    struct rank *r = mem_new(1, sizeof *r);
    struct capacity capacity = {0};
    r->post.comm = comm;
    err->text[0] = 0;
    if (ranks_agree(comm, rank_read(r, comm, options, err), err) != 0)
        goto failed;
    int rc = capacity_plan(&capacity, comm, &r->config, weights_dtype(r->st), err);
    if (options->kv_positions)
        rc = 0; /* the user knows better */
    if (ranks_agree(comm, rc, err) != 0 || ranks_agree(comm, rank_load(r, options, &capacity, err), err) != 0 ||
        ranks_agree(comm, rank_engine(r, options, err), err) != 0)
        goto failed;
    safetensors_close(r->st);
    r->st = NULL;
    rank_introduce(r);
    *rank = r;
    return 0;
failed:
    rank_close(r);
    return -1;
}

void rank_close(struct rank *rank)
{
    if (!rank)
        return;
    watchdog_close(rank->post.watchdog);
    engine_free(rank->post.engine);
    model_close(rank->model);
    if (rank->device)
        rank->kernels->close(rank->device);
    safetensors_close(rank->st);
    free(rank);
}

const struct post *rank_post(const struct rank *rank)
{
    return &rank->post;
}

const struct step_hello *rank_hello(const struct rank *rank)
{
    return &rank->hello;
}
