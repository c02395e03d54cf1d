/* test_drafter_limits.c - where drafts end: context, pages, vocabulary, faults */
#include "tests/coordinator/drafter_fixture.h"

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
    assert_non_null(strstr(err.text, "a prompt of 130 tokens needs 3 blocks of 2"));
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
    bad.prepared.pictures[0].drafter = features;
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
    asked.prepared.pictures[1].drafter = NULL;
    assert_null(drafter_begin(side.target.drafter, &asked.prepared.prompt, asked.prepared.pictures, 200, &err));
    assert_non_null(strstr(err.text, "no features of picture 1"));
    asked_free(&asked);
    side_close(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
