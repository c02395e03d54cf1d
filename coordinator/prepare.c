/* prepare.c - the preparing thread's work on one request, cheap checks first: pictures to sizes, prompt to ids, then the tower */
#include "coordinator/prepare.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/prepare_parts.h"

enum { PREPARE_RECENT_BYTES = 256 << 20 };

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
                           const struct picture_shape *shapes, struct error *err)
{
    struct prompt_turn *turns = turns_of(request, err);
    if (!turns)
        return -1;
    int rc = prompt_make_turns(prompt, preparer->options.config, preparer->options.tokenizer, turns, request->n_turns, shapes,
                               request->n_pictures, err);
    turns_free(turns, request->n_turns);
    return rc;
}

static int prompt_of(const struct preparer *preparer, const struct generate_request *request, struct prompt *prompt,
                     const struct picture_shape *shapes, struct error *err)
{
    const struct preparer_options *o = &preparer->options;
    if (request->turns)
        return prompt_of_turns(preparer, request, prompt, shapes, err);
    if (request->ids)
        return prompt_make_ids(prompt, o->config, request->ids, request->n_ids, shapes, request->n_pictures, err) == 0
                   ? 0
                   : fail_in(err, "token_ids");
    return prompt_make(prompt, o->config, o->tokenizer, request->prompt, shapes, request->n_pictures, err);
}

enum rpc_status prepare_rows_check(const struct preparer *preparer, int64_t n, struct error *err)
{
    const struct preparer_options *o = &preparer->options;
    int end = o->config->max_positions;
    if (n >= end) {
        fail(err, "prompt: %" PRId64 " tokens, but the context of the model is %d, the answer included", n, end);
        return RPC_INVALID_ARGUMENT;
    }
    if (o->max_prompt_tokens && n > o->max_prompt_tokens) {
        fail(err, "prompt: %" PRId64 " tokens, but this service takes at most %d (--max-prompt-tokens)", n, o->max_prompt_tokens);
        return RPC_RESOURCE_EXHAUSTED;
    }
    return RPC_OK;
}

/* Fills prompt from the sizes of the pictures; what is too long is refused before the tower runs. */
static enum rpc_status prompt_begin(const struct preparer *preparer, const struct generate_request *request,
                                    const struct draft_picture *pictures, struct prompt *prompt, struct error *err)
{
    struct picture_shape *shapes = mem_new((size_t)request->n_pictures, sizeof *shapes);
    for (int i = 0; i < request->n_pictures; i++)
        shapes[i] = pictures[i].shared->shape;
    int rc = prompt_of(preparer, request, prompt, shapes, err);
    free(shapes);
    if (rc != 0)
        return RPC_INVALID_ARGUMENT;
    enum rpc_status status = prepare_rows_check(preparer, prompt->n, err);
    if (status != RPC_OK) {
        prompt_free(prompt);
        *prompt = (struct prompt){0};
    }
    return status;
}

/* ---- the whole ---- */

/* View v of a picture: the file's hash, or for a crop one that is made of it, its number and how many there are. */
static struct prepared_picture prepared_view(const struct preparer *preparer, struct shared_picture *shared, int v)
{
    const struct preparer_options *o = &preparer->options;
    size_t first = (size_t)v * (size_t)shared->rows, drafter_first = (size_t)v * (size_t)shared->drafter_rows;
    const uint64_t named[] = {shared->hash[0], shared->hash[1], (uint64_t)v, (uint64_t)shared->shape.crops};
    XXH128_hash_t crop = XXH3_128bits(named, sizeof named);
    return (struct prepared_picture){
        .hash = {v ? crop.high64 : shared->hash[0], v ? crop.low64 : shared->hash[1]},
        .rows = shared->rows,
        .target = shared->target + first * (size_t)o->config->d,
        .drafter = shared->drafter ? shared->drafter + drafter_first * (size_t)drafter_width(o->drafter) : NULL,
        .shared = shared_picture_hold(shared),
    };
}

static void prepared_take(const struct preparer *preparer, struct prepared *prepared, const struct draft_picture *pictures, int n)
{
    prepared->pictures = mem_new((size_t)prepared->prompt.n_pictures, sizeof *prepared->pictures);
    for (int i = 0; i < n; i++)
        for (int v = 0; v <= pictures[i].shared->shape.crops; v++) {
            prepared->pictures[prepared->n_pictures++] = prepared_view(preparer, pictures[i].shared, v);
            prepared->image_tokens += pictures[i].shared->rows;
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
        prepared_take(preparer, prepared, pictures, n);
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
