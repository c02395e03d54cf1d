/* test_peak.c - the peak of several ranks: what all did by the time of the slowest, at their best */
#include "tests/check.h"

#include "base/memory.h"
#include "train/peak.h"

#include <string.h>

struct part { /* what ranks tell each other */
    double done, seconds;
};

static double other_seconds[16];
static int round_at, met;

static void barrier(struct comm *comm)
{
    (void)comm;
    met++;
}

/* This rank, and one that did three times as much in a time of the test's. */
static void all_gather(struct comm *comm, void *all, const void *part, size_t bytes)
{
    struct part own, *each = all;
    assert_int_equal(comm->size, 2);
    assert_int_equal(bytes, sizeof own);
    memcpy(&own, part, bytes);
    assert_true(own.seconds >= 0 && own.seconds < other_seconds[round_at]);
    assert_int_equal(met, round_at + 1); /* nobody begins before the others */
    each[0] = own;
    each[1] = (struct part){3 * own.done, other_seconds[round_at++]};
}

static double some_work(struct device *dev)
{
    (void)dev;
    return 1e9;
}

static void test_the_slowest_rank_says_how_long_it_took(void **state)
{
    const struct comm_calls calls = {.barrier = barrier, .all_gather = all_gather};
    struct comm comm = {.calls = &calls, .size = 2};
    const struct grad_kernels grad = {.multiply_adds = some_work};
    (void)state;
    for (int i = 0; i < 16; i++)
        other_seconds[i] = i == 1 ? 20 : 40; /* a round in which the machine was less busy */
    assert_true(peak_measure(&comm, &grad, NULL) == 4e9 / 20);
    assert_true(round_at > 1);
}

static void test_a_rank_alone_has_its_own_peak(void **state)
{
    struct comm *one;
    struct error err;
    const struct device_options options = {.threads = 1};
    struct device *dev = kernels_cpu()->open(&options, &err);
    (void)state;
    assert_non_null(dev);
    assert_int_equal(comm_open_one(&one, &err), 0);
    assert_true(peak_measure(one, grad_kernels_cpu(), dev) > 1e8); /* below what any core does that this can run on */
    comm_close(one);
    kernels_cpu()->close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_slowest_rank_says_how_long_it_took),
        cmocka_unit_test(test_a_rank_alone_has_its_own_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
