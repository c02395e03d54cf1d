/* test_pace.c - prompt rows that keep a step within its bound, and how prompts share them */
#include "tests/coordinator/stage.h"

#include "coordinator/pace.h"

static void nothing_known_gives_a_small_chunk(void **state)
{
    (void)state;
    struct pace pace = {0};
    assert_int_equal(pace_prompt_rows(&pace, 1, 4, 50), PACE_FIRST_ROWS);
    pace_learn(&pace, 1, 4, 0, 10);
    pace_learn(&pace, 1, 4, 64, 0); /* a group that does not tell */
    assert_int_equal(pace_prompt_rows(&pace, 1, 4, 50), PACE_FIRST_ROWS);
}

static void rows_fill_the_time_that_is_allowed(void **state)
{
    (void)state;
    struct pace pace = {0};
    pace_learn(&pace, 1, 4, 0, 10);
    pace_learn(&pace, 1, 4, 64, 10 + 64 * 0.5);
    assert_int_equal(pace_prompt_rows(&pace, 1, 4, 50), 100);
    assert_int_equal(pace_prompt_rows(&pace, 1, 4, 200), 400);
    assert_int_equal(pace_prompt_rows(&pace, 1, 4, 1), 20); /* as long as the run itself */
}

static void slow_rows_still_get_on(void **state)
{
    (void)state;
    struct pace pace = {0};
    pace_learn(&pace, 1, 1, 0, 20);
    pace_learn(&pace, 1, 1, 64, 20 + 64 * 30);
    assert_int_equal(pace_prompt_rows(&pace, 1, 1, 50), PACE_LEAST_ROWS);
}

static void a_step_without_rows_teaches_nothing(void **state)
{
    (void)state;
    struct pace pace = {0};
    for (int i = 0; i < 20; i++) {
        pace_learn(&pace, 1, 0, 0, 0.1); /* it only let sequences go */
        pace_learn(&pace, 1, 1, 0, 60);
    }
    pace_learn(&pace, 1, 1, 60, 60 + 60);
    assert_int_equal(pace_prompt_rows(&pace, 1, 1, 50), 60);
}

static void a_machine_that_becomes_slower_gets_smaller_chunks(void **state)
{
    (void)state;
    struct pace pace = {0};
    pace_learn(&pace, 1, 1, 100, 100);
    int before = pace_prompt_rows(&pace, 1, 1, 100);
    for (int i = 0; i < 30; i++)
        pace_learn(&pace, 1, 1, 100, 200);
    int after = pace_prompt_rows(&pace, 1, 1, 100);
    assert_int_equal(before, 100);
    assert_in_range(after, 49, 51);
}

static void a_long_prompt_does_not_stall_an_answer(void **state)
{
    (void)state;
    struct stage stage;
    struct scheduler_options options = {.stall_ms = 20};
    struct stage_question answer = {.prompt = 10, .max_tokens = 100, .k = 2},
                          entering = {.prompt = 400, .seed = 3, .max_tokens = 5};
    stage_open(&stage, &options);
    struct stage_group *group = stage_attach(&stage, 100, 512);
    group->row_ms = 0.5;
    stage_run(&stage);
    struct stage_client *runs = stage_ask(&stage, &answer);
    stage_prepare(&stage, NULL);
    while (runs->n < 10)
        stage_answer(group);
    struct stage_client *enters = stage_ask(&stage, &entering);
    stage_prepare(&stage, NULL);
    for (int had = runs->n; !enters->n; had = runs->n) {
        stage_answer(group);
        assert_true(runs->n > had); /* every step carries its answer on */
    }
    assert_in_range(group->most_prompt_rows_beside_answers, PACE_LEAST_ROWS, PACE_FIRST_ROWS);
    group->most_prompt_rows_beside_answers = 0;
    enters = stage_ask(&stage, &entering);
    stage_prepare(&stage, NULL);
    while (!enters->n && !runs->ended)
        stage_answer(group);
    assert_in_range(group->most_prompt_rows_beside_answers, 30, 40); /* 20 ms, when what was learned has settled */
    stage_run(&stage);
    stage_close(&stage);
}

static void a_short_prompt_does_not_wait_for_a_long_one(void **state)
{
    (void)state;
    struct stage stage;
    struct stage_question large = {.prompt = 400, .max_tokens = 5}, small = {.prompt = 20, .seed = 2, .max_tokens = 5};
    stage_open(&stage, NULL);
    struct stage_group *group = stage_attach(&stage, 100, 64);
    stage_run(&stage);
    struct stage_client *first = stage_ask(&stage, &large), *second = stage_ask(&stage, &small), *third = stage_ask(&stage, &large);
    stage_prepare(&stage, NULL);
    stage_answer(group);
    assert_true(second->n == 1 && first->n == 0);
    assert_int_equal(group->sequences[1].n, 22); /* 44 rows for two */
    stage_run(&stage);
    assert_true(first->finished && third->finished);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_known_gives_a_small_chunk),
        cmocka_unit_test(rows_fill_the_time_that_is_allowed),
        cmocka_unit_test(slow_rows_still_get_on),
        cmocka_unit_test(a_step_without_rows_teaches_nothing),
        cmocka_unit_test(a_machine_that_becomes_slower_gets_smaller_chunks),
        cmocka_unit_test(a_long_prompt_does_not_stall_an_answer),
        cmocka_unit_test(a_short_prompt_does_not_wait_for_a_long_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
