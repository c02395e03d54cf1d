/* test_bootstrap.c - intervals of ratios over prompts */
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "cli/bootstrap.h"

static const struct bootstrap_options usual = {.resamples = 10000, .confidence = 0.95, .seed = 1};

static void expect_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.12g is not %.12g", value, expected);
}

static void the_value_is_the_ratio_of_sums(void **state)
{
    (void)state;
    const struct share x[] = {{3, 1}, {1, 3}}, y[] = {{1, 2}, {1, 2}};
    expect_near(bootstrap_ratio(x, 2, &usual).value, 1, 0); /* (3 + 1) / (1 + 3), not the mean of 3 and 1/3 */
    expect_near(bootstrap_quotient(x, y, 2, &usual).value, 2, 0);
}

/* Of two prompts a resample is both of the first (1/4), both of the second (1/4), or one of each (1/2). */
static void two_prompts_have_three_resamples(void **state)
{
    (void)state;
    const struct share x[] = {{3, 1}, {1, 3}};
    struct interval wide = bootstrap_ratio(x, 2, &usual);
    expect_near(wide.low, 1.0 / 3, 1e-12);
    expect_near(wide.high, 3, 1e-12);
    struct interval middle = bootstrap_ratio(x, 2, &(struct bootstrap_options){.resamples = 10000, .confidence = 0.4, .seed = 1});
    expect_near(middle.low, 1, 1e-12); /* from the 30th to the 70th percentile */
    expect_near(middle.high, 1, 1e-12);
}

static void pairs_stay_together(void **state)
{
    (void)state;
    /* Every prompt is 2 times as fast, however long it takes: no doubt about the quotient, much about each ratio. */
    const struct share fast[] = {{10, 1}, {20, 9}, {30, 2}, {5, 7}}, slow[] = {{10, 2}, {20, 18}, {30, 4}, {5, 14}};
    struct interval quotient = bootstrap_quotient(fast, slow, 4, &usual), ratio = bootstrap_ratio(fast, 4, &usual);
    expect_near(quotient.value, 2, 1e-12);
    expect_near(quotient.low, 2, 1e-12);
    expect_near(quotient.high, 2, 1e-12);
    assert_true(ratio.high - ratio.low > 1);
}

static void one_prompt_leaves_no_doubt_and_none_no_figure(void **state)
{
    (void)state;
    const struct share x[] = {{3, 2}};
    struct interval one = bootstrap_ratio(x, 1, &usual), none = bootstrap_ratio(NULL, 0, &usual);
    assert_true(one.value == 1.5 && one.low == 1.5 && one.high == 1.5);
    assert_true(none.value == 0 && none.low == 0 && none.high == 0);
    const struct share nothing[] = {{0, 0}};
    assert_true(bootstrap_quotient(x, nothing, 1, &usual).value == 0);
}

static void the_seed_decides(void **state)
{
    (void)state;
    struct share x[20];
    for (int i = 0; i < 20; i++)
        x[i] = (struct share){(i * 7) % 20, 1};
    struct bootstrap_options few = {.resamples = 100, .confidence = 0.95, .seed = 5}, other = few;
    other.seed = 6;
    struct interval a = bootstrap_ratio(x, 20, &few), b = bootstrap_ratio(x, 20, &few), c = bootstrap_ratio(x, 20, &other);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.low != c.low || a.high != c.high);
}

/* 200 numbers, uniform in [0, 1): the mean's interval is 1.96 deviations of sqrt(1/12 / 200) to each side. Its ends are known to
 * about 3 % of that from 10,000 resamples, and the sample's own deviation differs from that of all numbers by some 5 %. */
static void the_interval_of_a_mean_has_the_width_that_theory_says(void **state)
{
    (void)state;
    struct share x[200];
    double mean = 0, squares = 0;
    for (int i = 0; i < 200; i++) {
        uint32_t bits[4];
        random_bits(bits, 99, 0, (uint64_t)i);
        x[i] = (struct share){(double)random_unit(bits[0]), 1};
        mean += x[i].above / 200;
    }
    for (int i = 0; i < 200; i++)
        squares += (x[i].above - mean) * (x[i].above - mean);
    double half = 1.96 * sqrt(squares / 200 / 200);
    struct interval interval = bootstrap_ratio(x, 200, &usual);
    expect_near(interval.value, mean, 1e-12);
    expect_near(interval.low, mean - half, 0.08 * half);
    expect_near(interval.high, mean + half, 0.08 * half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_value_is_the_ratio_of_sums),
        cmocka_unit_test(two_prompts_have_three_resamples),
        cmocka_unit_test(pairs_stay_together),
        cmocka_unit_test(one_prompt_leaves_no_doubt_and_none_no_figure),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(the_interval_of_a_mean_has_the_width_that_theory_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
