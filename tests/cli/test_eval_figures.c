/* test_eval_figures.c - figures of answers that somebody made up, worked out by hand */
#include "tests/check.h"

#include <math.h>

#include "cli/eval_figures.h"

static const struct bootstrap_options few = {.resamples = 200, .confidence = 0.95, .seed = 3};

static void expect_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * (1 + fabs(expected))))
        fail_msg("%.12g is not %.12g", value, expected);
}

/* Three prompts; the third does not count. Without drafts each token is a step. */
static const struct eval_record off[] = {{.tokens = 11,
                                          .acceptance = {.steps = 10},
                                          .seconds = 2,
                                          .queue = 1,
                                          .image = 100,
                                          .prefill = 399,
                                          .first = 500,
                                          .decode = 1500},
                                         {.tokens = 21,
                                          .acceptance = {.steps = 20},
                                          .seconds = 4,
                                          .queue = 3,
                                          .image = 300,
                                          .prefill = 697,
                                          .first = 1000,
                                          .decode = 3000},
                                         {.tokens = 99, .acceptance = {.steps = 98}, .seconds = 1}};
static const struct eval_record text[] = {
    {.tokens = 11,
     .acceptance = {.steps = 6, .drafted = 12, .accepted = 4, .accepted_per_position = {3, 1}},
     .seconds = 1.5,
     .decode = 1000},
    {.tokens = 21,
     .acceptance = {.steps = 14, .drafted = 28, .accepted = 6, .accepted_per_position = {5, 1}},
     .seconds = 3,
     .decode = 2000},
    {.tokens = 99}};
static const struct eval_record massv[] = {
    {.tokens = 11,
     .acceptance = {.steps = 4, .drafted = 8, .accepted = 6, .accepted_per_position = {4, 2}},
     .seconds = 1,
     .decode = 500},
    {.tokens = 21,
     .acceptance = {.steps = 8, .drafted = 16, .accepted = 12, .accepted_per_position = {8, 4}},
     .seconds = 2,
     .decode = 1000},
    {.tokens = 99}};
static const bool wanted[] = {true, true, false};

static void figures_are_pooled_over_the_prompts_that_count(void **state)
{
    (void)state;
    struct eval_figures f;
    eval_figures_make(&f, massv, off, text, wanted, 3, &few);
    assert_int_equal(f.prompts, 2);
    assert_int_equal(f.tokens, 32);
    expect_near(f.tokens_mean, 16);
    assert_int_equal(f.acceptance.steps, 12);
    assert_int_equal(f.acceptance.accepted_per_position[0], 12);
    assert_int_equal(f.acceptance.accepted_per_position[1], 6);
    expect_near(f.length.value, 1 + 18.0 / 12);
    expect_near(f.total.value, 32 / 3.0);
    expect_near(f.decode.value, 30 / 1.5); /* the first token of each is the prompt's */
    expect_near(f.mean.seconds, 1.5);
}

static void speed_ups_are_of_the_same_prompts(void **state)
{
    (void)state;
    struct eval_figures f;
    eval_figures_make(&f, massv, off, text, wanted, 3, &few);
    assert_true(f.off.is_there && f.text.is_there);
    expect_near(f.off.total.value, 2); /* of both prompts: no doubt */
    expect_near(f.off.total.low, 2);
    expect_near(f.off.total.high, 2);
    expect_near(f.off.decode.value, 3);
    expect_near(f.off.length.value, 2.5);
    expect_near(f.text.total.value, 1.5);
    expect_near(f.text.decode.value, 2);
    expect_near(f.text.length.value, 2.5 / (1 + 10.0 / 20));
    assert_true(f.text.length.low < f.text.length.high); /* 5/3 for the first, 5/2 by 10/7 for the second */
    expect_near(f.text.length.low, 2.5 / (10.0 / 6));
    expect_near(f.text.length.high, 2.5 / (20.0 / 14));
}

static void without_drafts_a_step_gives_one_token(void **state)
{
    (void)state;
    struct eval_figures f;
    eval_figures_make(&f, off, off, NULL, wanted, 3, &few);
    expect_near(f.length.value, 1);
    expect_near(f.off.total.value, 1);
    assert_false(f.text.is_there);
    expect_near(f.mean.image, 200);
    expect_near(f.mean.prefill, 548);
    expect_near(f.mean.first, 750);
    expect_near(f.mean.queue, 2);
}

static void of_no_prompt_there_are_no_figures(void **state)
{
    (void)state;
    const bool none[3] = {false};
    struct eval_figures f;
    eval_figures_make(&f, massv, off, text, none, 3, &few);
    assert_int_equal(f.prompts, 0);
    assert_true(f.length.value == 0 && f.total.high == 0 && f.tokens_mean == 0 && f.mean.seconds == 0);
    assert_false(f.off.is_there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_pooled_over_the_prompts_that_count),
        cmocka_unit_test(speed_ups_are_of_the_same_prompts),
        cmocka_unit_test(without_drafts_a_step_gives_one_token),
        cmocka_unit_test(of_no_prompt_there_are_no_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
