/* test_capacity.c - how many cache positions a rank takes by itself */
#include "tests/check.h"

#include "base/error.h"
#include "model/model.h"
#include "worker/capacity.h"

enum { MIB = 1 << 20 };

static void plenty_of_memory_gives_eight_contexts(void **state)
{
    (void)state;
    const struct capacity_memory memory = {
        .available = (int64_t)64 << 30, .ranks_here = 2, .shard = MIB, .position = 1000, .context = 4096 * 1000};
    assert_int_equal(capacity_positions(&memory), 8 * 4096);
}

/* 1,000 MiB for two ranks, 100 MiB of weights each: half of the other 400 MiB, at 1 KiB a position. */
static void little_memory_gives_half_of_what_the_weights_leave(void **state)
{
    (void)state;
    const struct capacity_memory memory = {
        .available = (int64_t)1000 * MIB, .ranks_here = 2, .shard = (int64_t)100 * MIB, .position = 1024, .context = 131072 * 1024};
    assert_int_equal(capacity_positions(&memory), 200 * 1024);
}

static void weights_that_fill_the_memory_leave_no_positions(void **state)
{
    (void)state;
    struct capacity_memory memory = {
        .available = (int64_t)200 * MIB, .ranks_here = 2, .shard = (int64_t)100 * MIB, .position = 1024, .context = 131072 * 1024};
    assert_int_equal(capacity_positions(&memory), 0);
    memory.shard -= 2 * 1024 * (MODEL_PAGE_POSITIONS - 1); /* one position less than a page */
    assert_int_equal(capacity_positions(&memory), 0);
    memory.shard -= 2 * 1024;
    assert_int_equal(capacity_positions(&memory), MODEL_PAGE_POSITIONS);
}

static void one_rank_alone_gets_a_thread_and_a_cache(void **state)
{
    (void)state;
    struct comm *comm;
    struct capacity capacity;
    struct model_config config;
    struct error err;
    assert_int_equal(comm_open_one(&comm, NULL), 0);
    assert_int_equal(config_read(&config, "tests/golden/qwen25vl-tiny", &err), 0);
    assert_int_equal(capacity_plan(&capacity, comm, &config, DTYPE_F32, &err), 0);
    assert_true(capacity.threads >= 1);
    assert_in_range(capacity.kv_positions, MODEL_PAGE_POSITIONS, 8 * config.max_positions);
    comm_close(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plenty_of_memory_gives_eight_contexts),
        cmocka_unit_test(little_memory_gives_half_of_what_the_weights_leave),
        cmocka_unit_test(weights_that_fill_the_memory_leave_no_positions),
        cmocka_unit_test(one_rank_alone_gets_a_thread_and_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
