/* drafter.c - opening a drafter; its features of a picture */
#include "coordinator/drafter.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/drafter_parts.h"

enum drafter_kind drafter_kind(const struct drafter *drafter)
{
    return drafter ? drafter->kind : DRAFTER_NONE;
}

const char *drafter_name(const struct drafter *drafter)
{
    return drafter ? drafter->config.name : "";
}

int drafter_tokens(const struct drafter *drafter, const struct patches *patches)
{
    return patches_tokens(patches, &drafter->config);
}

int drafter_width(const struct drafter *drafter)
{
    return drafter->config.d;
}

/* ---- opening ---- */

static int open_parts(struct drafter *drafter, struct safetensors *st, const struct drafter_options *options, struct error *err)
{
    enum drafter_kind seeing = drafter->target.has_vision ? drafter->kind : DRAFTER_NONE;
    if (drafter_sight_open(&drafter->sight, seeing, st, &drafter->config, drafter->kernels, options->vision_device, err) != 0 ||
        comm_open_one(&drafter->comm, err) != 0)
        return -1;
    const struct model_options model = {
        .kernels = options->kernels,
        .device = options->device,
        .comm = drafter->comm,
        .kv_positions = options->kv_positions,
        .max_rows = DRAFTER_ROWS,
    };
    /* Heads are padded to different sizes: what the target lacks has no part in a draw. */
    int common = drafter->config.vocabulary;
    if (common > drafter->target.vocabulary)
        common = drafter->target.vocabulary;
    drafter->sampler = sampler_new(common);
    drafter->row = mem_new((size_t)drafter->config.vocabulary, sizeof *drafter->row);
    if (model_open(&drafter->model, st, &drafter->config, &model, err) != 0)
        return -1;
    drafter->blocks_free = model_blocks(drafter->model);
    drafter->shares = options->share_prompts;
    page_secret_draw(&drafter->secret);
    drafter->cache = page_cache_new();
    drafter->kept = kept_pages_new(drafter->model);
    return 0;
}

int drafter_open(struct drafter **drafter, const char *dir, const struct drafter_options *options, struct error *err)
{
    struct safetensors *st = NULL;
    struct tokenizer *tokenizer = NULL;
    struct drafter *d = mem_new(1, sizeof *d);
    d->kernels = options->kernels;
    d->target = *options->target.config;
    int rc = config_read(&d->config, dir, err);
    if (rc == 0)
        rc = tokenizer_open(&tokenizer, dir, err);
    if (rc == 0)
        rc = safetensors_open(&st, dir, err);
    if (rc == 0)
        rc = drafter_fit(&d->kind, &d->config, tokenizer, st, &options->target, err);
    if (rc == 0)
        rc = open_parts(d, st, options, err);
    safetensors_close(st);
    tokenizer_close(tokenizer);
    if (rc == 0)
        *drafter = d;
    else
        drafter_close(d);
    return rc;
}

void drafter_close(struct drafter *drafter)
{
    if (!drafter)
        return;
    kept_pages_free(drafter->kept);
    page_cache_free(drafter->cache);
    model_close(drafter->model);
    sampler_free(drafter->sampler);
    free(drafter->row);
    comm_close(drafter->comm);
    drafter_sight_close(&drafter->sight);
    free(drafter);
}

/* ---- pictures ---- */

int drafter_features(struct drafter *drafter, const struct patches *patches, const struct vision_states *states, float **features,
                     struct error *err)
{
    return drafter_sight_features(&drafter->sight, &drafter->config, patches, states, features, err);
}
