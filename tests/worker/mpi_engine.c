/* mpi_engine.c - the engine on as many ranks as mpirun starts: the same tokens, and refusals on which all ranks agree */
#include "tests/mpi.h"
#include "tests/worker/window_checks.h"

static void drafts_never_change_the_tokens(void **state)
{
    struct group g;
    struct golden *golden = golden_read(GOLDEN_TARGET, "scene");
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    check_drafts(&g, golden, 1, golden->greedy);
    check_drafts(&g, golden, 1.05f, golden->penalty);
    group_close(&g);
    golden_free(golden);
}

static void requests_in_one_step_do_not_see_each_other(void **state)
{
    struct group g;
    struct golden *const cases[] = {golden_read(GOLDEN_TARGET, "text-only"), golden_read(GOLDEN_TARGET, "two-images"),
                                    golden_read(GOLDEN_TARGET, "wide")};
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    check_batch(&g, cases);
    group_close(&g);
    for (int i = 0; i < 3; i++)
        golden_free(cases[i]);
}

static void all_ranks_sample_the_same(void **state)
{
    struct group g;
    struct golden *golden = golden_read(GOLDEN_TARGET, "text-only");
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    check_sampled(&g, golden);
    group_close(&g);
    golden_free(golden);
}

/* A bias that no score is seen beside, of ids on the first and on the last rank. */
static void ties_between_ranks_go_to_the_lowest_id(void **state)
{
    struct group g;
    struct golden *golden = golden_read(GOLDEN_TARGET, "text-only");
    struct request r = request_of(1, golden, 0, DRAFTS_RIGHT);
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    const int32_t ids[] = {5, g.config.vocabulary - 1};
    const float bias[] = {1e12f, 1e12f};
    r.sampling.bias_ids = ids;
    r.sampling.bias = bias;
    r.sampling.n_bias = 2;
    while (r.n < 3)
        requests_step(&g, &r, 1, 200);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r.tokens[i], ids[0]);
    group_close(&g);
    golden_free(golden);
}

static void requests_share_pages(void **state)
{
    struct group g;
    struct golden *golden = golden_read(GOLDEN_TARGET, "two-images");
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    check_shared(&g, golden, 1);
    group_close(&g);
    golden_free(golden);
}

/* A prompt of many windows; pages end at 320, which leaves the window at 339. */
static void windows_change_no_tokens(void **state)
{
    struct golden *golden = window_golden(WINDOW_TARGET, *state, 300);
    check_window_drafts(*state, golden);
    check_window_shared(*state, golden);
    golden_free(golden);
}

/* A rank that alone ran, or alone refused, would leave the others in a collective. */
static void all_ranks_refuse_a_bad_step_and_go_on(void **state)
{
    struct group g;
    struct step_verdict verdict;
    struct golden *golden = golden_read(GOLDEN_TARGET, "text-only");
    struct request r = request_of(1, golden, 5, DRAFTS_MIXED);
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    while (r.n < GOLDEN_TOKENS) {
        struct step_span span = request_span(&r, 20);
        span.length++;
        const struct step step = {.spans = &span, .n_spans = 1};
        engine_step(g.engine, &step, &verdict);
        assert_string_not_equal(verdict.error, "");
        requests_step(&g, &r, 1, 20);
    }
    assert_tokens(r.tokens, golden->greedy, GOLDEN_TOKENS);
    group_close(&g);
    golden_free(golden);
}

int main(void)
{
    struct comm *comm = mpi_ranks(120); /* far above a step of the tiny model on a busy machine */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(drafts_never_change_the_tokens, comm),
        cmocka_unit_test_prestate(all_ranks_sample_the_same, comm),
        cmocka_unit_test_prestate(ties_between_ranks_go_to_the_lowest_id, comm),
        cmocka_unit_test_prestate(requests_share_pages, comm),
        cmocka_unit_test_prestate(requests_in_one_step_do_not_see_each_other, comm),
        cmocka_unit_test_prestate(windows_change_no_tokens, comm),
        cmocka_unit_test_prestate(all_ranks_refuse_a_bad_step_and_go_on, comm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_close(comm);
    return failed;
}
