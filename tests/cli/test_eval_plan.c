/* test_eval_plan.c - what is asked in which order, which texts are compared, and distances to figures */
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/eval.h"
#include "cli/eval_tvd.h"

/* Two drafters at two draft lengths, greedy and at temperature 1 in both modes, five questions. */
static struct eval_options wishes(void)
{
    return (struct eval_options){.drafts = {2, 5},
                                 .n_drafts = 2,
                                 .temperatures = {0, 1},
                                 .n_temperatures = 2,
                                 .modes = {true, true},
                                 .concurrency = 1,
                                 .bootstrap = {.resamples = 100, .confidence = 0.95}};
}

static struct eval *eval_of(const struct eval_options *options)
{
    struct eval *e = mem_new(1, sizeof *e);
    struct error err = {{0}};
    e->options = options;
    e->questions.n = 5;
    e->n_services = 2;
    e->services[0] = (struct eval_service){.name = "massv", .info = {.drafter_kind = "massv"}};
    e->services[1] = (struct eval_service){.name = "text", .info = {.drafter_kind = "text"}};
    if (eval_plan_configs(e, &err))
        fail_msg("%s", err.text);
    return e;
}

static void eval_end(struct eval *e)
{
    free(e->configs);
    free(e->answers);
    free(e->busy);
    free(e);
}

static void every_condition_has_all_columns(void **state)
{
    (void)state;
    const struct eval_options options = wishes();
    struct eval *e = eval_of(&options);
    assert_int_equal(e->n_conditions, 3); /* greedy has no modes */
    assert_int_equal(e->n_configs, 3 * 5);
    assert_true(e->conditions[0].temperature == 0 && e->conditions[1].mode == SAMPLING_COUPLED);
    assert_true(e->conditions[2].mode == SAMPLING_REJECTION);
    assert_int_equal(e->configs[0].draft_tokens, 0);
    assert_int_equal(e->configs[0].service, 1); /* a text-only drafter has no features of pictures to make */
    assert_string_equal(eval_config_name(e, 0), "off");
    assert_string_equal(eval_config_name(e, 2), "massv");
    assert_int_equal(e->configs[2].draft_tokens, 5);
    assert_string_equal(eval_config_name(e, 3), "text");
    eval_end(e);
}

static void a_name_that_nobody_has_is_an_error_that_says_who_is_there(void **state)
{
    (void)state;
    struct eval_options options = wishes();
    struct eval *e = eval_of(&options);
    struct error err;
    strcpy(options.compare[options.n_compare++], "off");
    strcpy(options.compare[options.n_compare++], "vision");
    assert_int_equal(eval_plan_configs(e, &err), -1);
    assert_non_null(strstr(err.text, "--compare vision: there is off, massv, text; "));
    eval_end(e);
}

static void one_at_a_time_goes_question_by_question_and_begins_with_another_column(void **state)
{
    (void)state;
    const struct eval_options options = wishes();
    struct eval *e = eval_of(&options);
    struct eval_job *jobs;
    int n = eval_plan_jobs(e, 0, 2, &jobs), seen[15][5] = {{0}};
    assert_int_equal(n, 15 * 5);
    for (int i = 0; i < n; i++) {
        assert_int_equal(jobs[i].question, i / 15);
        assert_int_equal(jobs[i].config, (i % 15 + i / 15) % 15);
        assert_int_equal(jobs[i].block, i);
        seen[jobs[i].config][jobs[i].question]++;
    }
    for (int c = 0; c < 15; c++)
        for (int q = 0; q < 5; q++)
            assert_int_equal(seen[c][q], 1);
    free(jobs);
    n = eval_plan_jobs(e, 1, 1, &jobs); /* the second service alone: off and text */
    assert_int_equal(n, 9 * 5);
    for (int i = 0; i < n; i++)
        assert_int_equal(e->configs[jobs[i].config].service, 1);
    free(jobs);
    eval_end(e);
}

static void several_at_a_time_are_of_one_column(void **state)
{
    (void)state;
    struct eval_options options = wishes();
    options.concurrency = 2;
    struct eval *e = eval_of(&options);
    struct eval_job *jobs;
    int n = eval_plan_jobs(e, 0, 2, &jobs);
    assert_int_equal(n, 15 * 5);
    for (int i = 1; i < n; i++)
        if (jobs[i].block == jobs[i - 1].block)
            assert_int_equal(jobs[i].config, jobs[i - 1].config);
        else
            assert_int_equal(jobs[i].block, jobs[i - 1].block + 1);
    free(jobs);
    eval_end(e);
}

/* ---- texts ---- */

static void answer_put(struct eval *e, int config, int question, int32_t *ids, int n)
{
    static char text[] = "";
    struct eval_answer *a = eval_answer_at(e, config, question);
    a->text = text;
    a->ids = ids;
    a->usage.completion_tokens = n;
}

static void texts_of_greedy_and_coupled_answers_are_compared(void **state)
{
    (void)state;
    const struct eval_options options = wishes();
    struct eval *e = eval_of(&options);
    int32_t same[] = {1, 2, 3}, other[] = {1, 2, 4}, shorter[] = {1, 2};
    struct eval_difference list[1];
    int compared;
    answer_put(e, 0, 0, same, 3);
    answer_put(e, 1, 0, same, 3);
    answer_put(e, 2, 0, other, 3); /* greedy: from token 2 on */
    answer_put(e, 6, 1, same, 3);  /* coupled: the first that answered is compared with */
    answer_put(e, 8, 1, shorter, 2);
    answer_put(e, 10, 0, same, 3); /* rejection: may differ */
    answer_put(e, 11, 0, other, 3);
    assert_int_equal(eval_check_texts(e, list, 1, &compared), 2);
    assert_int_equal(compared, 3);
    assert_true(list[0].question == 0 && list[0].config == 2 && list[0].other == 0 && list[0].at == 2);
    memset(e->answers, 0, 15 * 5 * sizeof *e->answers);
    assert_int_equal(eval_check_texts(e, list, 1, &compared), 0);
    assert_int_equal(compared, 0);
    eval_end(e);
}

/* ---- distances ---- */

static void expect_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12))
        fail_msg("%.12g is not %.12g", value, expected);
}

static void distances_become_a_mean_over_positions(void **state)
{
    (void)state;
    struct divergence first[] = {{0, true}, {0.04, true}, {0.05, false}, {1, false}}, second[] = {{0.5, true}};
    const struct tvd_answer answers[] = {{4, first}, {0, NULL}, {1, second}};
    const struct tvd_answer *list[] = {&answers[0], &answers[1], &answers[2]};
    const struct bootstrap_options options = {.resamples = 1000, .confidence = 0.95};
    struct tvd_figures f;
    tvd_figures_make(&f, list, 3, &options);
    assert_int_equal(f.answers, 2);
    assert_int_equal(f.positions, 5);
    expect_near(f.mean.value, 1.59 / 5); /* not the mean of the answers' means */
    expect_near(f.mean.low, 1.09 / 4);   /* of two answers: twice the first, twice the second, or one of each */
    expect_near(f.mean.high, 0.5);
    expect_near(f.same_best, 0.6);
    expect_near(f.quantiles[2], 0.05);
    assert_int_equal(f.bins[0], 2); /* [0, 0.05) */
    assert_int_equal(f.bins[1], 1);
    assert_int_equal(f.bins[10], 1);
    assert_int_equal(f.bins[TVD_BINS - 1], 1); /* 1 itself */
    tvd_figures_make(&f, list + 1, 1, &options);
    assert_true(f.answers == 0 && f.positions == 0 && f.mean.value == 0 && f.same_best == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_condition_has_all_columns),
        cmocka_unit_test(a_name_that_nobody_has_is_an_error_that_says_who_is_there),
        cmocka_unit_test(one_at_a_time_goes_question_by_question_and_begins_with_another_column),
        cmocka_unit_test(several_at_a_time_are_of_one_column),
        cmocka_unit_test(texts_of_greedy_and_coupled_answers_are_compared),
        cmocka_unit_test(distances_become_a_mean_over_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
