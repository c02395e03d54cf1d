/* test_load_figures.c - the figures of a load test from times that somebody made up */
#include "tests/check.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cli/load_figures.h"

static void expect_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * (1 + fabs(expected))))
        fail_msg("%.12g is not %.12g", value, expected);
}

static void percentiles_interpolate_between_neighbours(void **state)
{
    (void)state;
    double none[1] = {7}, one[] = {5}, four[] = {40, 10, 30, 20}, many[101];
    for (int i = 0; i < 101; i++)
        many[i] = (i * 37) % 101; /* 0..100, shuffled */
    struct load_spread s = load_spread_of(none, 0);
    expect_near(s.mean + s.p50 + s.p90 + s.p99, 0);
    s = load_spread_of(one, 1);
    expect_near(s.mean, 5);
    expect_near(s.p99, 5);
    s = load_spread_of(four, 4); /* as numpy.percentile([10, 20, 30, 40], ...) */
    expect_near(s.mean, 25);
    expect_near(s.p50, 25);
    expect_near(s.p90, 37);
    expect_near(s.p99, 39.7);
    s = load_spread_of(many, 101);
    expect_near(s.p50, 50);
    expect_near(s.p90, 90);
    expect_near(s.p99, 99);
}

static void arrivals_are_a_poisson_process_of_the_rate(void **state)
{
    (void)state;
    enum { N = 20001 };
    double *at = mem_new(N, sizeof *at), *again = mem_new(N, sizeof *again), squares = 0;
    load_arrivals(at, N, 50, 7);
    load_arrivals(again, N, 50, 7);
    assert_memory_equal(at, again, N * sizeof *at);
    load_arrivals(again, N, 50, 8);
    assert_true(at[1] != again[1]);
    assert_true(at[0] == 0);
    double mean = at[N - 1] / (N - 1);
    for (int i = 1; i < N; i++)
        squares += pow(at[i] - at[i - 1] - mean, 2);
    /* Mean and deviation of the gaps are 1 / rate; of 20,000 gaps they stay within 4 standard errors, 4 / sqrt(20000) = 2.8 %. */
    assert_true(fabs(mean * 50 - 1) < 0.029);
    assert_true(fabs(sqrt(squares / (N - 1)) * 50 - 1) < 0.04); /* that of the deviation is sqrt(2) times as wide */
    free(at);
    free(again);
}

static void choices_are_uniform(void **state)
{
    (void)state;
    int counts[5] = {0};
    for (int i = 0; i < 10000; i++)
        counts[load_choice(3, i, 5)]++;
    for (int i = 0; i < 5; i++)
        assert_true(abs(counts[i] - 2000) < 160); /* 4 deviations of 40 */
}

static double *gaps(int n, double gap)
{
    double *list = mem_new((size_t)n, sizeof *list);
    for (int i = 0; i < n; i++)
        list[i] = gap;
    return list;
}

/* Two answers, one of them sent 0.5 s late, a refusal, and one of a single token. */
static struct load_record *four_records(void)
{
    struct load_record *r = mem_new(4, sizeof *r);
    r[0] = (struct load_record){.scheduled = 100,
                                .sent = 100,
                                .first = 100.2,
                                .last = 101.2,
                                .ended = 101.25,
                                .tokens = 11,
                                .prompt_tokens = 30,
                                .gaps = gaps(5, 0.2),
                                .n_gaps = 5,
                                .acceptance = {.steps = 5, .drafted = 10, .accepted = 5, .accepted_per_position = {4, 1}}};
    r[1] = (struct load_record){.scheduled = 100,
                                .sent = 100.5,
                                .first = 101,
                                .last = 103,
                                .ended = 103,
                                .tokens = 5,
                                .prompt_tokens = 20,
                                .gaps = gaps(4, 0.5),
                                .n_gaps = 4,
                                .acceptance = {.steps = 4}};
    r[2] = (struct load_record){.scheduled = 101, .sent = 101, .ended = 110, .status = RPC_RESOURCE_EXHAUSTED, .words = "full"};
    r[3] = (struct load_record){.scheduled = 102, .sent = 102, .first = 104, .last = 104, .ended = 104, .tokens = 1};
    return r;
}

static void figures_count_from_the_scheduled_time_and_leave_failures_out(void **state)
{
    (void)state;
    struct load_record *records = four_records();
    struct load_figures f;
    load_figures_make(&f, records, 4, &(struct load_limits){.ttft = 1000, .e2e = 2999});
    assert_int_equal(f.requests, 4);
    assert_int_equal(f.completed, 3);
    assert_int_equal(f.ended[RPC_OK], 3);
    assert_int_equal(f.ended[RPC_RESOURCE_EXHAUSTED], 1);
    assert_string_equal(f.words[RPC_RESOURCE_EXHAUSTED], "full");
    expect_near(f.seconds, 10);
    expect_near(f.requests_per_s, 0.3);
    assert_int_equal(f.output_tokens, 17);
    assert_int_equal(f.prompt_tokens, 50);
    expect_near(f.output_tokens_per_s, 1.7);
    expect_near(f.ttft.mean, (200 + 1000 + 2000) / 3.0); /* the second waited 0.5 s before it was sent, too */
    expect_near(f.ttft.p50, 1000);
    expect_near(f.tpot.mean, (100 + 500) / 2.0);
    expect_near(f.itl.mean, (5 * 200 + 4 * 500) / 9.0);
    expect_near(f.itl.p50, 200);
    expect_near(f.e2e.mean, (1200 + 3000 + 2000) / 3.0);
    expect_near(f.lag.mean, 500 / 3.0);
    expect_near(f.stream_rate.mean, (10 + 2) / 2.0);
    expect_near(f.good_per_s, 0.1); /* the second takes 3 s, the last one's first token 2 s */
    assert_int_equal(f.acceptance.steps, 9);
    expect_near(acceptance_mean_length(&f.acceptance), 1 + 5 / 9.0);
    assert_int_equal(f.acceptance.accepted_per_position[1], 1);
    load_records_free(records, 4);
}

static void limits_that_are_not_given_exclude_nobody(void **state)
{
    (void)state;
    struct load_record *records = four_records();
    struct load_figures f;
    load_figures_make(&f, records, 4, &(struct load_limits){0});
    expect_near(f.good_per_s, f.requests_per_s);
    load_figures_make(&f, records, 4, &(struct load_limits){.tpot = 100.001});
    expect_near(f.good_per_s, 0.2); /* an answer of one token has no time between tokens, and none that is too long */
    load_figures_make(&f, NULL, 0, &(struct load_limits){0});
    expect_near(f.seconds + f.requests_per_s + f.ttft.p99, 0);
    load_records_free(records, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_interpolate_between_neighbours),
        cmocka_unit_test(arrivals_are_a_poisson_process_of_the_rate),
        cmocka_unit_test(choices_are_uniform),
        cmocka_unit_test(figures_count_from_the_scheduled_time_and_leave_failures_out),
        cmocka_unit_test(limits_that_are_not_given_exclude_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
