/* test_drafter_batches.c - several requests in a drafter's steps, and prompts in several of them */
#include "tests/coordinator/drafter_fixture.h"

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
                batch[c] = (struct proposal){.sequence = s[c],
                                             .tokens = tokens[c],
                                             .n_tokens = round * (c % 4),
                                             .k = (c * 5 + round) % 9,
                                             .drafts = drafts[c]};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_in_a_batch_are_those_alone),
        cmocka_unit_test(prompts_longer_than_a_step_go_in_chunks),
        cmocka_unit_test(a_prompt_beyond_the_allowed_rows_goes_on_with_the_next_call),
        cmocka_unit_test(a_picture_may_be_cut_by_the_end_of_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
