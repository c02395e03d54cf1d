/* drafter_fixture.h - a drafter beside what its model says when it goes on alone, token by token */
#ifndef TESTS_COORDINATOR_DRAFTER_FIXTURE_H
#define TESTS_COORDINATOR_DRAFTER_FIXTURE_H

#include <limits.h>

#include "tests/coordinator/target.h"

/* ---- the drafter's model alone: one row at a time, nothing rolled back ---- */

struct alone {
    struct comm *comm;
    struct model_config config;
    struct model *model;
};

static inline void alone_open(struct alone *a, const struct target *t, const char *dir)
{
    struct error err;
    struct safetensors *st;
    must(comm_open_one(&a->comm, &err), &err);
    must(config_read(&a->config, dir, &err), &err);
    must(safetensors_open(&st, dir, &err), &err);
    const struct model_options options = {.kernels = t->kernels, .device = t->device, .comm = a->comm, .kv_positions = 2048};
    must(model_open(&a->model, st, &a->config, &options, &err), &err);
    safetensors_close(st);
}

static inline void alone_close(struct alone *a)
{
    model_close(a->model);
    comm_close(a->comm);
}

/* One row; its best next id. */
static inline int32_t alone_row(struct alone *a, struct sequence *s, int32_t id, const int32_t position[3], bool generated,
                                const float *features)
{
    const struct span_picture picture = {.count = 1, .features = features};
    const struct span span = {
        .sequence = s,
        .n = 1,
        .ids = &id,
        .positions = (const int32_t(*)[3])position,
        .generated = generated,
        .n_scored = 1,
        .pictures = &picture,
        .n_pictures = features ? 1 : 0,
        .repetition_penalty = 1,
    };
    struct error err;
    int32_t best;
    must(model_extend(a->model, &span, 1, &err), &err);
    model_best(a->model, &best);
    return best;
}

static const float *alone_features(const struct alone *a, const struct prompt *prompt, float *const *features, int row)
{
    for (int i = 0; i < prompt->n_pictures; i++) {
        const struct prompt_picture *p = &prompt->pictures[i];
        if (row >= p->first && row < p->first + p->count)
            return features[i] + (size_t)(row - p->first) * (size_t)a->config.d;
    }
    return NULL;
}

/* n greedy tokens behind the prompt and `tokens`. */
static inline void alone_go(struct alone *a, const struct prompt *prompt, float *const *features, const int32_t *tokens,
                            int n_tokens, int32_t *out, int n)
{
    struct sequence *s = sequence_new(a->model);
    int32_t best = 0, position[3];
    for (int r = 0; r < prompt->n; r++)
        best = alone_row(a, s, prompt->ids[r], prompt->positions[r], false, alone_features(a, prompt, features, r));
    for (int i = 0; i < n_tokens + n; i++) {
        int32_t id = i < n_tokens ? tokens[i] : best;
        if (i >= n_tokens)
            out[i - n_tokens] = best;
        position[0] = position[1] = position[2] = prompt->next_position + i;
        best = alone_row(a, s, id, position, true, NULL);
    }
    sequence_release(a->model, s);
}

/* ---- a service's two sides ---- */

enum { K_MAX = 16 };

struct side {
    struct target target;
    struct alone alone;
};

static inline void side_open(struct side *side, const char *target, const char *drafter)
{
    target_open(&side->target, target, drafter, 0);
    alone_open(&side->alone, &side->target, drafter);
}

static inline void side_close(struct side *side)
{
    alone_close(&side->alone);
    target_close(&side->target);
}

/* A request: what was prepared, and the drafter's features of its pictures. */
struct asked {
    struct prepared prepared;
    float *features[4];
    struct prompt own; /* as the drafter reads it */
};

static inline struct asked asked_take(struct side *side, struct prepared prepared)
{
    struct asked asked = {.prepared = prepared};
    for (int i = 0; i < prepared.n_pictures; i++)
        asked.features[i] = prepared.pictures[i].drafter;
    if (drafter_kind(side->target.drafter) == DRAFTER_TEXT)
        prompt_without_pictures(&asked.own, &prepared.prompt);
    return asked;
}

static inline struct asked asked_of(struct side *side, const char *folder, const char *name)
{
    return asked_take(side, prepared_of_case(&side->target, folder, name));
}

static inline struct prepared prepared_of_ids(struct side *side, int n)
{
    struct error err;
    struct prepared prepared;
    struct generate_request request = {.n_ids = n, .ids = mem_new((size_t)n, sizeof *request.ids)};
    for (int i = 0; i < n; i++)
        request.ids[i] = (i * i + 3 * i) % 640;
    must(prepare_request(side->target.preparer, &request, &prepared, &err), &err);
    request_free(&request);
    return prepared;
}

static inline void asked_free(struct asked *asked)
{
    prepared_free(&asked->prepared);
    prompt_free(&asked->own);
}

static const struct prompt *asked_prompt(const struct side *side, const struct asked *asked)
{
    return drafter_kind(side->target.drafter) == DRAFTER_TEXT ? &asked->own : &asked->prepared.prompt;
}

static inline struct draft_sequence *begin(struct side *side, const struct asked *asked)
{
    struct error err;
    struct draft_sequence *s = drafter_begin(side->target.drafter, &asked->prepared.prompt, asked->prepared.pictures,
                                             asked->prepared.prompt.n + 100, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static inline int propose(struct side *side, struct draft_sequence *s, const int32_t *tokens, int n_tokens, int k, int32_t *drafts)
{
    struct proposal p = {.sequence = s, .tokens = tokens, .n_tokens = n_tokens, .k = k, .drafts = drafts};
    drafter_propose(side->target.drafter, &p, 1, INT_MAX);
    assert_false(p.failed);
    return p.n;
}

static inline void assert_ids(const int32_t *got, const int32_t *wanted, int n)
{
    for (int i = 0; i < n; i++)
        if (got[i] != wanted[i])
            fail_msg("id %d is %d, should be %d", i, got[i], wanted[i]);
}

/* Drafts of one k behind some tokens equal what the model says alone. */
static inline void check_proposal(struct side *side, const struct asked *asked, struct draft_sequence *s, const int32_t *tokens,
                                  int n_tokens, int k)
{
    int32_t drafts[K_MAX], wanted[K_MAX];
    assert_int_equal(propose(side, s, tokens, n_tokens, k, drafts), k);
    alone_go(&side->alone, asked_prompt(side, asked), asked->features, tokens, n_tokens, wanted, k);
    assert_ids(drafts, wanted, k);
}

/* ---- pairs and prompts of the goldens ---- */

static const struct {
    const char *target, *drafter;
} sides[] = {
    {"tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny"},
    {"tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny"},
    {"tests/golden/qwen25vl-tiny", "tests/golden/qwen25vl-tiny-bf16"},
    {"tests/golden/qwen25vl-tiny-bf16", "tests/golden/massv-tiny"},
};
enum { N_SIDES = sizeof sides / sizeof *sides };

static const char *const case_names[] = {"scene", "two-images", "two-turns", "text-only", "wide", "palette"};
enum { N_CASES = sizeof case_names / sizeof *case_names };

#endif
