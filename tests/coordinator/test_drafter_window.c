/* test_drafter_window.c - drafters whose local layers forget: rejected drafts at every place of the window, and the room that is
 * left */
#include "tests/coordinator/drafter_fixture.h"

#define TARGET "tests/golden/gemma3-tiny"
#define DRAFTER "tests/golden/gemma3-text-tiny" /* a window of 8 */

/* An answer grows by one token and by as many drafts as were accepted, over more than two pages: where a page leaves the window,
 * all or none of the drafts behind it were right. Each proposal is asked for twice, as after a lost group. */
static void rejected_drafts_leave_the_window_as_it_was(void **state)
{
    (void)state;
    struct side side;
    side_open(&side, TARGET, DRAFTER);
    for (int k = 1; k <= K_MAX; k += 5) {
        struct asked asked = asked_take(&side, prepared_of_ids(&side, 60));
        struct draft_sequence *s = begin(&side, &asked);
        int32_t tokens[200], drafts[K_MAX];
        int n = 0;
        for (int turn = 0; n < 65; turn++) {
            tokens[n++] = (17 * turn + 3) % 600; /* the target's own */
            assert_int_equal(propose(&side, s, tokens, n, k, drafts), k);
            assert_true(turn % 3 == 0 || propose(&side, s, tokens, n, k, drafts) == k);
            if (turn % 4 == 3)
                check_proposal(&side, &asked, s, tokens, n, k);
            int keep = turn % 5 == 0 ? k : turn % 5 == 1 ? k / 2 : 0;
            memcpy(tokens + n, drafts, (size_t)keep * sizeof *tokens);
            n += keep;
        }
        check_proposal(&side, &asked, s, tokens, n, k);
        drafter_end(side.target.drafter, s);
        asked_free(&asked);
    }
    side_close(&side);
}

/* An answer that is not what it was, before the window. */
static void an_answer_that_changes_far_behind_fails(void **state)
{
    (void)state;
    struct side side;
    side_open(&side, TARGET, DRAFTER);
    struct asked asked = asked_take(&side, prepared_of_ids(&side, 60));
    struct draft_sequence *s = begin(&side, &asked);
    int32_t tokens[100] = {0}, drafts[4];
    assert_int_equal(propose(&side, s, tokens, 90, 4, drafts), 4);
    struct proposal p = {.sequence = s, .tokens = tokens, .n_tokens = 20, .k = 4, .drafts = drafts};
    drafter_propose(side.target.drafter, &p, 1, INT_MAX);
    assert_true(p.failed && p.n == 0);
    drafter_end(side.target.drafter, s);
    asked_free(&asked);
    side_close(&side);
}

/* A cache of 11 pages of all layers, 66 blocks: one layer of six is global, and the local ones need the rows of a step and the
 * drafts, 9 pages, or 10 where these begin within one. */
static void long_prompts_need_little_more_than_global_layers(void **state)
{
    (void)state;
    struct side side;
    struct drafter *drafter;
    struct error err;
    side_open(&side, TARGET, DRAFTER);
    const struct drafter_options options = target_drafter_options(&side.target, 11 * MODEL_PAGE_POSITIONS);
    must(drafter_open(&drafter, DRAFTER, &options, &err), &err);
    int32_t drafts[4], wanted[4];
    struct asked asked = asked_take(&side, prepared_of_ids(&side, 1000)), large = asked_take(&side, prepared_of_ids(&side, 1400));
    struct draft_sequence *s = drafter_begin(drafter, &asked.prepared.prompt, NULL, 1010, &err);
    assert_non_null(s);
    assert_null(drafter_begin(drafter, &large.prepared.prompt, NULL, 1410, &err));
    assert_non_null(strstr(err.text, "a prompt of 1400 tokens needs 72 blocks of 66"));
    struct proposal p = {.sequence = s, .k = 4, .drafts = drafts};
    for (int calls = 0; !p.n; calls++) { /* in chunks of 300 rows */
        p.k = 4;
        drafter_propose(drafter, &p, 1, 300);
        assert_true(!p.failed && !p.refused && calls < 6);
    }
    assert_int_equal(p.n, 4);
    alone_go(&side.alone, &asked.own, NULL, NULL, 0, wanted, 4);
    assert_ids(drafts, wanted, 4);
    drafter_end(drafter, s);
    drafter_close(drafter);
    asked_free(&asked);
    asked_free(&large);
    side_close(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rejected_drafts_leave_the_window_as_it_was),
        cmocka_unit_test(an_answer_that_changes_far_behind_fails),
        cmocka_unit_test(long_prompts_need_little_more_than_global_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
