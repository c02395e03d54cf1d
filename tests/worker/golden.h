/* golden.h - a case of tests/golden as requests of an engine, and the driver that runs them as a scheduler would: the prompt in
 * chunks, then steps of drafts that are right, wrong or both */
#ifndef TESTS_WORKER_GOLDEN_H
#define TESTS_WORKER_GOLDEN_H

#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/safetensors.h"
#include "worker/engine.h"

#define GOLDEN_TARGET "tests/golden/qwen25vl-tiny"

enum { GOLDEN_TOKENS = 48, GOLDEN_PICTURES = 4 };

/* ---- cases ---- */

struct golden {
    int n, next_position, n_pictures;
    int32_t *ids;
    int32_t (*positions)[3];
    struct golden_picture {
        int first, count, width;
        float *features;
        uint64_t hash[2];
    } pictures[GOLDEN_PICTURES];
    int32_t greedy[GOLDEN_TOKENS], penalty[GOLDEN_TOKENS];
};

static inline void *golden_tensor(struct safetensors *st, const char *name, struct tensor *tensor)
{
    const struct tensor *t = safetensors_find(st, name);
    if (!t)
        return NULL;
    int64_t cols = 1, rows = t->dims > 1 ? t->shape[0] : 1;
    for (int i = t->dims > 1 ? 1 : 0; i < t->dims; i++)
        cols *= t->shape[i];
    void *data = mem_new(t->bytes, 1);
    assert_int_equal(safetensors_read(st, t, 0, rows, 0, cols, data, NULL), 0);
    *tensor = *t;
    return data;
}

static inline int golden_integers(struct safetensors *st, const char *name, int32_t **out)
{
    struct tensor t = {0};
    int64_t *data = golden_tensor(st, name, &t);
    assert_non_null(data);
    int n = (int)(t.bytes / sizeof *data);
    *out = mem_new((size_t)n, sizeof **out);
    for (int i = 0; i < n; i++)
        (*out)[i] = (int32_t)data[i];
    free(data);
    return n;
}

static inline void golden_pictures(struct golden *g, struct safetensors *st, uint64_t seed, int32_t image_id)
{
    int row = 0;
    for (int i = 0; i < GOLDEN_PICTURES; i++) {
        char name[32];
        struct tensor t = {0};
        snprintf(name, sizeof name, "image_features.%d", i);
        struct golden_picture *p = &g->pictures[i];
        p->features = golden_tensor(st, name, &t);
        if (!p->features)
            return;
        while (g->ids[row] != image_id)
            row++;
        p->first = row;
        p->count = (int)t.shape[0];
        p->width = (int)t.shape[1];
        p->hash[0] = seed;
        p->hash[1] = (uint64_t)i;
        row += p->count;
        g->n_pictures++;
    }
}

/* Tokens that the file lists, or what it does not have as zeros. */
static inline void golden_tokens(struct safetensors *st, const char *name, int32_t out[GOLDEN_TOKENS])
{
    int32_t *ids;
    if (!safetensors_find(st, name))
        return;
    assert_int_equal(golden_integers(st, name, &ids), GOLDEN_TOKENS);
    memcpy(out, ids, GOLDEN_TOKENS * sizeof *out);
    free(ids);
}

static inline struct golden *golden_read(const char *folder, const char *name)
{
    char path[256];
    struct safetensors *st;
    struct error err;
    struct golden *g = mem_new(1, sizeof *g);
    struct model_config config;
    int32_t *positions;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", folder, name);
    if (safetensors_open(&st, path, &err) != 0)
        fail_msg("%s", err.text);
    g->n = golden_integers(st, "input_ids", &g->ids);
    int axes = golden_integers(st, "position_ids", &positions) / g->n;
    g->positions = mem_new((size_t)g->n, sizeof *g->positions);
    for (int r = 0; r < g->n; r++)
        for (int axis = 0; axis < 3; axis++)
            g->positions[r][axis] = positions[(axes == 3 ? axis : 0) * g->n + r];
    free(positions);
    for (int axis = 0; axis < 3; axis++) /* the last row is text: all axes agree */
        g->next_position = g->positions[g->n - 1][axis] + 1;
    if (config_read(&config, folder, &err) != 0)
        fail_msg("%s", err.text);
    golden_pictures(g, st, (uint64_t)name[0] << 8 | (uint64_t)name[1], config.image_id);
    golden_tokens(st, "greedy_ids", g->greedy);
    golden_tokens(st, "penalty_ids", g->penalty);
    safetensors_close(st);
    return g;
}

static inline void golden_free(struct golden *g)
{
    for (int i = 0; i < g->n_pictures; i++)
        free(g->pictures[i].features);
    free(g->ids);
    free(g->positions);
    free(g);
}

/* ---- a group in this process ---- */

struct group {
    struct comm *comm;
    const struct kernels *kernels;
    struct device *device;
    struct model_config config;
    struct model *model;
    struct engine *engine;
};

enum { GROUP_ROWS = 256, GROUP_POSITIONS = 2048 };

static inline void group_open(struct group *g, const char *dir, struct comm *comm, int kv_positions)
{
    struct error err;
    struct safetensors *st;
    const struct device_options device = {.threads = 1};
    g->comm = comm;
    g->kernels = kernels_cpu();
    g->device = g->kernels->open(&device, &err);
    const struct model_options options = {
        .kernels = g->kernels, .device = g->device, .comm = comm, .kv_positions = kv_positions, .max_rows = GROUP_ROWS};
    if (!g->device || config_read(&g->config, dir, &err) != 0 || safetensors_open(&st, dir, &err) != 0 ||
        model_open(&g->model, st, &g->config, &options, &err) != 0)
        fail_msg("%s", err.text);
    safetensors_close(st);
    const struct engine_options engine = {
        .model = g->model, .comm = comm, .config = &g->config, .max_rows = GROUP_ROWS, .picture_bytes = 1 << 20};
    g->engine = engine_new(&engine);
}

static inline void group_close(struct group *g)
{
    engine_free(g->engine);
    model_close(g->model);
    g->kernels->close(g->device);
}

/* A case's pictures, in pieces of seven rows. */
static inline void group_pictures(struct group *g, const struct golden *golden)
{
    for (int i = 0; i < golden->n_pictures; i++) {
        const struct golden_picture *p = &golden->pictures[i];
        for (int first = 0; first < p->count; first += 7) {
            struct step_piece piece = {
                .hash = {p->hash[0], p->hash[1]},
                .rows = p->count,
                .width = p->width,
                .first = first,
                .n = p->count - first < 7 ? p->count - first : 7,
                .features = p->features + (size_t)first * (size_t)p->width,
            };
            struct error err;
            if (engine_piece(g->engine, &piece, &err) != 0)
                fail_msg("%s", err.text);
        }
    }
}

/* ---- a request ---- */

/* Keys of the pages of the prompt under test. */
enum { GOLDEN_KEYS = 8 };
static uint64_t golden_keys[GOLDEN_KEYS][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}, {8, 8}};

enum drafts { DRAFTS_RIGHT, DRAFTS_WRONG, DRAFTS_MIXED };

struct request {
    uint64_t id;
    const struct golden *golden;
    const int32_t *wanted; /* golden->greedy or ->penalty: where drafts come from */
    struct sampling sampling;
    int k;
    enum drafts drafts;
    int length; /* positions that the group has */
    int32_t tokens[2 * GOLDEN_TOKENS];
    int n;                                       /* of tokens */
    struct logprobs logprobs[2 * GOLDEN_TOKENS]; /* of tokens, where they are wanted and on rank 0 */
    int steps;                                   /* with generated rows */
    bool keeps, keeps_local;                     /* its whole pages, under golden_keys; those of local layers, too */
    int adopts;                                  /* so many pages at its start, `length` of them already counted; 0 after that */
    /* What the span being built points into. */
    int32_t ids[32];
    struct step_picture pictures[GOLDEN_PICTURES];
    struct draft_weights weights[16]; /* (k) in the mode REJECTION: each draft was certain */
    uint64_t keep[KV_KINDS * GOLDEN_KEYS][2];
    int32_t keep_pages[KV_KINDS * GOLDEN_KEYS];
};

static inline int least(int a, int b)
{
    return a < b ? a : b;
}

/* At most `rows` of the prompt. */
static inline struct step_span request_prompt_span(struct request *r, int rows)
{
    const struct golden *g = r->golden;
    struct step_span span = {
        .sequence = r->id,
        .n = least(rows, g->n - r->length),
        .ids = g->ids + r->length,
        .positions = g->positions + r->length,
        .length = r->length,
        .pictures = r->pictures,
        .sampling = r->sampling,
    };
    span.want_token = r->length + span.n == g->n;
    span.n_adopt = r->adopts;
    span.adopt = golden_keys;
    for (int page = r->length / MODEL_PAGE_POSITIONS; r->keeps && page < (r->length + span.n) / MODEL_PAGE_POSITIONS; page++)
        for (int local = 0; local <= r->keeps_local; local++) {
            step_key_of(r->keep[span.n_keep], golden_keys[page], local);
            r->keep_pages[span.n_keep++] = page;
        }
    span.keep = r->keep;
    span.keep_pages = r->keep_pages;
    for (int i = 0; i < g->n_pictures; i++) {
        const struct golden_picture *p = &g->pictures[i];
        int begin = p->first > r->length ? p->first : r->length, end = least(p->first + p->count, r->length + span.n);
        if (begin < end)
            r->pictures[span.n_pictures++] = (struct step_picture){
                {p->hash[0], p->hash[1]}, .first = begin - r->length, .picture_row = begin - p->first, .count = end - begin};
    }
    return span;
}

/* The draft for answer token i, as good as the request's kind of drafts: mixed ones go wrong after i steps modulo 3. */
static inline int32_t request_draft(const struct request *r, int i, int j)
{
    int32_t right = i < GOLDEN_TOKENS ? r->wanted[i] : 7, wrong = (right + 1) % 600;
    if (r->drafts == DRAFTS_MIXED)
        return j < r->steps % (r->k + 1) ? right : wrong;
    return r->drafts == DRAFTS_RIGHT ? right : wrong;
}

/* The last token and k drafts. */
static inline struct step_span request_answer_span(struct request *r)
{
    r->ids[0] = r->tokens[r->n - 1];
    for (int j = 0; j < r->k; j++) {
        r->ids[1 + j] = request_draft(r, r->n + j, j);
        r->weights[j] = (struct draft_weights){.ids = {r->ids[1 + j]}, .weight = {1}, .n = 1};
    }
    return (struct step_span){
        .sequence = r->id,
        .n = 1 + r->k,
        .ids = r->ids,
        .position = r->golden->next_position + r->n - 1,
        .length = r->length,
        .generated = true,
        .drafts = r->k,
        .want_token = true,
        .sampling = r->sampling,
        .answered = r->n,
        .weights = sampling_rejects(&r->sampling) ? r->weights : NULL,
    };
}

static inline struct step_span request_span(struct request *r, int rows)
{
    return r->length < r->golden->n ? request_prompt_span(r, rows) : request_answer_span(r);
}

static inline void request_take(struct request *r, const struct step_span *span, const struct step_answer *answer)
{
    if (answer->logprobs)
        memcpy(r->logprobs + r->n, answer->logprobs, (size_t)(answer->accepted + 1) * sizeof *answer->logprobs);
    for (int i = 0; i < answer->accepted; i++)
        r->tokens[r->n++] = span->ids[span->n - span->drafts + i];
    if (span->want_token)
        r->tokens[r->n++] = answer->next;
    r->length = span->length + span->n - span->drafts + answer->accepted;
    r->steps += span->generated;
    r->adopts = 0;
}

/* One step with all requests that are not finished; the prompts in chunks of `rows`. False when all are. */
static inline bool requests_step(struct group *g, struct request *requests, int count, int rows)
{
    struct step_span spans[8];
    struct request *owners[8] = {NULL};
    struct step_verdict verdict;
    struct step step = {.id = 1, .spans = spans};
    for (int i = 0; i < count; i++)
        if (requests[i].n < GOLDEN_TOKENS) {
            owners[step.n_spans] = &requests[i];
            spans[step.n_spans++] = request_span(&requests[i], rows);
        }
    if (step.n_spans == 0)
        return false;
    engine_step(g->engine, &step, &verdict);
    if (verdict.error[0])
        fail_msg("%s", verdict.error);
    assert_int_equal(verdict.n_answers, step.n_spans);
    for (int i = 0; i < step.n_spans; i++)
        request_take(owners[i], &spans[i], &verdict.answers[i]);
    engine_verdict_free(&verdict);
    return true;
}

static inline void requests_run(struct group *g, struct request *requests, int count, int rows)
{
    while (requests_step(g, requests, count, rows))
        ;
}

static inline void group_release(struct group *g, uint64_t id)
{
    struct step step = {.release = &id, .n_release = 1};
    struct step_verdict verdict;
    engine_step(g->engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
}

static inline void assert_tokens(const int32_t *got, const int32_t *wanted, int n)
{
    for (int i = 0; i < n; i++)
        if (got[i] != wanted[i])
            fail_msg("token %d is %d, should be %d", i, got[i], wanted[i]);
}

#endif
