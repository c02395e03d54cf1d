/* prepare_pictures.c - the pictures of a request: files to patches, cheap checks first, and patches to features, once for each
 * picture */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/memory.h"
#include "coordinator/prepare_parts.h"

/* ---- pictures to patches ---- */

static enum rpc_status picture_patches(const struct preparer *preparer, struct draft_picture *picture,
                                       const struct generate_picture *file, struct error *err)
{
    struct image image;
    const struct model_config *config = preparer->options.config;
    int rc = image_decode(&image, file->bytes, file->size, preparer->options.max_picture_pixels, err);
    if (rc == IMAGE_TOO_LARGE)
        fail_in(err, "--max-picture-pixels");
    if (rc != 0)
        return rc == IMAGE_TOO_LARGE ? RPC_RESOURCE_EXHAUSTED : RPC_INVALID_ARGUMENT;
    rc = views_make(&picture->views, &image, config, err);
    image_free(&image);
    if (rc != 0)
        return RPC_INVALID_ARGUMENT;
    picture->shared->shape = views_shape(&picture->views, config);
    picture->shared->rows = picture->shared->shape.lines * picture->shared->shape.columns;
    return RPC_OK;
}

/* The same picture earlier in this request. */
static struct shared_picture *picture_repeated(const struct draft_picture *pictures, int n, const uint64_t hash[2])
{
    for (int i = 0; i < n; i++)
        if (memcmp(pictures[i].shared->hash, hash, sizeof pictures[i].shared->hash) == 0)
            return shared_picture_hold(pictures[i].shared);
    return NULL;
}

static enum rpc_status picture_begin(const struct preparer *preparer, struct draft_picture *pictures, int i,
                                     const struct generate_picture *file, struct error *err)
{
    XXH128_hash_t sum = XXH3_128bits(file->bytes, file->size);
    const uint64_t hash[2] = {sum.high64, sum.low64};
    pictures[i].shared = picture_repeated(pictures, i, hash);
    if (!pictures[i].shared)
        pictures[i].shared = recent_pictures_find(preparer->recent, hash);
    if (pictures[i].shared)
        return RPC_OK;
    pictures[i].shared = shared_picture_new(hash);
    enum rpc_status status = picture_patches(preparer, &pictures[i], file, err);
    if (status != RPC_OK)
        fail_in(err, "media[%d]", i);
    return status;
}

/* Patches are large: there are never more of them than a prompt may have. */
enum rpc_status pictures_begin(const struct preparer *preparer, struct draft_picture *pictures,
                               const struct generate_request *request, struct error *err)
{
    enum rpc_status status = RPC_OK;
    if (request->n_pictures && !preparer->tower) {
        fail(err, "media: %s is a text model and reads no pictures", preparer->options.config->name);
        return RPC_INVALID_ARGUMENT;
    }
    int64_t rows = 0;
    for (int i = 0; i < request->n_pictures && status == RPC_OK; i++) {
        status = picture_begin(preparer, pictures, i, &request->pictures[i], err);
        if (status != RPC_OK)
            return status;
        rows += (int64_t)(1 + pictures[i].shared->shape.crops) * pictures[i].shared->rows;
        status = prepare_rows_check(preparer, rows, err);
        if (status != RPC_OK)
            fail_in(err, "media[0..%d] alone", i);
    }
    return status;
}

/* ---- patches to features ---- */

/* The drafter's fault costs the request its drafts, not its answer. */
static void view_draft_features(const struct preparer *preparer, struct draft_picture *picture, int view,
                                const struct vision_states *states)
{
    struct error err;
    float *features;
    struct drafter *drafter = preparer->options.drafter;
    struct shared_picture *shared = picture->shared;
    if (!drafter || (view > 0 && !shared->drafter))
        return;
    if (drafter_features(drafter, &picture->views.patches[view], states, &features, &err) != 0) {
        log_line(LOG_WARNING, "drafter %s: %s", drafter_name(drafter), err.text);
        free(shared->drafter);
        shared->drafter = NULL;
        return;
    }
    if (!features)
        return;
    shared->drafter_rows = drafter_tokens(drafter, &picture->views.patches[view]);
    size_t count = (size_t)shared->drafter_rows * (size_t)drafter_width(drafter);
    if (view == 0)
        shared->drafter = mem_new((size_t)picture->views.n * count, sizeof *shared->drafter);
    memcpy(shared->drafter + (size_t)view * count, features, count * sizeof *features);
    free(features);
}

static int view_features(const struct preparer *preparer, struct draft_picture *picture, int view, struct error *err)
{
    struct vision_states states;
    struct shared_picture *shared = picture->shared;
    size_t count = (size_t)shared->rows * (size_t)preparer->options.config->d;
    if (tower_run(preparer->tower, &picture->views.patches[view], &states, err) != 0)
        return -1;
    int rc = merger_run(preparer->merger, &states, shared->target + (size_t)view * count, err);
    if (rc == 0)
        view_draft_features(preparer, picture, view, &states);
    vision_states_free(preparer->tower, &states);
    return rc;
}

static int picture_features(const struct preparer *preparer, struct draft_picture *picture, struct error *err)
{
    struct shared_picture *shared = picture->shared;
    size_t views = (size_t)picture->views.n, numbers = (size_t)shared->rows * (size_t)preparer->options.config->d;
    shared->target = mem_new(views * numbers, sizeof *shared->target);
    for (int view = 0; view < picture->views.n; view++)
        if (view_features(preparer, picture, view, err) != 0)
            return -1;
    if (shared->drafter)
        numbers += (size_t)shared->drafter_rows * (size_t)drafter_width(preparer->options.drafter);
    shared->bytes = views * numbers * sizeof(float);
    return 0;
}

int pictures_finish(const struct preparer *preparer, struct draft_picture *pictures, int n, struct error *err)
{
    for (int i = 0; i < n; i++) {
        if (!pictures[i].views.n)
            continue;
        if (picture_features(preparer, &pictures[i], err) != 0)
            return fail_in(err, "media[%d]", i);
        recent_pictures_keep(preparer->recent, pictures[i].shared);
        views_free(&pictures[i].views);
    }
    return 0;
}

void pictures_drop(struct draft_picture *pictures, int n)
{
    for (int i = 0; i < n; i++) {
        views_free(&pictures[i].views);
        shared_picture_drop(pictures[i].shared);
    }
    free(pictures);
}
