/* test_schedule.c - the learning rate's shape, and orders that lose and double nothing */
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "train/schedule.h"

static void test_rate_rises_and_falls(void **state)
{
    (void)state;
    assert_true(schedule_rate(0, 100, 4, 2) == 0.5 && schedule_rate(3, 100, 4, 2) == 2 && schedule_rate(4, 100, 4, 2) == 2);
    assert_float_equal(schedule_rate(52, 100, 4, 2), 1, 1e-12); /* half way down */
    for (int i = 5; i < 100; i++)
        assert_true(schedule_rate(i, 100, 4, 2) < schedule_rate(i - 1, 100, 4, 2) && schedule_rate(i, 100, 4, 2) > 0);
    assert_true(schedule_rate(0, 10, 0, 2) == 2 && schedule_rate(2, 3, 3, 3) == 3);
}

static void test_every_epoch_has_every_example_once(void **state)
{
    (void)state;
    enum { N = 97, EPOCHS = 5 };
    struct order order, again;
    int before[N], now[N];
    order_open(&order, N, 3);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        char seen[N] = {0};
        int same = 0;
        for (int i = 0; i < N; i++) {
            now[i] = order_at(&order, (int64_t)epoch * N + i);
            assert_false(seen[now[i]]);
            seen[now[i]] = 1;
            same += epoch && now[i] == before[i];
        }
        assert_true(same < N / 8); /* another order */
        memcpy(before, now, sizeof now);
    }
    order_open(&again, N, 3); /* begun in the middle */
    for (int i = 0; i < N; i++)
        assert_int_equal(order_at(&again, (int64_t)(EPOCHS - 1) * N + i), before[i]);
    order_close(&again);
    order_close(&order);
}

/* The first place of many shuffles: each example as often as the others, within five deviations. */
static void test_shuffles_favour_nobody(void **state)
{
    (void)state;
    enum { N = 10, SHUFFLES = 20000 };
    int count[N] = {0};
    struct order order;
    order_open(&order, N, 11);
    for (int i = 0; i < SHUFFLES; i++)
        count[order_at(&order, (int64_t)i * N)]++;
    for (int i = 0; i < N; i++)
        assert_true(abs(count[i] - SHUFFLES / N) < 5 * 43); /* sqrt(20000 * 0.1 * 0.9) = 42.4 */
    order_close(&order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_rises_and_falls),
        cmocka_unit_test(test_every_epoch_has_every_example_once),
        cmocka_unit_test(test_shuffles_favour_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
