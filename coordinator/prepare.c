/* prepare.c - the preparing thread's work on one request, cheap checks first: pictures to sizes, prompt to ids, then the tower */
#include "coordinator/prepare.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "coordinator/shared_picture.h"

enum { PREPARE_RECENT_BYTES = 256 << 20 };

struct preparer {
    struct preparer_options options;
    struct tower *tower;
    struct merger *merger;
    struct recent_pictures *recent;
};

/* A picture of the request on its way to features. */
struct draft_picture {
    struct shared_picture *shared;
    struct patches patches; /* rows NULL: the features are here already */
};

int preparer_open(struct preparer **preparer, struct safetensors *st, const struct preparer_options *options, struct error *err)
{
    struct preparer *p = mem_new(1, sizeof *p);
    p->options = *options;
    p->recent = recent_pictures_new(options->recent_bytes ? options->recent_bytes : PREPARE_RECENT_BYTES);
    const struct model_config *config = options->config;
    if (config->has_vision && (tower_open(&p->tower, st, config, options->kernels, options->device, err) != 0 ||
                               merger_open(&p->merger, st, config, options->kernels, options->device, err) != 0)) {
        preparer_close(p);
        return -1;
    }
    *preparer = p;
    return 0;
}

void preparer_close(struct preparer *preparer)
{
    if (!preparer)
        return;
    recent_pictures_free(preparer->recent);
    merger_close(preparer->merger);
    tower_close(preparer->tower);
    free(preparer);
}

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
    rc = patches_make(&picture->patches, &image, config, err);
    image_free(&image);
    if (rc != 0)
        return RPC_INVALID_ARGUMENT;
    picture->shared->lines = picture->patches.grid_h / config->vision.merge;
    picture->shared->columns = picture->patches.grid_w / config->vision.merge;
    picture->shared->rows = patches_tokens(&picture->patches, config);
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

static enum rpc_status pictures_begin(const struct preparer *preparer, struct draft_picture *pictures,
                                      const struct generate_request *request, struct error *err)
{
    enum rpc_status status = RPC_OK;
    if (request->n_pictures && !preparer->tower) {
        fail(err, "media: %s is a text model and reads no pictures", preparer->options.config->name);
        return RPC_INVALID_ARGUMENT;
    }
    for (int i = 0; i < request->n_pictures && status == RPC_OK; i++)
        status = picture_begin(preparer, pictures, i, &request->pictures[i], err);
    return status;
}

/* ---- patches to features ---- */

/* The drafter's fault costs the request its drafts, not its answer. */
static size_t picture_draft_features(const struct preparer *preparer, struct draft_picture *picture,
                                     const struct vision_states *states)
{
    struct error err;
    struct shared_picture *shared = picture->shared;
    if (!preparer->options.drafter)
        return 0;
    if (drafter_features(preparer->options.drafter, &picture->patches, states, &shared->drafter, &err) != 0)
        log_line(LOG_WARNING, "drafter %s: %s", drafter_name(preparer->options.drafter), err.text);
    return shared->drafter ? (size_t)shared->rows * (size_t)drafter_width(preparer->options.drafter) * sizeof(float) : 0;
}

static int picture_features(const struct preparer *preparer, struct draft_picture *picture, struct error *err)
{
    struct vision_states states;
    struct shared_picture *shared = picture->shared;
    size_t numbers = (size_t)shared->rows * (size_t)preparer->options.config->d;
    if (tower_run(preparer->tower, &picture->patches, &states, err) != 0)
        return -1;
    shared->target = mem_new(numbers, sizeof *shared->target);
    int rc = merger_run(preparer->merger, &states, shared->target, err);
    if (rc == 0)
        shared->bytes = numbers * sizeof *shared->target + picture_draft_features(preparer, picture, &states);
    vision_states_free(preparer->tower, &states);
    return rc;
}

static int pictures_finish(const struct preparer *preparer, struct draft_picture *pictures, int n, struct error *err)
{
    for (int i = 0; i < n; i++) {
        if (!pictures[i].patches.rows)
            continue;
        if (picture_features(preparer, &pictures[i], err) != 0)
            return fail_in(err, "media[%d]", i);
        recent_pictures_keep(preparer->recent, pictures[i].shared);
        patches_free(&pictures[i].patches);
        pictures[i].patches.rows = NULL;
    }
    return 0;
}

static void pictures_drop(struct draft_picture *pictures, int n)
{
    for (int i = 0; i < n; i++) {
        if (pictures[i].patches.rows)
            patches_free(&pictures[i].patches);
        shared_picture_drop(pictures[i].shared);
    }
    free(pictures);
}

/* ---- prompt ---- */

static int role_parse(enum prompt_role *role, const char *name)
{
    static const char *const names[] = {[ROLE_SYSTEM] = "system", [ROLE_USER] = "user", [ROLE_ASSISTANT] = "assistant"};
    for (int i = 0; i < 3; i++)
        if (strcmp(names[i], name) == 0) {
            *role = (enum prompt_role)i;
            return 0;
        }
    return -1;
}

static void turns_free(struct prompt_turn *turns, int n)
{
    for (int t = 0; t < n; t++)
        free((void *)(uintptr_t)turns[t].parts); /* made here; const to everybody else */
    free(turns);
}

static struct prompt_turn *turns_of(const struct generate_request *request, struct error *err)
{
    struct prompt_turn *turns = mem_new((size_t)request->n_turns, sizeof *turns);
    for (int t = 0; t < request->n_turns; t++) {
        const struct generate_turn *from = &request->turns[t];
        if (role_parse(&turns[t].role, from->role) != 0) {
            fail(err, "conversation.turns[%d].role: \"%.32s\" is neither system, user nor assistant", t, from->role);
            turns_free(turns, t);
            return NULL;
        }
        struct prompt_part *parts = mem_new((size_t)from->n_parts, sizeof *parts);
        for (int i = 0; i < from->n_parts; i++)
            parts[i].text = from->parts[i].text;
        turns[t].parts = parts;
        turns[t].n_parts = from->n_parts;
    }
    return turns;
}

static int prompt_of_turns(const struct preparer *preparer, const struct generate_request *request, struct prompt *prompt,
                           const int (*grids)[2], struct error *err)
{
    struct prompt_turn *turns = turns_of(request, err);
    if (!turns)
        return -1;
    int rc = prompt_make_turns(prompt, preparer->options.config, preparer->options.tokenizer, turns, request->n_turns, grids,
                               request->n_pictures, err);
    turns_free(turns, request->n_turns);
    return rc;
}

static int prompt_of(const struct preparer *preparer, const struct generate_request *request, struct prompt *prompt,
                     const int (*grids)[2], struct error *err)
{
    const struct preparer_options *o = &preparer->options;
    if (request->turns)
        return prompt_of_turns(preparer, request, prompt, grids, err);
    if (request->ids)
        return prompt_make_ids(prompt, o->config, request->ids, request->n_ids, grids, request->n_pictures, err);
    return prompt_make(prompt, o->config, o->tokenizer, request->prompt, grids, request->n_pictures, err);
}

/* A prompt that leaves no room for an answer, or is longer than the service takes any. */
static enum rpc_status prompt_check(const struct preparer_options *o, int n, struct error *err)
{
    int end = o->config->max_positions;
    if (n >= end) {
        fail(err, "prompt: %d tokens, but the context of the model is %d, the answer included", n, end);
        return RPC_INVALID_ARGUMENT;
    }
    if (o->max_prompt_tokens && n > o->max_prompt_tokens) {
        fail(err, "prompt: %d tokens, but this service takes at most %d (--max-prompt-tokens)", n, o->max_prompt_tokens);
        return RPC_RESOURCE_EXHAUSTED;
    }
    return RPC_OK;
}

/* Fills prompt from the sizes of the pictures; what is too long is refused before the tower runs. */
static enum rpc_status prompt_begin(const struct preparer *preparer, const struct generate_request *request,
                                    const struct draft_picture *pictures, struct prompt *prompt, struct error *err)
{
    int(*grids)[2] = mem_new((size_t)request->n_pictures, sizeof *grids);
    for (int i = 0; i < request->n_pictures; i++) {
        grids[i][0] = pictures[i].shared->lines;
        grids[i][1] = pictures[i].shared->columns;
    }
    int rc = prompt_of(preparer, request, prompt, (const int(*)[2])grids, err);
    free(grids);
    if (rc != 0)
        return RPC_INVALID_ARGUMENT;
    enum rpc_status status = prompt_check(&preparer->options, prompt->n, err);
    if (status != RPC_OK) {
        prompt_free(prompt);
        *prompt = (struct prompt){0};
    }
    return status;
}

/* ---- the whole ---- */

static void prepared_take(struct prepared *prepared, const struct draft_picture *pictures, int n)
{
    prepared->n_pictures = n;
    prepared->pictures = mem_new((size_t)n, sizeof *prepared->pictures);
    for (int i = 0; i < n; i++) {
        struct shared_picture *shared = shared_picture_hold(pictures[i].shared);
        prepared->pictures[i] = (struct prepared_picture){
            .hash = {shared->hash[0], shared->hash[1]},
            .rows = shared->rows,
            .target = shared->target,
            .drafter = shared->drafter,
            .shared = shared,
        };
        prepared->image_tokens += shared->rows;
    }
}

enum rpc_status prepare_request(struct preparer *preparer, const struct generate_request *request, struct prepared *prepared,
                                struct error *err)
{
    int n = request->n_pictures;
    double begin = clock_seconds();
    struct draft_picture *pictures = mem_new((size_t)n, sizeof *pictures);
    *prepared = (struct prepared){0};
    enum rpc_status status = pictures_begin(preparer, pictures, request, err);
    double read = clock_seconds();
    if (status == RPC_OK)
        status = prompt_begin(preparer, request, pictures, &prepared->prompt, err);
    double worded = clock_seconds();
    if (status == RPC_OK && pictures_finish(preparer, pictures, n, err) != 0)
        status = RPC_INVALID_ARGUMENT;
    prepared->image_ms = 1e3 * (read - begin + clock_seconds() - worded);
    if (status == RPC_OK)
        prepared_take(prepared, pictures, n);
    else
        prepared_free(prepared);
    pictures_drop(pictures, n);
    return status;
}

void prepared_copy(struct prepared *to, const struct prepared *from)
{
    *to = *from;
    prompt_copy(&to->prompt, &from->prompt);
    to->pictures = mem_new((size_t)from->n_pictures, sizeof *to->pictures);
    for (int i = 0; i < to->n_pictures; i++) {
        to->pictures[i] = from->pictures[i];
        shared_picture_hold(to->pictures[i].shared);
    }
}

void prepared_free(struct prepared *prepared)
{
    for (int i = 0; i < prepared->n_pictures; i++)
        shared_picture_drop(prepared->pictures[i].shared);
    free(prepared->pictures);
    prompt_free(&prepared->prompt);
    *prepared = (struct prepared){0};
}
