/* test_comm_one.c - the communicator of a single rank */
#include <string.h>

#include "tests/check.h"

#include "cluster/comm.h"

static void one_rank_copies_or_does_nothing(void **state)
{
    (void)state;
    struct comm *comm = NULL;
    assert_int_equal(comm_open_one(&comm, NULL), 0);
    assert_int_equal(comm->rank, 0);
    assert_int_equal(comm->size, 1);
    assert_string_equal(comm->calls->name, "one");

    float x[] = {1.5f, -2, 3}, all[3] = {0};
    const float same[] = {1.5f, -2, 3};
    comm->calls->all_reduce_sum(comm, x, 3);
    assert_memory_equal(x, same, sizeof x);
    comm->calls->all_gather(comm, all, x, sizeof x);
    assert_memory_equal(all, same, sizeof x);
    comm->calls->all_gather(comm, all, all, sizeof x); /* in place */
    assert_memory_equal(all, same, sizeof x);
    comm->calls->all_gather(comm, NULL, NULL, 0);
    comm->calls->broadcast(comm, x, sizeof x, 0);
    assert_memory_equal(x, same, sizeof x);
    comm->calls->wake(comm);
    comm->calls->barrier(comm);
    comm_close(comm);
    comm_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_rank_copies_or_does_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
