/* mpi_comm.c - the collectives over MPI: what they compute, in which order they add, what an idle rank costs
 *
 * Run by mpirun. The name of a role as argument makes it a program for tests/system/test_cluster.py instead: "stuck" (rank 0 takes
 * no part in a sum), "idle" (all others wait for ever); a second argument is the timeout in seconds. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/mpi.h"

#include "base/clock.h"
#include "base/random.h"
#include "cluster/comm.h"

static struct comm *comm_of(void **state)
{
    return *state;
}

/* Numbers of very different size, so that a sum of three or more shows the order in which it was taken. */
static float value(int rank, size_t i)
{
    uint32_t bits[4];
    random_bits(bits, 20, (uint64_t)rank, i);
    return ldexpf(random_unit(bits[0]) - 0.5f, (int)(bits[1] % 24) - 12);
}

static float sum_in_rank_order(int size, size_t i)
{
    float sum = value(0, i);
    for (int r = 1; r < size; r++)
        sum += value(r, i);
    return sum;
}

static void sum_is_in_rank_order(struct comm *comm, const float *own, const float *expected, size_t count)
{
    float *x = malloc((count + 1) * sizeof *x);
    memcpy(x, own, count * sizeof *x);
    x[count] = 7; /* must stay */
    comm->calls->all_reduce_sum(comm, x, count);
    bool same = memcmp(x, expected, count * sizeof *x) == 0;
    if (!same)
        print_error("rank %d of %d: a sum of %zu floats has other bits than the sum in rank order\n", comm->rank, comm->size,
                    count);
    assert_true(same);
    assert_true(x[count] == 7);
    free(x);
}

static void sums_have_the_same_bits_for_every_length(void **state)
{
    struct comm *comm = comm_of(state);
    const size_t longest = 1 << 20;
    float *own = malloc(longest * sizeof *own), *expected = malloc(longest * sizeof *expected);
    for (size_t i = 0; i < longest; i++) {
        own[i] = value(comm->rank, i);
        expected[i] = sum_in_rank_order(comm->size, i);
    }
    for (size_t count = 0; count <= 20000; count += count < 3500 ? 1 : 37)
        sum_is_in_rank_order(comm, own, expected, count);
    /* around the switch of the algorithm and the cut into blocks (cluster/comm_mpi.c: is_short, SUM_BLOCK) */
    for (size_t i = 0; i < 9; i++) {
        sum_is_in_rank_order(comm, own, expected, 2996 + i);
        sum_is_in_rank_order(comm, own, expected, (1 << 18) - 4 + i);
    }
    sum_is_in_rank_order(comm, own, expected, longest);
    free(own);
    free(expected);
}

/* Keeps the test above honest: with inputs whose sum has no order it could not fail. */
static void inputs_show_the_order_of_a_sum(void **state)
{
    struct comm *comm = comm_of(state);
    size_t differ = 0;
    for (size_t i = 0; comm->size > 2 && i < 1000; i++) {
        float backwards = value(comm->size - 1, i);
        for (int r = comm->size - 2; r >= 0; r--)
            backwards += value(r, i);
        differ += backwards != sum_in_rank_order(comm->size, i);
    }
    assert_true(comm->size <= 2 || differ > 100);
}

static void all_gather_puts_parts_in_rank_order(void **state)
{
    struct comm *comm = comm_of(state);
    for (size_t bytes = 0; bytes <= 70001; bytes = bytes * 3 + 1) {
        uint8_t *all = calloc((size_t)comm->size, bytes + 1), *part = malloc(bytes + 1);
        memset(part, 'a' + comm->rank, bytes);
        comm->calls->all_gather(comm, all, part, bytes);
        for (int r = 0; r < comm->size; r++)
            for (size_t i = 0; i < bytes; i++)
                assert_int_equal(all[(size_t)r * bytes + i], 'a' + r);
        free(all);
        free(part);
    }
}

static void all_gather_takes_a_part_that_is_in_place(void **state)
{
    struct comm *comm = comm_of(state);
    int all[64] = {0};
    all[comm->rank] = 100 + comm->rank;
    comm->calls->all_gather(comm, all, &all[comm->rank], sizeof *all);
    for (int r = 0; r < comm->size; r++)
        assert_int_equal(all[r], 100 + r);
}

static void broadcast_comes_from_any_root(void **state)
{
    struct comm *comm = comm_of(state);
    for (int root = 0; root < comm->size; root++) {
        int data[1001];
        for (int i = 0; i < 1001; i++)
            data[i] = comm->rank == root ? root * 10000 + i : -1;
        comm->calls->broadcast(comm, data, sizeof data, root);
        for (int i = 0; i < 1001; i++)
            assert_int_equal(data[i], root * 10000 + i);
    }
    comm->calls->broadcast(comm, NULL, 0, 0);
}

static void what_is_sent_is_received(void **state)
{
    struct comm *comm = comm_of(state);
    const size_t count = 100003; /* beyond MPI's eager limit */
    int *data = malloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++)
        data[i] = comm->rank == 0 ? (int)i : -1;
    if (comm->rank > 0)
        comm->calls->receive(comm, data, count * sizeof *data, comm->rank - 1);
    if (comm->rank + 1 < comm->size)
        comm->calls->send(comm, data, count * sizeof *data, comm->rank + 1);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(data[i], i);
    free(data);
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

static void an_idle_rank_does_not_burn_a_core(void **state)
{
    struct comm *comm = comm_of(state);
    const double pause = 2;
    comm->calls->barrier(comm);
    if (comm->rank == 0) {
        clock_sleep(pause);
        comm->calls->wake(comm);
        return;
    }
    double start = clock_seconds(), before = cpu_seconds();
    comm->calls->idle_wait(comm);
    double waited = clock_seconds() - start, share = (cpu_seconds() - before) / waited;
    print_message("rank %d: idle for %.2f s at %.1f %% of a core\n", comm->rank, waited, share * 100);
    assert_true(waited > pause * 0.9);
    assert_true(share < 0.15); /* measured about 0.02; an MPI wait takes 1. Room for a loaded machine and sanitizers. */
}

static void wakes_are_not_lost_or_doubled(void **state)
{
    struct comm *comm = comm_of(state);
    for (int step = 0; step < 200; step++) {
        int seen = -1;
        if (comm->rank == 0) {
            seen = step;
            comm->calls->wake(comm);
        } else {
            comm->calls->idle_wait(comm);
        }
        comm->calls->broadcast(comm, &seen, sizeof seen, 0);
        assert_int_equal(seen, step);
    }
}

static void a_second_open_is_refused(void **state)
{
    (void)state;
    struct comm *second = NULL;
    struct error err;
    assert_int_equal(comm_open_mpi(&second, NULL, &err), -1);
    assert_non_null(strstr(err.text, "once"));
}

/* What the tests in tests/system watch from outside. */
static void play(struct comm *comm, const char *role)
{
    float x = 1;
    comm->calls->barrier(comm);
    printf("rank %d is up: pid %ld\n", comm->rank, (long)getpid());
    fflush(stdout);
    if (comm->rank == 0)
        clock_sleep(600);
    else if (strcmp(role, "stuck") == 0)
        comm->calls->all_reduce_sum(comm, &x, 1);
    else
        comm->calls->idle_wait(comm);
}

int main(int argc, char **argv)
{
    struct comm *comm = mpi_ranks(argc > 2 ? strtod(argv[2], NULL) : 0);
    if (argc > 1) {
        play(comm, argv[1]);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(sums_have_the_same_bits_for_every_length, comm),
        cmocka_unit_test_prestate(inputs_show_the_order_of_a_sum, comm),
        cmocka_unit_test_prestate(all_gather_puts_parts_in_rank_order, comm),
        cmocka_unit_test_prestate(all_gather_takes_a_part_that_is_in_place, comm),
        cmocka_unit_test_prestate(broadcast_comes_from_any_root, comm),
        cmocka_unit_test_prestate(what_is_sent_is_received, comm),
        cmocka_unit_test_prestate(wakes_are_not_lost_or_doubled, comm),
        cmocka_unit_test_prestate(an_idle_rank_does_not_burn_a_core, comm),
        cmocka_unit_test_prestate(a_second_open_is_refused, comm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_close(comm);
    return failed;
}
