/* test_acceptance.c - counts of speculative steps and what is derived from them */
#include "tests/check.h"

#include "speculate/acceptance.h"

static void nothing_counted_gives_zero(void **state)
{
    (void)state;
    const struct acceptance none = {0};
    assert_true(acceptance_mean_length(&none) == 0);
    assert_true(acceptance_rate(&none) == 0);
}

static void steps_without_drafts_have_length_one_and_rate_zero(void **state)
{
    (void)state;
    struct acceptance a = {0};
    acceptance_step(&a, 0, 0);
    acceptance_step(&a, 0, 0);
    assert_int_equal(a.steps, 2);
    assert_true(acceptance_mean_length(&a) == 1);
    assert_true(acceptance_rate(&a) == 0);
}

static void steps_are_counted_per_position(void **state)
{
    (void)state;
    struct acceptance a = {0};
    acceptance_step(&a, 5, 3);
    acceptance_step(&a, 5, 0);
    acceptance_step(&a, 2, 2);
    acceptance_step(&a, ACCEPTANCE_POSITIONS, ACCEPTANCE_POSITIONS);
    assert_int_equal(a.steps, 4);
    assert_int_equal(a.drafted, 28);
    assert_int_equal(a.accepted, 21);
    const uint64_t expected[ACCEPTANCE_POSITIONS] = {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    assert_memory_equal(a.accepted_per_position, expected, sizeof expected);
    assert_true(acceptance_mean_length(&a) == 1 + 21 / 4.0);
    assert_true(acceptance_rate(&a) == 21 / 28.0);
}

static void merged_counts_equal_counts_made_together(void **state)
{
    (void)state;
    struct acceptance a = {0}, b = {0}, together = {0};
    for (int i = 0; i < 40; i++) {
        int drafted = i % 9, accepted = drafted * (i % 4) / 3;
        acceptance_step(i % 3 ? &a : &b, drafted, accepted);
        acceptance_step(&together, drafted, accepted);
    }
    acceptance_merge(&a, &b);
    assert_memory_equal(&a, &together, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_counted_gives_zero),
        cmocka_unit_test(steps_without_drafts_have_length_one_and_rate_zero),
        cmocka_unit_test(steps_are_counted_per_position),
        cmocka_unit_test(merged_counts_equal_counts_made_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
