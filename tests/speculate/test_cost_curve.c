/* test_cost_curve.c - what is learned comes back, between bins and beyond them */
#include "tests/check.h"

#include <math.h>

#include "speculate/cost_curve.h"

static void assert_near(double a, double b)
{
    if (fabs(a - b) > 1e-9)
        fail_msg("%.12g is not %.12g", a, b);
}

static void nothing_known_is_zero_and_one_measurement_is_flat(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    assert_near(cost_curve_at(&curve, 5), 0);
    assert_false(cost_curve_knows(&curve, 5));
    cost_curve_learn(&curve, 5, 12);
    assert_true(cost_curve_knows(&curve, 5));
    assert_near(cost_curve_at(&curve, 1), 12);
    assert_near(cost_curve_at(&curve, 5), 12);
    assert_near(cost_curve_at(&curve, 500), 12);
}

static void between_and_beyond_are_straight_lines(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    cost_curve_learn(&curve, 2, 10);
    cost_curve_learn(&curve, 6, 18);
    cost_curve_learn(&curve, 100, 206);
    assert_near(cost_curve_at(&curve, 1), 10);
    assert_near(cost_curve_at(&curve, 4), 14);
    assert_near(cost_curve_at(&curve, 53), 112);
    assert_near(cost_curve_at(&curve, 200), 406);
}

/* Two near measurements, one of them lucky: more rows are never dearer than in proportion. */
static void a_steep_end_does_not_run_away(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    assert_near(cost_curve_end(&curve), 0);
    cost_curve_learn(&curve, 4, 10);
    cost_curve_learn(&curve, 5, 20);
    assert_near(cost_curve_at(&curve, 50), 200);
    assert_near(cost_curve_end(&curve), 5);
}

/* More rows that took less time: both share their mean, by the number of measurements; and nothing is continued downwards. */
static void a_curve_never_falls(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    cost_curve_learn(&curve, 1, 10);
    cost_curve_learn(&curve, 4, 8);
    assert_near(cost_curve_at(&curve, 1), 9);
    assert_near(cost_curve_at(&curve, 400), 9);
    cost_curve_learn(&curve, 4, 8);
    cost_curve_learn(&curve, 4, 8);
    assert_near(cost_curve_at(&curve, 2), 8.5);
    cost_curve_learn(&curve, 8, 7.5); /* below what the two share: it joins them */
    assert_near(cost_curve_at(&curve, 1), 8.3);
    assert_near(cost_curve_at(&curve, 8), 8.3);
    cost_curve_learn(&curve, 8, 11.5); /* its own mean is above theirs again */
    assert_near(cost_curve_at(&curve, 4), 8.5);
    assert_near(cost_curve_at(&curve, 8), 9.5);
}

static void means_forget_and_do_not_believe_an_outlier(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    for (int i = 0; i < 20; i++)
        cost_curve_learn(&curve, 3, 10);
    cost_curve_learn(&curve, 3, 1000);
    assert_true(cost_curve_at(&curve, 3) < 11);
    for (int i = 0; i < 200; i++)
        cost_curve_learn(&curve, 3, 5);
    assert_true(fabs(cost_curve_at(&curve, 3) - 5) < 0.01);
}

static void every_number_of_rows_has_a_bin(void **state)
{
    (void)state;
    struct cost_curve curve = {0};
    for (int rows = 1; rows <= 1 << 20; rows *= 2)
        cost_curve_learn(&curve, rows, rows);
    for (int rows = 1; rows <= 4096; rows++)
        assert_near(cost_curve_at(&curve, rows), rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_known_is_zero_and_one_measurement_is_flat),
        cmocka_unit_test(between_and_beyond_are_straight_lines),
        cmocka_unit_test(a_steep_end_does_not_run_away),
        cmocka_unit_test(a_curve_never_falls),
        cmocka_unit_test(means_forget_and_do_not_believe_an_outlier),
        cmocka_unit_test(every_number_of_rows_has_a_bin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
