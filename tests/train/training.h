/* training.h - for tests of the network that is trained: the golden batches of tests/golden/training*, and networks on them */
#ifndef TESTS_TRAIN_TRAINING_H
#define TESTS_TRAIN_TRAINING_H

#include "tests/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/config.h"
#include "train/graft.h"
#include "train/network_parts.h"

enum { TRAINING_SAMPLES = 3, TRAINING_PICTURES = 2 };

static inline void check_ok(int status, const struct error *err)
{
    if (status)
        fail_msg("%s", err->text);
}

/* One of the golden folders. */
struct training {
    const char *folder, *drafter;
    const char *target; /* whose eyes the drafter, a text model, gets; NULL: it is trained as its folder has it */
    const char *eyes;   /* whose tower stands in front of its projector, and nothing else of that; NULL: its own, or the target's */
    const char *config; /* of the config.json; NULL: the drafter's */
    int32_t image_id;
    enum projector_kind projector;
    bool fresh_file; /* the projector before training stands in projector.safetensors, not in the drafter's folder */
    size_t stride;   /* the files hold every stride-th number of a parameter, or, of a small one, all; 0: all of all */
};

static const struct training training_merger = {
    .folder = "tests/golden/training_merger", .drafter = "tests/golden/massv-tiny", .image_id = 652};
static const struct training training_plain = {.folder = "tests/golden/training",
                                               .drafter = "tests/golden/qwen2-tiny",
                                               .eyes = "tests/golden/qwen25vl-tiny",
                                               .image_id = 652,
                                               .projector = PROJECTOR_PLAIN,
                                               .fresh_file = true};
/* A picture's tokens are more than the window of this drafter's local layers. */
static const struct training training_gemma = {.folder = "tests/golden/training_gemma",
                                               .drafter = "tests/golden/gemma3-text-tiny",
                                               .target = "tests/golden/gemma3-tiny",
                                               .image_id = 832,
                                               .fresh_file = true,
                                               .stride = 13};
/* Without pictures: its projector, of whatever kind, has no gradients. Soft caps, a query scalar and a rope factor. */
static const struct training training_gemma_text = {.folder = "tests/golden/training_gemma_text",
                                                    .drafter = "tests/golden/gemma3-text-tiny",
                                                    .eyes = "tests/golden/gemma3-tiny",
                                                    .config = "tests/golden/training_gemma_text",
                                                    .image_id = 832,
                                                    .projector = PROJECTOR_LINEAR,
                                                    .stride = 13};

/* A safetensors file of the folder. */
static inline struct safetensors *training_file(const struct training *t, const char *name)
{
    struct error err;
    struct safetensors *st;
    char path[256];
    snprintf(path, sizeof path, "%s/%s.safetensors", t->folder, name);
    check_ok(safetensors_open(&st, path, &err), &err);
    return st;
}

/* A whole tensor, malloc'ed; NULL where there is none. i < 0: no index behind the name. */
static inline void *training_tensor(struct safetensors *st, const char *name, int i, int64_t *rows, int64_t *cols)
{
    struct error err;
    char whole[256];
    snprintf(whole, sizeof whole, i < 0 ? "%s" : "%s.%d", name, i);
    const struct tensor *t = safetensors_find(st, whole);
    if (!t)
        return NULL;
    tensor_matrix(t, rows, cols);
    void *data = mem_new(t->bytes + 1, 1);
    if (t->bytes)
        check_ok(safetensors_read(st, t, 0, *rows, 0, *cols, data, &err), &err);
    return data;
}

static inline int32_t *training_ints(struct safetensors *st, const char *name, int i, int *count)
{
    int64_t rows = 0, cols = 0, *wide = training_tensor(st, name, i, &rows, &cols);
    if (!wide)
        return NULL;
    *count = (int)(rows * cols);
    int32_t *ints = mem_new((size_t)*count, sizeof *ints);
    for (int j = 0; j < *count; j++)
        ints[j] = (int32_t)wide[j];
    free(wide);
    return ints;
}

/* The samples of the folder's batch. */
struct training_batch {
    struct train_sample samples[TRAINING_SAMPLES];
    struct train_picture pictures[TRAINING_SAMPLES][TRAINING_PICTURES];
    float *features[TRAINING_SAMPLES];
    int supervised;
};

static inline void training_pictures(struct train_sample *s, int32_t image_id, struct train_picture *pictures,
                                     const float *features, int64_t width)
{
    s->pictures = pictures;
    for (int t = 0; t < s->n; t++) {
        if (s->ids[t] != image_id)
            continue;
        struct train_picture *p = &pictures[s->n_pictures++];
        *p = (struct train_picture){.first = t, .features = features};
        for (; t < s->n && s->ids[t] == image_id; t++)
            p->rows++;
        features += p->rows * width;
    }
}

/* The samples point into b. */
static inline void training_batch_read(struct training_batch *b, const struct training *t)
{
    *b = (struct training_batch){0};
    struct safetensors *st = training_file(t, "batch");
    for (int i = 0; i < TRAINING_SAMPLES; i++) {
        struct train_sample *s = &b->samples[i];
        int count = 0;
        int64_t rows = 0, width = 0, probs = 0;
        s->ids = training_ints(st, "ids", i, &s->n);
        s->labels = training_ints(st, "labels", i, &count);
        assert_int_equal(count, s->n);
        int32_t(*positions)[3] = mem_new((size_t)s->n, sizeof *positions), *axes = training_ints(st, "position_ids", i, &count);
        for (int p = 0; p < s->n; p++)
            for (int axis = 0; axis < 3; axis++)
                positions[p][axis] = axes ? axes[axis * s->n + p] : p;
        free(axes);
        s->positions = (const int32_t(*)[3])positions;
        b->features[i] = training_tensor(st, "features", i, &rows, &width);
        training_pictures(s, t->image_id, b->pictures[i], b->features[i], width);
        b->supervised += train_sample_supervised(s);
        s->soft_ids = training_ints(st, "soft_ids", i, &count);
        s->soft_probs = training_tensor(st, "soft_probs", i, &rows, &probs);
        s->soft_k = (int)probs;
    }
    safetensors_close(st);
}

static inline void training_batch_free(struct training_batch *b)
{
    for (int i = 0; i < TRAINING_SAMPLES; i++) {
        void *all[] = {(void *)(uintptr_t)b->samples[i].ids,        (void *)(uintptr_t)b->samples[i].labels,
                       (void *)(uintptr_t)b->samples[i].positions,  (void *)(uintptr_t)b->samples[i].soft_ids,
                       (void *)(uintptr_t)b->samples[i].soft_probs, b->features[i]};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            free(all[j]);
    }
}

/* How a network is opened; zeros: the default. */
struct training_options {
    const char *isa;
    int threads;
    bool language, recompute, bf16;
    uint64_t fresh;                /* seed of a fresh projector */
    enum projector_kind projector; /* MLP: that of the golden folder */
    int queries;
};

static inline void training_config(struct model_config *config, const struct training *t, const struct training_options *o)
{
    struct error err;
    struct model_config other, language;
    enum projector_kind kind = o->projector ? o->projector : t->projector;
    const struct graft_projector wanted = {(int)kind, o->queries};
    check_ok(config_read(config, t->config ? t->config : t->drafter, &err), &err);
    if (t->target) {
        language = *config;
        check_ok(config_read(&other, t->target, &err), &err);
        check_ok(graft_config(config, &other, &language, &wanted, &err), &err);
    }
    if (t->eyes) {
        check_ok(config_read(&other, t->eyes, &err), &err);
        config->vision = other.vision;
        config->vision.out_d = config->d;
    }
    config->projector = kind;
    config->queries = o->queries;
}

static inline struct network *training_open(const struct training *t, const struct training_options *o)
{
    struct error err;
    struct model_config config;
    struct network *net = NULL;
    const struct device_options device = {.threads = o->threads ? o->threads : 2, .isa = o->isa};
    struct network_options options = {.kernels = kernels_cpu(),
                                      .grad = grad_kernels_cpu(),
                                      .seed = o->fresh,
                                      .train_language = o->language,
                                      .recompute = o->recompute,
                                      .weights = o->bf16 ? DTYPE_BF16 : DTYPE_F32};
    options.device = options.kernels->open(&device, &err);
    check_ok(options.device ? 0 : -1, &err);
    training_config(&config, t, o);
    struct safetensors *st, *own = t->fresh_file ? training_file(t, "projector") : NULL;
    check_ok(safetensors_open(&st, t->drafter, &err), &err);
    options.projector_weights = o->fresh ? NULL : own ? own : st;
    check_ok(network_open(&net, st, &config, &options, &err), &err);
    safetensors_close(own);
    safetensors_close(st);
    return net;
}

static inline void training_close(struct network *net)
{
    struct device *dev = net->dev;
    network_close(net);
    kernels_cpu()->close(dev);
}

/* Numbers of training.json: section "phases" (or "soft"), a key in it, a key in that. */
static inline json_t *training_json(const struct training *t)
{
    char path[256];
    json_error_t error;
    snprintf(path, sizeof path, "%s/training.json", t->folder);
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s: %s", path, error.text);
    return root;
}

static inline double json_at(const json_t *array, size_t i)
{
    assert_true(json_is_array(array) && i < json_array_size(array));
    return json_number_value(json_array_get(array, i));
}

#endif
