/* test_drafter.c - drafters of every kind against what their model says alone, and what rejected drafts leave behind */
#include "tests/coordinator/drafter_fixture.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
