/* test_drafter.c - drafters of every kind against what their model says when it goes on alone, token by token */
#include "tests/coordinator/target.h"

#include <limits.h>

/* ---- the drafter's model alone: one row at a time, nothing rolled back ---- */

struct alone {
    struct comm *comm;
    struct model_config config;
    struct model *model;
};

static void alone_open(struct alone *a, const struct target *t, const char *dir)
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

static void alone_close(struct alone *a)
{
    model_close(a->model);
    comm_close(a->comm);
}

/* One row; its best next id. */
static int32_t alone_row(struct alone *a, struct sequence *s, int32_t id, const int32_t position[3], bool generated,
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
static void alone_go(struct alone *a, const struct prompt *prompt, float *const *features, const int32_t *tokens, int n_tokens,
                     int32_t *out, int n)
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

static void side_open(struct side *side, const char *target, const char *drafter)
{
    target_open(&side->target, target, drafter, 0);
    alone_open(&side->alone, &side->target, drafter);
}

static void side_close(struct side *side)
{
    alone_close(&side->alone);
    target_close(&side->target);
}

/* A request: what was prepared, and the features as drafter_begin takes them. */
struct asked {
    struct prepared prepared;
    float *features[4];
    struct prompt own; /* as the drafter reads it */
};

static struct asked asked_take(struct side *side, struct prepared prepared)
{
    struct asked asked = {.prepared = prepared};
    for (int i = 0; i < prepared.n_pictures; i++)
        asked.features[i] = prepared.pictures[i].drafter;
    if (drafter_kind(side->target.drafter) == DRAFTER_TEXT)
        prompt_without_pictures(&asked.own, &prepared.prompt);
    return asked;
}

static struct asked asked_of(struct side *side, const char *folder, const char *name)
{
    return asked_take(side, prepared_of_case(&side->target, folder, name));
}

static void asked_free(struct asked *asked)
{
    prepared_free(&asked->prepared);
    prompt_free(&asked->own);
}

static const struct prompt *asked_prompt(const struct side *side, const struct asked *asked)
{
    return drafter_kind(side->target.drafter) == DRAFTER_TEXT ? &asked->own : &asked->prepared.prompt;
}

static struct draft_sequence *begin(struct side *side, const struct asked *asked)
{
    struct error err;
    struct draft_sequence *s =
        drafter_begin(side->target.drafter, &asked->prepared.prompt, asked->features, asked->prepared.prompt.n + 100, &err);
    if (!s)
        fail_msg("%s", err.text);
    return s;
}

static int propose(struct side *side, struct draft_sequence *s, const int32_t *tokens, int n_tokens, int k, int32_t *drafts)
{
    struct proposal p = {.sequence = s, .tokens = tokens, .n_tokens = n_tokens, .k = k, .drafts = drafts};
    drafter_propose(side->target.drafter, &p, 1, INT_MAX);
    assert_false(p.failed);
    return p.n;
}

static void assert_ids(const int32_t *got, const int32_t *wanted, int n)
{
    for (int i = 0; i < n; i++)
        if (got[i] != wanted[i])
            fail_msg("id %d is %d, should be %d", i, got[i], wanted[i]);
}

/* Drafts of one k behind some tokens equal what the model says alone. */
static void check_proposal(struct side *side, const struct asked *asked, struct draft_sequence *s, const int32_t *tokens,
                           int n_tokens, int k)
{
    int32_t drafts[K_MAX], wanted[K_MAX];
    assert_int_equal(propose(side, s, tokens, n_tokens, k, drafts), k);
    alone_go(&side->alone, asked_prompt(side, asked), asked->features, tokens, n_tokens, wanted, k);
    assert_ids(drafts, wanted, k);
}

/* ---- kinds ---- */

static void the_kind_follows_from_the_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *target, *drafter;
        enum drafter_kind kind;
        const char *name;
    } pairs[] = {
        {"tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny", DRAFTER_TEXT, "text"},
        {"tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny", DRAFTER_MASSV, "massv"},
        {"tests/golden/qwen25vl-tiny", "tests/golden/qwen25vl-tiny-bf16", DRAFTER_VISION, "vision"},
        {"tests/golden/qwen25vl-tiny-bf16", "tests/golden/massv-tiny", DRAFTER_VISION, "vision"},
        {"tests/golden/qwen2-tiny", "tests/golden/qwen2-tiny", DRAFTER_TEXT, "text"},
        {"models/scenes-small", "models/scenes-massv", DRAFTER_MASSV, "massv"},
        {"models/scenes-large", "models/scenes-drafter", DRAFTER_TEXT, "text"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct target t;
        target_open(&t, pairs[i].target, pairs[i].drafter, 0);
        assert_int_equal(drafter_kind(t.drafter), pairs[i].kind);
        assert_string_equal(drafter_kind_name(drafter_kind(t.drafter)), pairs[i].name);
        assert_string_equal(drafter_name(t.drafter), strrchr(pairs[i].drafter, '/') + 1);
        target_close(&t);
    }
    assert_int_equal(drafter_kind(NULL), DRAFTER_NONE);
    assert_string_equal(drafter_kind_name(DRAFTER_NONE), "none");
}

/* 48 tokens of transformers, 16 drafts at a time, each time all accepted. */
static void check_goldens(struct side *side, const char *folder, const char *const *names, int n)
{
    json_t *cases = cases_read(folder);
    for (int c = 0; c < n; c++) {
        struct asked asked = asked_of(side, folder, names[c]);
        struct safetensors *st = case_open(folder, case_named(cases, names[c]));
        int64_t *wanted = case_tensor(st, "greedy_ids", -1, NULL);
        struct draft_sequence *s = begin(side, &asked);
        int32_t tokens[TARGET_STEPS];
        for (int have = 0; have < TARGET_STEPS; have += K_MAX)
            assert_int_equal(propose(side, s, tokens, have, K_MAX, tokens + have), K_MAX);
        for (int i = 0; i < TARGET_STEPS; i++)
            assert_int_equal(tokens[i], wanted[i]);
        drafter_end(side->target.drafter, s);
        free(wanted);
        safetensors_close(st);
        asked_free(&asked);
    }
    json_decref(cases);
}

static void a_massv_drafter_proposes_the_tokens_of_transformers(void **state)
{
    (void)state;
    static const char *const names[] = {"picture", "two-images", "two-turns", "text-only"};
    struct side side;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny");
    check_goldens(&side, "massv-tiny", names, 4);
    side_close(&side);
}

static void a_text_drafter_proposes_the_tokens_of_transformers(void **state)
{
    (void)state;
    static const char *const names[] = {"short", "unicode", "long", "code"};
    struct side side;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    check_goldens(&side, "qwen2-tiny", names, 4);
    side_close(&side);
}

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

static void every_kind_proposes_what_its_model_says_alone(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIDES; i++) {
        struct side side;
        side_open(&side, sides[i].target, sides[i].drafter);
        for (int c = 0; c < N_CASES; c++) {
            struct asked asked = asked_of(&side, "qwen25vl-tiny", case_names[c]);
            struct draft_sequence *s = begin(&side, &asked);
            check_proposal(&side, &asked, s, NULL, 0, 5);
            drafter_end(side.target.drafter, s);
            asked_free(&asked);
        }
        side_close(&side);
    }
}

/* A trained pair: bf16 weights, pictures of the scenes. */
static struct prepared prepared_of_scene(struct side *side, const char *picture)
{
    struct error err;
    struct prepared prepared;
    struct generate_request request = {0};
    request.n_turns = 1;
    request.turns = mem_new(1, sizeof *request.turns);
    request.turns[0].role = mem_string("user");
    request.turns[0].n_parts = 2;
    request.turns[0].parts = mem_new(2, sizeof *request.turns[0].parts);
    request.turns[0].parts[1].text = mem_string("Describe the picture.");
    request_add_picture(&request, picture);
    must(prepare_request(side->target.preparer, &request, &prepared, &err), &err);
    request_free(&request);
    return prepared;
}

static void trained_drafters_propose_what_their_models_say_alone(void **state)
{
    (void)state;
    static const char *const drafters[] = {"models/scenes-drafter", "models/scenes-massv", "models/scenes-small"};
    for (int i = 0; i < 3; i++) {
        struct side side;
        side_open(&side, "models/scenes-large", drafters[i]);
        struct asked asked = asked_take(&side, prepared_of_scene(&side, "models/pictures/scene-00003.png"));
        struct draft_sequence *s = begin(&side, &asked);
        check_proposal(&side, &asked, s, NULL, 0, 8);
        drafter_end(side.target.drafter, s);
        asked_free(&asked);
        side_close(&side);
    }
}

/* ---- roll-back ---- */

/* The target's tokens agree with `keep` of the drafts and then go their own way. */
static void drafts_that_were_rejected_leave_no_trace(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIDES; i++) {
        struct side side;
        side_open(&side, sides[i].target, sides[i].drafter);
        struct asked asked = asked_of(&side, "qwen25vl-tiny", "scene");
        struct draft_sequence *s = begin(&side, &asked);
        int32_t tokens[64], drafts[K_MAX];
        int n = 0;
        tokens[n++] = 99; /* the target's own first token */
        static const int keeps[] = {0, 3, 5, 1, 5, 0, 0, 2};
        for (size_t j = 0; j < sizeof keeps / sizeof *keeps; j++) {
            assert_int_equal(propose(&side, s, tokens, n, 5, drafts), 5);
            memcpy(tokens + n, drafts, (size_t)keeps[j] * sizeof *tokens);
            n += keeps[j];
            tokens[n] = keeps[j] < 5 ? (drafts[keeps[j]] + 1) % 600 : (int32_t)(17 * j) % 600;
            n++;
            check_proposal(&side, &asked, s, tokens, n, 5);
        }
        check_proposal(&side, &asked, s, tokens, n, 7);     /* the same again */
        check_proposal(&side, &asked, s, tokens, n - 4, 3); /* an answer that is shorter than before */
        tokens[n - 6] = (tokens[n - 6] + 1) % 600;
        check_proposal(&side, &asked, s, tokens, n, 5); /* another token in the middle */
        check_proposal(&side, &asked, s, NULL, 0, 4);   /* from the prompt on: its picture's features are gone by now */
        drafter_end(side.target.drafter, s);
        asked_free(&asked);
        side_close(&side);
    }
}

/* As after a preemption: the first proposal comes with tokens. */
static void a_request_may_begin_with_an_answer(void **state)
{
    (void)state;
    struct side side;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny");
    struct asked asked = asked_of(&side, "qwen25vl-tiny", "scene");
    struct draft_sequence *s = begin(&side, &asked);
    int32_t tokens[40];
    for (int i = 0; i < 40; i++)
        tokens[i] = 11 * i % 600;
    check_proposal(&side, &asked, s, tokens, 40, 6);
    check_proposal(&side, &asked, s, NULL, 0, 6);
    drafter_end(side.target.drafter, s);
    asked_free(&asked);
    side_close(&side);
}

/* ---- batches ---- */

static void drafts_in_a_batch_are_those_alone(void **state)
{
    (void)state;
    for (int i = 0; i < N_SIDES; i++) {
        struct side side;
        struct asked asked[N_CASES];
        struct draft_sequence *s[N_CASES];
        struct proposal batch[N_CASES];
        int32_t drafts[N_CASES][K_MAX], wanted[K_MAX], tokens[N_CASES][16];
        side_open(&side, sides[i].target, sides[i].drafter);
        for (int c = 0; c < N_CASES; c++) {
            asked[c] = asked_of(&side, "qwen25vl-tiny", case_names[c]);
            s[c] = begin(&side, &asked[c]);
            for (int j = 0; j < 16; j++)
                tokens[c][j] = (7 * c + 13 * j) % 600;
        }
        for (int round = 0; round < 3; round++) { /* each time more tokens, other ks, one request fewer that is new */
            for (int c = 0; c < N_CASES; c++)
                batch[c] = (struct proposal){s[c], tokens[c], round * (c % 4), (c * 5 + round) % 9, drafts[c], 0, false, false,
                                             NULL, NULL};
            drafter_propose(side.target.drafter, batch, N_CASES, INT_MAX);
            for (int c = 0; c < N_CASES; c++) {
                assert_false(batch[c].failed);
                assert_int_equal(batch[c].n, (c * 5 + round) % 9);
                alone_go(&side.alone, asked_prompt(&side, &asked[c]), asked[c].features, tokens[c], batch[c].n_tokens, wanted,
                         batch[c].n);
                assert_ids(drafts[c], wanted, batch[c].n);
            }
        }
        for (int c = 0; c < N_CASES; c++) {
            drafter_end(side.target.drafter, s[c]);
            asked_free(&asked[c]);
        }
        side_close(&side);
    }
}

static struct prepared prepared_of_ids(struct side *side, int n)
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

/* 512 rows are a step of the drafter. */
static void prompts_longer_than_a_step_go_in_chunks(void **state)
{
    (void)state;
    struct side side;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    struct asked asked[3];
    struct proposal batch[3];
    int32_t drafts[3][4], wanted[4];
    for (int i = 0; i < 3; i++) {
        asked[i] = asked_take(&side, prepared_of_ids(&side, 300 + 250 * i));
        batch[i] = (struct proposal){.sequence = begin(&side, &asked[i]), .k = 4, .drafts = drafts[i]};
    }
    drafter_propose(side.target.drafter, batch, 3, INT_MAX);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(batch[i].n, 4);
        alone_go(&side.alone, &asked[i].own, NULL, NULL, 0, wanted, 4);
        assert_ids(drafts[i], wanted, 4);
        drafter_end(side.target.drafter, batch[i].sequence);
        asked_free(&asked[i]);
    }
    side_close(&side);
}

/* A long prompt enters over several calls, beside one that drafts all along. */
static void a_prompt_beyond_the_allowed_rows_goes_on_with_the_next_call(void **state)
{
    (void)state;
    struct side side;
    int32_t drafts[2][4], wanted[4];
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    struct asked brief = asked_take(&side, prepared_of_ids(&side, 30)), large = asked_take(&side, prepared_of_ids(&side, 250));
    struct draft_sequence *a = begin(&side, &brief), *b = begin(&side, &large);
    for (int call = 0; call < 3; call++) {
        struct proposal batch[] = {{.sequence = a, .k = 4, .drafts = drafts[0]}, {.sequence = b, .k = 4, .drafts = drafts[1]}};
        assert_int_equal(drafter_propose(side.target.drafter, batch, 2, 100), call < 2 ? 100 : 80);
        assert_int_equal(batch[0].n, 4);
        assert_int_equal(batch[1].n, call < 2 ? 0 : 4);
        assert_false(batch[1].failed);
    }
    alone_go(&side.alone, &brief.own, NULL, NULL, 0, wanted, 4);
    assert_ids(drafts[0], wanted, 4);
    alone_go(&side.alone, &large.own, NULL, NULL, 0, wanted, 4);
    assert_ids(drafts[1], wanted, 4);
    drafter_end(side.target.drafter, a);
    drafter_end(side.target.drafter, b);
    asked_free(&brief);
    asked_free(&large);
    side_close(&side);
}

/* The first request leaves the second 40 rows of the step: its picture begins before them and ends behind them. */
static void a_picture_may_be_cut_by_the_end_of_a_step(void **state)
{
    (void)state;
    struct side side;
    int32_t drafts[2][K_MAX], wanted[K_MAX];
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny");
    struct asked text = asked_take(&side, prepared_of_ids(&side, 472)), scene = asked_of(&side, "qwen25vl-tiny", "scene");
    const struct prompt_picture *picture = &scene.prepared.prompt.pictures[0];
    assert_true(picture->first < 40 && picture->first + picture->count > 40);
    struct draft_sequence *a = begin(&side, &text), *b = begin(&side, &scene);
    struct proposal batch[] = {{.sequence = a, .k = K_MAX, .drafts = drafts[0]}, {.sequence = b, .k = K_MAX, .drafts = drafts[1]}};
    drafter_propose(side.target.drafter, batch, 2, INT_MAX);
    alone_go(&side.alone, &scene.prepared.prompt, scene.features, NULL, 0, wanted, K_MAX);
    assert_int_equal(batch[1].n, K_MAX);
    assert_ids(drafts[1], wanted, K_MAX);
    drafter_end(side.target.drafter, a);
    drafter_end(side.target.drafter, b);
    asked_free(&text);
    asked_free(&scene);
    side_close(&side);
}

/* ---- limits and faults ---- */

static void the_context_of_the_drafter_ends_the_drafts(void **state)
{
    (void)state;
    struct side side;
    struct error err;
    int32_t drafts[K_MAX], tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    struct asked asked = asked_take(&side, prepared_of_ids(&side, 30));
    struct draft_sequence *s = drafter_begin(side.target.drafter, &asked.prepared.prompt, NULL, asked.prepared.prompt.n + 4, &err);
    assert_non_null(s);
    /* The draft behind the last position is known, too; it need not be computed. */
    assert_int_equal(propose(&side, s, tokens, 0, 8, drafts), 5);
    assert_int_equal(propose(&side, s, tokens, 3, 8, drafts), 2);
    assert_int_equal(propose(&side, s, tokens, 4, 8, drafts), 1);
    assert_int_equal(propose(&side, s, tokens, 5, 8, drafts), 0);
    drafter_end(side.target.drafter, s);
    asked_free(&asked);
    side_close(&side);
}

static void a_prompt_that_fills_the_context_gets_no_drafts(void **state)
{
    (void)state;
    struct side side;
    struct error err;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    struct asked asked = asked_take(&side, prepared_of_ids(&side, 4095));
    assert_null(drafter_begin(side.target.drafter, &asked.prepared.prompt, NULL, asked.prepared.prompt.n, &err));
    assert_non_null(strstr(err.text, "a prompt of 4095 tokens fills the 4095 positions"));
    asked_free(&asked);
    side_close(&side);
}

/* Two pages of the drafter: who fills both leaves none for the other, until it ends. */
static void pages_are_taken_as_they_fill(void **state)
{
    (void)state;
    struct target t;
    struct drafter *drafter;
    struct error err;
    target_open(&t, "tests/golden/qwen25vl-tiny", NULL, 0);
    const struct drafter_options options = target_drafter_options(&t, 2 * MODEL_PAGE_POSITIONS);
    must(drafter_open(&drafter, "tests/golden/qwen2-tiny", &options, &err), &err);
    int32_t ids[130] = {0}, positions[130][3] = {{0}}, tokens[60] = {0}, drafts[4];
    const struct prompt prompt = {.n = 20, .ids = ids, .positions = positions, .next_position = 20};
    const struct prompt never = {.n = 130, .ids = ids, .positions = positions, .next_position = 130};
    struct draft_sequence *large = drafter_begin(drafter, &prompt, NULL, 100, &err);
    struct draft_sequence *small = drafter_begin(drafter, &prompt, NULL, 100, &err);
    assert_true(large && small);
    struct proposal grown = {.sequence = large, .tokens = tokens, .n_tokens = 60, .k = 4, .drafts = drafts};
    drafter_propose(drafter, &grown, 1, INT_MAX);
    assert_true(grown.n == 4 && !grown.refused);
    struct proposal begun = {.sequence = small, .tokens = tokens, .n_tokens = 1, .k = 4, .drafts = drafts};
    drafter_propose(drafter, &begun, 1, INT_MAX);
    assert_true(begun.n == 0 && begun.refused && !begun.failed);
    drafter_end(drafter, large);
    begun.k = 4;
    drafter_propose(drafter, &begun, 1, INT_MAX);
    assert_true(begun.n == 4 && !begun.refused);
    assert_null(drafter_begin(drafter, &never, NULL, 140, &err));
    assert_non_null(strstr(err.text, "a prompt of 130 tokens needs 3 pages of 2"));
    drafter_end(drafter, small);
    drafter_end(drafter, NULL);
    drafter_close(drafter);
    target_close(&t);
}

/* The target's head has 672 rows, the drafter's 664. */
static void ids_that_the_drafter_does_not_have_are_never_fed(void **state)
{
    (void)state;
    struct side side;
    struct error err;
    int32_t drafts[2][4], wanted[4], good[] = {5, 6}, bad[] = {5, 670}, negative[] = {-1};
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/qwen2-tiny");
    struct asked asked = asked_of(&side, "qwen25vl-tiny", "text-only");
    struct draft_sequence *a = begin(&side, &asked), *b = begin(&side, &asked), *c = begin(&side, &asked);
    struct proposal batch[] = {{.sequence = a, .tokens = bad, .n_tokens = 2, .k = 4, .drafts = drafts[0]},
                               {.sequence = b, .tokens = good, .n_tokens = 2, .k = 4, .drafts = drafts[1]}};
    drafter_propose(side.target.drafter, batch, 2, INT_MAX);
    assert_true(batch[0].failed);
    assert_int_equal(batch[0].n, 0);
    assert_false(batch[1].failed);
    alone_go(&side.alone, &asked.own, NULL, good, 2, wanted, 4);
    assert_ids(drafts[1], wanted, 4);
    struct proposal below = {.sequence = c, .tokens = negative, .n_tokens = 1, .k = 4, .drafts = drafts[0]};
    drafter_propose(side.target.drafter, &below, 1, INT_MAX);
    assert_true(below.failed);
    int32_t position[1][3] = {{0}};
    const struct prompt prompt = {.n = 1, .ids = bad + 1, .positions = position, .next_position = 1};
    assert_null(drafter_begin(side.target.drafter, &prompt, NULL, 10, &err));
    assert_non_null(strstr(err.text, "id 670 is beyond the 664 of drafter qwen2-tiny"));
    drafter_end(side.target.drafter, a);
    drafter_end(side.target.drafter, b);
    drafter_end(side.target.drafter, c);
    asked_free(&asked);
    side_close(&side);
}

/* Else a draw beyond the target's head would count as no draft at all, and the answer would lean towards the drafter. */
static void drafts_are_drawn_from_what_the_target_has(void **state)
{
    (void)state;
    struct target t;
    struct drafter *drafter;
    struct error err;
    struct draft_weights weights[K_MAX];
    const struct sampling sampling = {.temperature = 100, .repetition_penalty = 1, .mode = SAMPLING_REJECTION, .seed = 3};
    int32_t ids[3] = {5, 6, 7}, positions[3][3] = {{0}}, drafts[K_MAX], token = 8;
    const struct prompt prompt = {.n = 3, .ids = ids, .positions = positions, .next_position = 3};
    target_open(&t, "tests/golden/qwen25vl-tiny", NULL, 0);
    t.config.vocabulary = 320; /* the drafter's head has 664 rows */
    const struct drafter_options options = target_drafter_options(&t, 4096);
    must(drafter_open(&drafter, "tests/golden/qwen2-tiny", &options, &err), &err);
    struct draft_sequence *s = drafter_begin(drafter, &prompt, NULL, 100, &err);
    struct proposal p = {.sequence = s, .tokens = &token, .n_tokens = 1, .k = K_MAX, .drafts = drafts};
    p.sampling = &sampling;
    p.weights = weights;
    drafter_propose(drafter, &p, 1, INT_MAX);
    assert_int_equal(p.n, K_MAX);
    for (int i = 0; i < K_MAX; i++)
        assert_true(weights[i].ids[weights[i].n - 1] < t.config.vocabulary);
    drafter_end(drafter, s);
    drafter_close(drafter);
    target_close(&t);
}

static void scores_that_are_not_numbers_fail_that_request_alone(void **state)
{
    (void)state;
    struct side side;
    int32_t drafts[2][4], wanted[4];
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny");
    struct asked bad = asked_of(&side, "qwen25vl-tiny", "scene"), good = asked_of(&side, "qwen25vl-tiny", "wide");
    float *features = mem_new((size_t)bad.prepared.pictures[0].rows * 64, sizeof *features);
    features[5] = NAN;
    bad.features[0] = features;
    struct draft_sequence *a = begin(&side, &bad), *b = begin(&side, &good);
    struct proposal batch[] = {{.sequence = a, .k = 4, .drafts = drafts[0]}, {.sequence = b, .k = 4, .drafts = drafts[1]}};
    drafter_propose(side.target.drafter, batch, 2, INT_MAX);
    assert_true(batch[0].failed);
    assert_int_equal(batch[0].n, 0);
    assert_false(batch[1].failed);
    alone_go(&side.alone, &good.prepared.prompt, good.features, NULL, 0, wanted, 4);
    assert_ids(drafts[1], wanted, 4);
    batch[0].k = 4;
    drafter_propose(side.target.drafter, batch, 1, INT_MAX); /* whoever asks again is told again */
    assert_true(batch[0].failed);
    drafter_end(side.target.drafter, a);
    drafter_end(side.target.drafter, b);
    free(features);
    asked_free(&bad);
    asked_free(&good);
    side_close(&side);
}

static void a_picture_without_features_gets_no_drafts(void **state)
{
    (void)state;
    struct side side;
    struct error err;
    side_open(&side, "tests/golden/qwen25vl-tiny", "tests/golden/massv-tiny");
    struct asked asked = asked_of(&side, "qwen25vl-tiny", "two-images");
    asked.features[1] = NULL;
    assert_null(drafter_begin(side.target.drafter, &asked.prepared.prompt, asked.features, 200, &err));
    assert_non_null(strstr(err.text, "no features of picture 1"));
    asked_free(&asked);
    side_close(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kind_follows_from_the_tensors),
        cmocka_unit_test(a_massv_drafter_proposes_the_tokens_of_transformers),
        cmocka_unit_test(a_text_drafter_proposes_the_tokens_of_transformers),
        cmocka_unit_test(every_kind_proposes_what_its_model_says_alone),
        cmocka_unit_test(trained_drafters_propose_what_their_models_say_alone),
        cmocka_unit_test(drafts_that_were_rejected_leave_no_trace),
        cmocka_unit_test(a_request_may_begin_with_an_answer),
        cmocka_unit_test(drafts_in_a_batch_are_those_alone),
        cmocka_unit_test(prompts_longer_than_a_step_go_in_chunks),
        cmocka_unit_test(a_prompt_beyond_the_allowed_rows_goes_on_with_the_next_call),
        cmocka_unit_test(a_picture_may_be_cut_by_the_end_of_a_step),
        cmocka_unit_test(the_context_of_the_drafter_ends_the_drafts),
        cmocka_unit_test(a_prompt_that_fills_the_context_gets_no_drafts),
        cmocka_unit_test(pages_are_taken_as_they_fill),
        cmocka_unit_test(ids_that_the_drafter_does_not_have_are_never_fed),
        cmocka_unit_test(drafts_are_drawn_from_what_the_target_has),
        cmocka_unit_test(scores_that_are_not_numbers_fail_that_request_alone),
        cmocka_unit_test(a_picture_without_features_gets_no_drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
