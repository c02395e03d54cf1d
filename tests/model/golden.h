/* golden.h - for tests of the language model: a model opened on the CPU, and the golden cases of tests/golden as spans */
#ifndef TESTS_MODEL_GOLDEN_H
#define TESTS_MODEL_GOLDEN_H

#include "tests/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cluster/comm.h"
#include "model/model.h"

enum { GOLDEN_PICTURES = 4, GOLDEN_STEPS = 48, GOLDEN_VERIFY = 5 };

/* f32 against f32: an independent f64 computation differs from the goldens by up to 3e-5; every mistake tried changes more. */
#define GOLDEN_TOLERANCE 2e-4

struct opened {
    struct comm *comm;
    struct device *dev;
    struct model_config config;
    struct model *model;
    const struct kernels *k;
};

static inline void check_ok(int status, const struct error *err)
{
    if (status)
        fail_msg("%s", err->text);
}

/* folder: of tests/golden or models. comm: NULL for one rank of its own. */
static inline struct opened opened_with(const char *folder, struct comm *comm, int kv_positions, int max_rows)
{
    struct error err;
    struct opened o = {.comm = comm, .k = kernels_cpu()};
    const struct device_options device = {.threads = comm && comm->size > 1 ? 1 : 2, .activations_f32 = true};
    struct safetensors *st = NULL;
    if (!comm)
        check_ok(comm_open_one(&o.comm, &err), &err);
    o.dev = o.k->open(&device, &err);
    check_ok(o.dev ? 0 : -1, &err);
    check_ok(config_read(&o.config, folder, &err), &err);
    check_ok(safetensors_open(&st, folder, &err), &err);
    const struct model_options options = {
        .kernels = o.k, .device = o.dev, .comm = o.comm, .kv_positions = kv_positions, .max_rows = max_rows};
    check_ok(model_open(&o.model, st, &o.config, &options, &err), &err);
    safetensors_close(st);
    return o;
}

static inline void opened_close(struct opened *o, int own_comm)
{
    model_close(o->model);
    o->k->close(o->dev);
    if (own_comm)
        comm_close(o->comm);
}

/* One case: the prompt, what transformers computed from it, and room for what follows the prompt. */
struct golden {
    struct safetensors *st;
    char path[256];
    int n, vocabulary, next_position;
    int32_t *ids;            /* (n + GOLDEN_STEPS) */
    int32_t (*positions)[3]; /* (n + GOLDEN_STEPS) */
    struct span_picture pictures[GOLDEN_PICTURES];
    float *features[GOLDEN_PICTURES];
    int n_pictures;
    float *logits; /* (n, vocabulary) */
    float penalty; /* repetition_penalty of penalty_ids */
};

/* A tensor of the case, malloc'ed, or NULL where it has none. */
static inline void *golden_tensor(const struct golden *g, const char *name, int64_t *rows, int64_t *cols)
{
    struct error err;
    const struct tensor *t = safetensors_find(g->st, name);
    if (!t)
        return NULL;
    tensor_matrix(t, rows, cols);
    void *data = mem_new(t->bytes, 1);
    check_ok(safetensors_read(g->st, t, 0, *rows, 0, *cols, data, &err), &err);
    return data;
}

static inline void golden_ids(const struct golden *g, const char *name, int32_t *ids)
{
    int64_t rows, cols, *wide = golden_tensor(g, name, &rows, &cols);
    assert_non_null(wide);
    for (int64_t i = 0; i < cols; i++)
        ids[i] = (int32_t)wide[i];
    free(wide);
}

static inline void golden_positions(struct golden *g)
{
    int64_t rows, cols, *wide = golden_tensor(g, "position_ids", &rows, &cols);
    for (int i = 0; i < g->n; i++)
        for (int axis = 0; axis < 3; axis++) {
            g->positions[i][axis] = (int32_t)wide[(rows > 1 ? axis * cols : 0) + i];
            if (g->positions[i][axis] >= g->next_position)
                g->next_position = g->positions[i][axis] + 1;
        }
    for (int i = 0; i < GOLDEN_STEPS; i++)
        for (int axis = 0; axis < 3; axis++)
            g->positions[g->n + i][axis] = g->next_position + i;
    free(wide);
}

/* The i-th run of image ids takes the i-th features. */
static inline void golden_pictures(struct golden *g, int32_t image_id)
{
    for (int i = 0; i < g->n && image_id >= 0; i++) {
        int64_t rows, cols;
        char name[32];
        if (g->ids[i] != image_id)
            continue;
        snprintf(name, sizeof name, "image_features.%d", g->n_pictures);
        float *features = golden_tensor(g, name, &rows, &cols);
        assert_non_null(features);
        g->features[g->n_pictures] = features;
        g->pictures[g->n_pictures++] = (struct span_picture){i, (int)rows, features};
        i += (int)rows;
    }
}

/* Of the folder's cases.json. */
static inline float golden_penalty(const char *folder)
{
    char *path = mem_format("%s/golden/cases.json", folder);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    double penalty = json_number_value(json_object_get(root, "repetition_penalty"));
    assert_true(penalty > 1);
    json_decref(root);
    free(path);
    return (float)penalty;
}

static inline struct golden golden_open(const char *folder, const char *name, int32_t image_id)
{
    struct error err;
    struct golden g = {0};
    int64_t rows, cols;
    snprintf(g.path, sizeof g.path, "%s/golden/%s.safetensors", folder, name);
    check_ok(safetensors_open(&g.st, g.path, &err), &err);
    tensor_matrix(safetensors_find(g.st, "input_ids"), &rows, &cols);
    g.n = (int)cols;
    g.ids = mem_new((size_t)g.n + GOLDEN_STEPS, sizeof *g.ids);
    g.positions = mem_new((size_t)g.n + GOLDEN_STEPS, sizeof *g.positions);
    golden_ids(&g, "input_ids", g.ids);
    golden_positions(&g);
    golden_pictures(&g, image_id);
    g.logits = golden_tensor(&g, "logits", &rows, &cols);
    g.vocabulary = (int)cols;
    g.penalty = golden_penalty(folder);
    return g;
}

static inline void golden_close(struct golden *g)
{
    safetensors_close(g->st);
    for (int i = 0; i < g->n_pictures; i++)
        free(g->features[i]);
    free(g->ids);
    free(g->positions);
    free(g->logits);
}

/* The whole prompt. */
static inline struct span golden_prompt(const struct golden *g, struct sequence *sequence, int n_scored)
{
    return (struct span){.sequence = sequence,
                         .n = g->n,
                         .ids = g->ids,
                         .positions = (const int32_t(*)[3])g->positions,
                         .n_scored = n_scored,
                         .pictures = g->pictures,
                         .n_pictures = g->n_pictures,
                         .repetition_penalty = 1};
}

/* n rows from the `first`-th on, after the prompt: generated ones. */
static inline struct span golden_generated(const struct golden *g, struct sequence *sequence, int first, int n, float penalty)
{
    return (struct span){.sequence = sequence,
                         .n = n,
                         .ids = g->ids + first,
                         .positions = (const int32_t(*)[3])(g->positions + first),
                         .generated = true,
                         .n_scored = n,
                         .repetition_penalty = penalty,
                         .history = g->ids,
                         .n_history = first};
}

static inline void extend(struct opened *o, const struct span *spans, int n)
{
    struct error err;
    check_ok(model_extend(o->model, spans, n, &err), &err);
}

/* Scores of the last step, (model_scored_rows, vocabulary); malloc'ed. */
static inline float *scores_of(struct opened *o)
{
    float *scores = mem_new((size_t)model_scored_rows(o->model) * (size_t)o->config.vocabulary, sizeof *scores);
    model_scores(o->model, scores);
    return scores;
}

static inline double largest_difference(const float *a, const float *b, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        most = difference > most || isnan(difference) ? difference : most;
    }
    return most;
}

static inline void check_close(const struct golden *g, const char *what, const float *have, const float *want, size_t count)
{
    double most = largest_difference(have, want, count);
    if (!(most <= GOLDEN_TOLERANCE))
        fail_msg("%s: %s differ by %g", g->path, what, most);
}

/* The column of the largest, the lowest on ties. */
static inline int32_t argmax(const float *x, int n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Greedy continuation of a prompt, `steps` ids into g->ids behind the prompt. */
static inline void golden_greedy(struct opened *o, struct golden *g, int steps, float penalty)
{
    struct sequence *sequence = sequence_new(o->model);
    struct span span = golden_prompt(g, sequence, 1);
    span.repetition_penalty = penalty;
    for (int i = 0; i < steps; i++) {
        extend(o, &span, 1);
        model_best(o->model, &g->ids[g->n + i]);
        span = golden_generated(g, sequence, g->n + i, 1, penalty);
    }
    sequence_release(o->model, sequence);
}

#endif
