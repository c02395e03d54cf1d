/* target.h - for tests of drafter and preparation: a target's parts in this process, and requests from the cases of tests/golden */
#ifndef TESTS_COORDINATOR_TARGET_H
#define TESTS_COORDINATOR_TARGET_H

#include "tests/model/cases.h"

#include "base/memory.h"
#include "coordinator/prepare.h"
#include "coordinator/shared_picture.h"
#include "model/model.h"

enum { TARGET_STEPS = 48 };

struct target {
    const struct kernels *kernels;
    struct device *device;
    struct model_config config;
    struct tokenizer *tokenizer;
    struct safetensors *st;
    uint64_t tower[2];
    struct drafter *drafter;
    struct preparer *preparer;
};

static inline void must(int rc, const struct error *err)
{
    if (rc != 0)
        fail_msg("%s", err->text);
}

static inline struct drafter_options target_drafter_options(const struct target *t, int kv_positions)
{
    return (struct drafter_options){
        .kernels = t->kernels,
        .device = t->device,
        .vision_device = t->device,
        .kv_positions = kv_positions,
        .share_prompts = true,
        .target = {&t->config, t->tokenizer, t->config.has_vision ? t->tower : NULL},
    };
}

/* drafter: a folder, or NULL. The limits of pictures are the tests' own. */
static inline void target_open(struct target *t, const char *dir, const char *drafter, size_t recent_bytes)
{
    struct error err = {0};
    const struct device_options device = {.threads = 1, .activations_f32 = true};
    *t = (struct target){.kernels = kernels_cpu()};
    t->device = t->kernels->open(&device, &err);
    must(t->device ? 0 : -1, &err);
    must(config_read(&t->config, dir, &err), &err);
    must(tokenizer_open(&t->tokenizer, dir, &err), &err);
    must(safetensors_open(&t->st, dir, &err), &err);
    if (t->config.has_vision)
        must(tower_hash(t->st, &t->config, t->tower, &err), &err);
    const struct drafter_options options = target_drafter_options(t, 4096);
    if (drafter)
        must(drafter_open(&t->drafter, drafter, &options, &err), &err);
    const struct preparer_options prepare = {
        .kernels = t->kernels,
        .device = t->device,
        .config = &t->config,
        .tokenizer = t->tokenizer,
        .drafter = t->drafter,
        .max_picture_pixels = 1 << 20,
        .recent_bytes = recent_bytes,
    };
    must(preparer_open(&t->preparer, t->st, &prepare, &err), &err);
}

static inline void target_close(struct target *t)
{
    preparer_close(t->preparer);
    drafter_close(t->drafter);
    safetensors_close(t->st);
    tokenizer_close(t->tokenizer);
    t->kernels->close(t->device);
}

/* ---- requests ---- */

static inline void request_add_picture(struct generate_request *request, const char *path)
{
    request->pictures = mem_grow(request->pictures, (size_t)request->n_pictures + 1, sizeof *request->pictures);
    struct generate_picture *picture = &request->pictures[request->n_pictures++];
    picture->bytes = case_file(path, &picture->size);
}

static inline void request_add_case_pictures(struct generate_request *request, const json_t *test)
{
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(test, "images"), i, name)
    {
        char path[160];
        snprintf(path, sizeof path, "tests/golden/images/%s", json_string_value(name));
        request_add_picture(request, path);
    }
}

static inline json_t *case_named(json_t *cases, const char *name)
{
    size_t i;
    json_t *test;
    json_array_foreach(cases, i, test) if (strcmp(json_string_value(json_object_get(test, "name")), name) == 0) return test;
    fail_msg("no case %s", name);
    return NULL;
}

/* The rendered prompt of a case and its pictures. */
static inline struct generate_request request_of_case(const json_t *test)
{
    struct generate_request request = {.prompt = mem_string(json_string_value(json_object_get(test, "prompt")))};
    request_add_case_pictures(&request, test);
    return request;
}

static inline void request_free(struct generate_request *request)
{
    for (int i = 0; i < request->n_pictures; i++)
        free(request->pictures[i].bytes);
    free(request->pictures);
    free(request->prompt);
    free(request->ids);
    for (int t = 0; t < request->n_turns; t++) {
        for (int p = 0; p < request->turns[t].n_parts; p++)
            free(request->turns[t].parts[p].text);
        free(request->turns[t].parts);
        free(request->turns[t].role);
    }
    free(request->turns);
    *request = (struct generate_request){0};
}

static inline struct prepared prepared_of_case(struct target *t, const char *folder, const char *name)
{
    struct error err;
    struct prepared prepared;
    json_t *cases = cases_read(folder);
    struct generate_request request = request_of_case(case_named(cases, name));
    must(prepare_request(t->preparer, &request, &prepared, &err), &err);
    request_free(&request);
    json_decref(cases);
    return prepared;
}

#endif
