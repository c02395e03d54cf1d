/* test_engine.c - steps against the goldens of Hugging Face transformers; what a group keeps of pictures */
#include "tests/worker/engine_fixture.h"

#include <math.h>

/* ---- answers ---- */

static void plain_steps_give_the_tokens_of_transformers(void **state)
{
    struct fixture *f = *state;
    const struct golden *cases[] = {f->scene, f->text, f->pair};
    for (int i = 0; i < 3; i++)
        for (int rows = 5; rows <= GROUP_ROWS; rows += 63) {
            struct request r = request_of(1, cases[i], 0, DRAFTS_RIGHT);
            group_pictures(&f->group, cases[i]);
            requests_run(&f->group, &r, 1, rows);
            assert_tokens(r.tokens, cases[i]->greedy, GOLDEN_TOKENS);
            group_release(&f->group, 1);
        }
}

static void drafts_never_change_the_tokens(void **state)
{
    struct fixture *f = *state;
    check_drafts(&f->group, f->scene, 1, f->scene->greedy);
    check_drafts(&f->group, f->text, 1, f->text->greedy);
}

static void drafts_never_change_the_tokens_under_a_repetition_penalty(void **state)
{
    struct fixture *f = *state;
    check_drafts(&f->group, f->scene, 1.05f, f->scene->penalty);
    check_drafts(&f->group, f->text, 1.05f, f->text->penalty);
}

static void drafts_never_change_what_is_sampled(void **state)
{
    struct fixture *f = *state;
    check_sampled(&f->group, f->scene);
    check_sampled(&f->group, f->text);
}

/* Greedy by way of the gathered rows is greedy. */
static void logprobs_change_no_token(void **state)
{
    struct fixture *f = *state;
    struct request r = request_of(1, f->scene, 4, DRAFTS_MIXED);
    r.wanted = f->scene->penalty;
    r.sampling = (struct sampling){.repetition_penalty = 1.05f, .logprobs = true, .top_logprobs = 3};
    group_pictures(&f->group, f->scene);
    requests_run(&f->group, &r, 1, 40);
    assert_tokens(r.tokens, f->scene->penalty, GOLDEN_TOKENS);
    group_release(&f->group, 1);
}

static void requests_in_one_step_do_not_see_each_other(void **state)
{
    struct fixture *f = *state;
    struct golden *const cases[] = {f->scene, f->text, f->pair};
    check_batch(&f->group, cases);
}

/* A coordinator that counts on a draft that was not accepted is wrong, and must hear it. */
static void rejected_drafts_are_gone(void **state)
{
    struct fixture *f = *state;
    struct step_verdict verdict;
    struct request r = request_of(1, f->text, 16, DRAFTS_WRONG);
    while (r.n < 2)
        requests_step(&f->group, &r, 1, 200);
    struct step_span span = request_answer_span(&r);
    const struct step step = {.spans = &span, .n_spans = 1};
    span.length++;
    engine_step(f->group.engine, &step, &verdict);
    assert_non_null(strstr(verdict.error, "the step counts on"));
    int held = (r.length + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
    assert_int_equal(model_blocks_free(f->group.model), model_blocks(f->group.model) - held);
    group_release(&f->group, 1);
}

/* Scores of the rows of the last step that belong to the request; *n of them. */
static float *scores_of(struct group *g, int first_row, int rows)
{
    size_t vocabulary = (size_t)g->config.vocabulary;
    float *all = mem_new((size_t)model_scored_rows(g->model) * vocabulary, sizeof *all);
    float *mine = mem_new((size_t)rows * vocabulary, sizeof *mine);
    model_scores(g->model, all);
    memcpy(mine, all + (size_t)first_row * vocabulary, (size_t)rows * vocabulary * sizeof *mine);
    free(all);
    return mine;
}

/* One step of a verification with `others` more requests in front of it: the bits of its scores. */
static float *scores_among(struct fixture *f, int others)
{
    struct request requests[5];
    group_pictures(&f->group, f->scene);
    for (int i = 0; i <= others; i++)
        requests[i] = request_of((uint64_t)i, i == others ? f->scene : f->text, i == others ? 4 : i, DRAFTS_RIGHT);
    while (requests[others].n == 0)
        requests_step(&f->group, &requests[others], 1, 30);
    for (int i = 0; i < others; i++)
        requests_step(&f->group, &requests[i], 1, 4 + 20 * i); /* some in their prompt, some in their answer */
    int scored = 0;
    struct request *all = requests;
    for (int i = 0; i < others; i++) {
        struct step_span span = request_span(&requests[i], 9);
        scored += span.want_token ? span.drafts + 1 : 0;
    }
    assert_true(requests_step(&f->group, all, others + 1, 9));
    float *scores = scores_of(&f->group, scored, 5);
    for (int i = 0; i <= others; i++)
        group_release(&f->group, (uint64_t)i);
    return scores;
}

static void scores_in_a_batch_are_bit_for_bit_those_alone(void **state)
{
    struct fixture *f = *state;
    size_t bytes = 5 * (size_t)f->group.config.vocabulary * sizeof(float);
    float *alone = scores_among(f, 0);
    for (int others = 1; others <= 4; others++) {
        float *among = scores_among(f, others);
        assert_memory_equal(among, alone, bytes);
        free(among);
    }
    free(alone);
}

/* The whole answer so far as generated rows behind the prompt, as after a lost group. */
static void a_replayed_request_goes_on_with_the_same_tokens(void **state)
{
    struct fixture *f = *state;
    struct request r = request_of(1, f->scene, 3, DRAFTS_MIXED);
    group_pictures(&f->group, f->scene);
    while (r.n < 20)
        requests_step(&f->group, &r, 1, 50);
    engine_forget(f->group.engine);
    assert_int_equal(model_blocks_free(f->group.model), model_blocks(f->group.model));
    group_pictures(&f->group, f->scene);
    struct request again = request_of(1, f->scene, 3, DRAFTS_MIXED);
    while (again.n == 0)
        requests_step(&f->group, &again, 1, 50);
    assert_int_equal(again.tokens[0], r.tokens[0]);
    struct step_span span = {.sequence = 1,
                             .n = r.n - 1,
                             .ids = r.tokens,
                             .position = f->scene->next_position,
                             .length = f->scene->n,
                             .generated = true,
                             .sampling.repetition_penalty = 1};
    struct step step = {.spans = &span, .n_spans = 1};
    struct step_verdict verdict;
    engine_step(f->group.engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    assert_int_equal(verdict.answers[0].next, -1);
    engine_verdict_free(&verdict);
    requests_run(&f->group, &r, 1, 50);
    assert_tokens(r.tokens, f->scene->greedy, GOLDEN_TOKENS);
    group_release(&f->group, 1);
}

static void requests_share_pages(void **state)
{
    struct fixture *f = *state;
    check_shared(&f->group, f->scene, 1);
    check_shared(&f->group, f->pair, 0.2f);
    check_shared(&f->group, f->scene, 0.2f);
}

static void scores_that_are_not_numbers_give_no_token(void **state)
{
    struct fixture *f = *state;
    group_pictures(&f->group, f->scene);
    float *rows = mem_new(128, sizeof *rows);
    for (int i = 0; i < 128; i++)
        rows[i] = NAN;
    struct step_piece piece = {.hash = {f->scene->pictures[0].hash[0], f->scene->pictures[0].hash[1]},
                               .rows = f->scene->pictures[0].count,
                               .width = 128,
                               .n = 1,
                               .features = rows};
    assert_int_equal(engine_piece(f->group.engine, &piece, NULL), 0);
    free(rows);
    struct request r = request_of(1, f->scene, 0, DRAFTS_RIGHT);
    requests_step(&f->group, &r, 1, 200);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.tokens[0], -1);
    engine_forget(f->group.engine);
}

/* ---- pictures ---- */

static void pieces_out_of_order_or_of_another_size_are_not_kept(void **state)
{
    struct fixture *f = *state;
    struct error err;
    float rows[4 * 128] = {0};
    const struct step_piece good = {.hash = {1, 2}, .rows = 4, .width = 128, .first = 0, .n = 2, .features = rows};
    struct {
        struct step_piece piece;
        const char *says;
    } bad[] = {
        {good, "rows of 64 numbers, but this model's have 128"},
        {good, "rows from 3 on came before those from 2 on"},
        {good, "3 rows from 2 on are no part of its 4"},
        {good, "5 rows now, 4 before"},
        {good, "0 rows from 0 on are no part of its 4"},
        {good, "are no part of its -4"},
        {good, "bytes for pictures are taken"},
    };
    bad[0].piece.width = 64;
    bad[1].piece.first = 3;
    bad[1].piece.n = 1;
    bad[2].piece.first = 2;
    bad[2].piece.n = 3;
    bad[3].piece.rows = 5;
    bad[4].piece.n = 0;
    bad[5].piece.rows = -4;
    bad[6].piece.hash[0] = 9;
    bad[6].piece.rows = 3000; /* the group keeps 1 MiB */
    assert_int_equal(engine_piece(f->group.engine, &good, &err), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(engine_piece(f->group.engine, &bad[i].piece, &err), -1);
        if (!strstr(err.text, bad[i].says))
            fail_msg("piece %zu: says \"%s\", should say \"%s\"", i, err.text, bad[i].says);
    }
    engine_forget(f->group.engine);
}

static void a_forgotten_picture_makes_room(void **state)
{
    struct fixture *f = *state;
    struct error err;
    float rows[128] = {0};
    struct step_piece piece = {.hash = {1, 2}, .rows = 2000, .width = 128, .n = 1, .features = rows};
    assert_int_equal(engine_piece(f->group.engine, &piece, &err), 0);
    piece.hash[0] = 3;
    assert_int_equal(engine_piece(f->group.engine, &piece, &err), -1);
    struct step_piece forget = {.hash = {1, 2}, .forget = true};
    assert_int_equal(engine_piece(f->group.engine, &forget, &err), 0);
    assert_int_equal(engine_piece(f->group.engine, &forget, &err), 0);
    assert_int_equal(engine_piece(f->group.engine, &piece, &err), 0);
    engine_forget(f->group.engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_steps_give_the_tokens_of_transformers),
        cmocka_unit_test(drafts_never_change_the_tokens),
        cmocka_unit_test(drafts_never_change_the_tokens_under_a_repetition_penalty),
        cmocka_unit_test(drafts_never_change_what_is_sampled),
        cmocka_unit_test(logprobs_change_no_token),
        cmocka_unit_test(rejected_drafts_are_gone),
        cmocka_unit_test(requests_in_one_step_do_not_see_each_other),
        cmocka_unit_test(scores_in_a_batch_are_bit_for_bit_those_alone),
        cmocka_unit_test(a_replayed_request_goes_on_with_the_same_tokens),
        cmocka_unit_test(requests_share_pages),
        cmocka_unit_test(scores_that_are_not_numbers_give_no_token),
        cmocka_unit_test(pieces_out_of_order_or_of_another_size_are_not_kept),
        cmocka_unit_test(a_forgotten_picture_makes_room),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
