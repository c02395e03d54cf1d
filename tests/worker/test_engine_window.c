/* test_engine_window.c - sequences longer than the window of local layers: what is let go of, what stays, and what is refused */
#include "tests/worker/window_checks.h"

enum { PROMPT = 300, LONG = 1500 }; /* pages end at 320, which leaves the window at 339 */

static void rejected_drafts_never_change_the_tokens(void **state)
{
    struct golden *golden = window_golden(WINDOW_TARGET, *state, PROMPT);
    check_window_drafts(*state, golden);
    golden_free(golden);
}

static void requests_share_pages_of_both_kinds(void **state)
{
    for (int n = PROMPT; n < PROMPT + 25; n += 7) { /* adopted pages end at 256, and at 320 */
        struct golden *golden = window_golden(WINDOW_TARGET, *state, n);
        check_window_shared(*state, golden);
        golden_free(golden);
    }
}

/* 1,500 positions where six pages of all layers, 384 positions, have place: 24 global pages and two local ones. */
static void a_long_sequence_takes_little_more_than_its_global_layers(void **state)
{
    struct group g;
    struct golden *golden = window_golden(WINDOW_TARGET, *state, LONG);
    static struct request r;
    group_open(&g, WINDOW_TARGET, *state, 6 * MODEL_PAGE_POSITIONS);
    r = request_of(1, golden, 4, DRAFTS_MIXED);
    int most = 0, large = 0;
    while (requests_step(&g, &r, 1, 40)) {
        most = group_blocks(&g) > most ? group_blocks(&g) : most;
        large = r.length > 64 && group_blocks(&g) - (r.length + 63) / 64 > large ? group_blocks(&g) - (r.length + 63) / 64 : large;
    }
    assert_tokens(r.tokens, golden->greedy, GOLDEN_TOKENS);
    assert_in_range(large, 6, 2 * 6); /* local blocks, at any length */
    assert_in_range(most, 25 + 6, 25 + 12);
    group_close(&g);
    golden_free(golden);
}

static void refused(struct group *g, struct step *step, const char *says)
{
    struct step_verdict verdict;
    int blocks = group_blocks(g);
    engine_step(g->engine, step, &verdict);
    if (!strstr(verdict.error, says) || !verdict.error[0])
        fail_msg("\"%s\" should say \"%s\"", verdict.error, says);
    assert_int_equal(group_blocks(g), blocks);
}

static void what_is_gone_is_not_counted_on(void **state)
{
    struct group g;
    struct golden *golden = window_golden(WINDOW_TARGET, *state, PROMPT);
    struct request r = request_of(1, golden, 2, DRAFTS_RIGHT), late = request_of(2, golden, 2, DRAFTS_WRONG);
    group_open(&g, WINDOW_TARGET, *state, GROUP_POSITIONS);
    r.keeps = r.keeps_local = true;
    while (r.n == 0)
        requests_step(&g, &r, 1, 40);
    /* 300 positions are final: keys from 281 on, so from page 4, position 256, which rows see from 275 on */
    struct step_span back = request_answer_span(&r);
    struct step step = {.id = 5, .spans = &back, .n_spans = 1};
    back.length = 274;
    refused(&g, &step, "it is rolled back from 300 to 274 positions: the keys that local layers see there are gone");
    /* 256 positions of another one: their last row's window begins in page 3 */
    late.adopts = 4;
    late.length = 256;
    struct step_span begin = request_prompt_span(&late, 40);
    uint64_t seen[2], unseen[2];
    step_key_of(seen, golden_keys[3], true);
    step_key_of(unseen, golden_keys[2], true);
    step = (struct step){.id = 6, .spans = &begin, .n_spans = 1, .forget = &seen, .n_forget = 1};
    refused(&g, &step, "it adopts page 80000000000000040000000000000004, which is not here");
    step.forget = &unseen;
    struct step_verdict verdict;
    engine_step(g.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    request_take(&late, &begin, &verdict.answers[0]);
    engine_verdict_free(&verdict);
    struct step_span again = begin;
    again.sequence = 3;
    step = (struct step){.id = 7, .spans = &again, .n_spans = 1, .forget = &unseen, .n_forget = 1};
    refused(&g, &step, "it forgets page 80000000000000030000000000000003, which is not here");
    requests_run(&g, &late, 1, 40);
    requests_run(&g, &r, 1, 40);
    assert_tokens(late.tokens, golden->greedy, GOLDEN_TOKENS);
    assert_tokens(r.tokens, golden->greedy, GOLDEN_TOKENS);
    group_close(&g);
    golden_free(golden);
}

/* The page of the local layers is shared alone: it must not be written again. */
static void a_kept_local_page_is_not_written(void **state)
{
    struct group g;
    struct golden *golden = window_golden(WINDOW_TARGET, *state, PROMPT);
    struct request r = request_of(1, golden, 2, DRAFTS_RIGHT);
    group_open(&g, WINDOW_TARGET, *state, GROUP_POSITIONS);
    struct step_span first = request_prompt_span(&r, 70), again = first;
    int32_t page = 0;
    uint64_t key[2];
    struct step_verdict verdict;
    step_key_of(key, golden_keys[0], true);
    first.keep = &key;
    first.keep_pages = &page;
    first.n_keep = 1;
    struct step step = {.id = 8, .spans = &first, .n_spans = 1};
    engine_step(g.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
    again.length = 63;
    step.spans = &again;
    refused(&g, &step, "position 63 is in a page that is shared");
    group_close(&g);
    golden_free(golden);
}

/* One kind of layers has no local pages to keep. */
static void a_model_without_windows_keeps_no_local_pages(void **state)
{
    struct group g;
    struct golden *golden = golden_read(GOLDEN_TARGET, "scene");
    struct request r = request_of(1, golden, 2, DRAFTS_RIGHT);
    group_open(&g, GOLDEN_TARGET, *state, GROUP_POSITIONS);
    group_pictures(&g, golden);
    r.keeps = r.keeps_local = true;
    struct step_span span = request_prompt_span(&r, 100);
    struct step step = {.id = 9, .spans = &span, .n_spans = 1};
    assert_int_equal(span.n_keep, 2);
    refused(&g, &step, "a key of local layers, but the model keeps none apart");
    group_close(&g);
    golden_free(golden);
}

int main(void)
{
    struct comm *comm;
    assert_int_equal(comm_open_one(&comm, NULL), 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(rejected_drafts_never_change_the_tokens, comm),
        cmocka_unit_test_prestate(requests_share_pages_of_both_kinds, comm),
        cmocka_unit_test_prestate(a_long_sequence_takes_little_more_than_its_global_layers, comm),
        cmocka_unit_test_prestate(what_is_gone_is_not_counted_on, comm),
        cmocka_unit_test_prestate(a_kept_local_page_is_not_written, comm),
        cmocka_unit_test_prestate(a_model_without_windows_keeps_no_local_pages, comm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_close(comm);
    return failed;
}
