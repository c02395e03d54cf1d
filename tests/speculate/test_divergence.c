/* test_divergence.c - total variation distances worked out by hand */
#include "tests/check.h"

#include <math.h>

#include "speculate/divergence.h"

static void expect(const float *p, const float *q, int n, float temperature, double distance, bool same_best)
{
    struct divergence d;
    assert_int_equal(divergence_of_scores(&d, p, q, n, temperature), 0);
    if (!(fabs(d.total_variation - distance) < 1e-7)) /* scores are floats: their logarithms have 24 bits */
        fail_msg("%.9g is not %.9g", d.total_variation, distance);
    assert_int_equal(d.same_best, same_best);
}

static void distances_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    /* p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): (1/4 + 0 + 1/4) / 2 */
    const float p[] = {logf(0.5f), logf(0.25f), logf(0.25f)}, q[] = {logf(0.25f), logf(0.25f), logf(0.5f)};
    expect(p, q, 3, 1, 0.25, false);
    expect(q, p, 3, 1, 0.25, false);
    expect(p, p, 3, 1, 0, true);
    /* Over the first two ids alone: (2/3, 1/3) and (1/2, 1/2). The best of equal scores is the first. */
    expect(p, q, 2, 1, 1.0 / 6, true);
    /* At temperature 1/2 probabilities are squared: (4, 1, 1) / 6 and (1, 1, 4) / 6. */
    expect(p, q, 3, 0.5f, 0.5, false);
}

static void a_constant_changes_nothing_and_large_scores_do_not_overflow(void **state)
{
    (void)state;
    const float p[] = {1000, 1000, -1000}, q[] = {-3000, -2999, -5000};
    double e = exp(1.0);
    expect(p, q, 3, 1, e / (1 + e) - 0.5, false);
}

static void disjoint_distributions_are_at_distance_one(void **state)
{
    (void)state;
    const float p[] = {0, -INFINITY}, q[] = {-INFINITY, 0};
    expect(p, q, 2, 1, 1, false);
}

static void rows_without_a_softmax_are_refused(void **state)
{
    (void)state;
    const float good[] = {0, 1}, nan[] = {0, NAN}, none[] = {-INFINITY, -INFINITY}, infinite[] = {INFINITY, 0};
    struct divergence d;
    assert_int_equal(divergence_of_scores(&d, good, nan, 2, 1), -1);
    assert_int_equal(divergence_of_scores(&d, nan, good, 2, 1), -1);
    assert_int_equal(divergence_of_scores(&d, good, none, 2, 1), -1);
    assert_int_equal(divergence_of_scores(&d, infinite, good, 2, 1), -1);
    assert_int_equal(divergence_of_scores(&d, good, good, 0, 1), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_those_worked_out_by_hand),
        cmocka_unit_test(a_constant_changes_nothing_and_large_scores_do_not_overflow),
        cmocka_unit_test(disjoint_distributions_are_at_distance_one),
        cmocka_unit_test(rows_without_a_softmax_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
