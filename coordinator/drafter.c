/* drafter.c - opening a drafter: which kind it is, and whether it speaks the target's language; its features of a picture */
#include "coordinator/drafter.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/drafter_parts.h"

const char *drafter_kind_name(enum drafter_kind kind)
{
    static const char *const names[] = {"none", "text", "vision", "massv"};
    return names[kind];
}

enum drafter_kind drafter_kind(const struct drafter *drafter)
{
    return drafter ? drafter->kind : DRAFTER_NONE;
}

const char *drafter_name(const struct drafter *drafter)
{
    return drafter ? drafter->config.name : "";
}

int drafter_width(const struct drafter *drafter)
{
    return drafter->config.d;
}

/* ---- checks ---- */

static int check_tokenizer(const char *dir, const struct tokenizer *target, struct error *err)
{
    struct tokenizer *own;
    if (tokenizer_open(&own, dir, err) != 0)
        return -1;
    int rc = tokenizer_compare(target, own, err);
    tokenizer_close(own);
    return rc == 0 ? 0 : fail_in(err, "drafter %s: its tokenizer is not the target's", dir);
}

/* The drafter reads the patches that were cut for the target, and its rows must be as many. */
static int check_pictures(const struct drafter *drafter, struct error *err)
{
    const struct model_config *own = &drafter->config, *target = &drafter->target;
    const struct vision_config *a = &own->vision, *b = &target->vision;
    if (!target->has_vision)
        return 0;
    if (a->patch != b->patch || a->merge != b->merge || a->temporal_patch != b->temporal_patch || a->channels != b->channels)
        return fail(err, "drafter %s cuts pictures into patches of %d and merges %d x %d of them, the target %d and %d x %d",
                    own->name, a->patch, a->merge, a->merge, b->patch, b->merge, b->merge);
    if (memcmp(own->picture.mean, target->picture.mean, sizeof own->picture.mean) != 0 ||
        memcmp(own->picture.std, target->picture.std, sizeof own->picture.std) != 0)
        return fail(err, "drafter %s: image_mean and image_std of preprocessor_config.json are not the target's", own->name);
    if (own->image_id != target->image_id)
        return fail(err, "drafter %s: image_token_id %d, the target's is %d", own->name, own->image_id, target->image_id);
    return 0;
}

/* Numbers that change what the same tensors compute. */
static bool towers_alike(const struct vision_config *a, const struct vision_config *b)
{
    return a->depth == b->depth && a->d == b->d && a->heads == b->heads && a->ff == b->ff && a->patch == b->patch &&
           a->merge == b->merge && a->temporal_patch == b->temporal_patch && a->channels == b->channels && a->window == b->window &&
           memcmp(a->full_attention, b->full_attention, sizeof a->full_attention) == 0;
}

static int find_kind(struct drafter *drafter, struct safetensors *st, const uint64_t *target_tower, struct error *err)
{
    uint64_t own[2];
    drafter->kind = DRAFTER_TEXT;
    if (!drafter->config.has_vision)
        return 0;
    drafter->kind = DRAFTER_VISION;
    if (tower_hash(st, &drafter->config, own, err) != 0)
        return -1;
    if (target_tower && own[0] == target_tower[0] && own[1] == target_tower[1] &&
        towers_alike(&drafter->config.vision, &drafter->target.vision))
        drafter->kind = DRAFTER_MASSV;
    return check_pictures(drafter, err);
}

/* ---- opening ---- */

static int open_vision(struct drafter *drafter, struct safetensors *st, struct device *device, struct error *err)
{
    if (drafter->kind == DRAFTER_TEXT || !drafter->target.has_vision)
        return 0;
    if (drafter->kind == DRAFTER_VISION && tower_open(&drafter->tower, st, &drafter->config, drafter->kernels, device, err) != 0)
        return -1;
    return merger_open(&drafter->merger, st, &drafter->config, drafter->kernels, device, err);
}

static int open_parts(struct drafter *drafter, struct safetensors *st, const struct drafter_options *options, struct error *err)
{
    if (find_kind(drafter, st, options->target_tower, err) != 0 || open_vision(drafter, st, options->vision_device, err) != 0 ||
        comm_open_one(&drafter->comm, err) != 0)
        return -1;
    const struct model_options model = {
        .kernels = options->kernels,
        .device = options->device,
        .comm = drafter->comm,
        .kv_positions = options->kv_positions,
        .max_rows = DRAFTER_ROWS,
    };
    drafter->sampler = sampler_new(drafter->config.vocabulary);
    drafter->row = mem_new((size_t)drafter->config.vocabulary, sizeof *drafter->row);
    return model_open(&drafter->model, st, &drafter->config, &model, err);
}

int drafter_open(struct drafter **drafter, const char *dir, const struct drafter_options *options, struct error *err)
{
    struct safetensors *st = NULL;
    struct drafter *d = mem_new(1, sizeof *d);
    d->kernels = options->kernels;
    d->target = *options->target;
    int rc = config_read(&d->config, dir, err);
    if (rc == 0)
        rc = check_tokenizer(dir, options->target_tokenizer, err);
    if (rc == 0)
        rc = safetensors_open(&st, dir, err);
    if (rc == 0)
        rc = open_parts(d, st, options, err);
    safetensors_close(st);
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
    model_close(drafter->model);
    sampler_free(drafter->sampler);
    free(drafter->row);
    comm_close(drafter->comm);
    merger_close(drafter->merger);
    tower_close(drafter->tower);
    free(drafter);
}

/* ---- pictures ---- */

int drafter_features(struct drafter *drafter, const struct patches *patches, const struct vision_states *states, float **features,
                     struct error *err)
{
    struct vision_states own;
    *features = NULL;
    if (!drafter->merger)
        return 0;
    if (drafter->tower && tower_run(drafter->tower, patches, &own, err) != 0)
        return -1;
    size_t rows = (size_t)patches_tokens(patches, &drafter->config);
    float *made = mem_new(rows * (size_t)drafter->config.d, sizeof *made);
    int rc = merger_run(drafter->merger, drafter->tower ? &own : states, made, err);
    if (drafter->tower)
        vision_states_free(drafter->tower, &own);
    if (rc == 0)
        *features = made;
    else
        free(made);
    return rc;
}
