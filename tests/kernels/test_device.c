/* test_device.c - opening devices, refusing sizes and names, the thread pool, the absent plug-in */
#include "tests/kernels/kernel_check.h"
#include "tests/present.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "kernels/cpu/pool.h"
#include "kernels/cuda/plugin.h"

static void an_instruction_set_that_is_unknown_is_refused_with_the_possible_ones(void **state)
{
    (void)state;
    struct error err;
    assert_null(kernels_cpu()->open(&(struct device_options){.isa = "sse9"}, &err));
    assert_non_null(strstr(err.text, "'sse9'"));
    assert_non_null(strstr(err.text, "generic"));
    setenv("MASSV_ISA", "mmx", 1);
    assert_null(kernels_cpu()->open(&(struct device_options){0}, &err));
    assert_non_null(strstr(err.text, "MASSV_ISA"));
    setenv("MASSV_ISA", "generic", 1);
    struct device *dev = kernels_cpu()->open(&(struct device_options){.threads = 1}, &err);
    assert_string_equal(kernels_cpu()->describe(dev), "cpu generic, 1 thread");
    kernels_cpu()->close(dev);
    unsetenv("MASSV_ISA");
}

static void thread_counts_are_checked_and_none_means_one_per_core(void **state)
{
    (void)state;
    struct error err;
    assert_null(kernels_cpu()->open(&(struct device_options){.threads = -1}, &err));
    assert_null(kernels_cpu()->open(&(struct device_options){.threads = 1 << 20}, &err));
    assert_non_null(strstr(err.text, "threads"));
    struct device *dev = kernels_cpu()->open(&(struct device_options){0}, &err);
    assert_non_null(dev);
    kernels_cpu()->close(dev);
    kernels_cpu()->close(NULL);
}

static void weights_of_impossible_shape_are_refused(void **state)
{
    (void)state;
    const struct kernels *cpu = kernels_cpu();
    struct device *dev = cpu->open(&(struct device_options){.threads = 1}, NULL);
    struct error err;
    assert_null(cpu->matrix_create(dev, DTYPE_I64, 4, 4, &err));
    assert_non_null(strstr(err.text, "I64"));
    assert_null(cpu->matrix_create(dev, DTYPE_BF16, 0, 4, &err));
    assert_null(cpu->matrix_create(dev, DTYPE_BF16, 4, -1, &err));
    assert_null(cpu->matrix_create(dev, DTYPE_F32, 2000000000, 2000000000, &err));
    assert_non_null(strstr(err.text, "no memory"));
    assert_null(cpu->matrix_create(dev, DTYPE_F32, 2147483000, 2147483000, &err)); /* 2^64 bytes and more */
    assert_null(cpu->alloc(dev, SIZE_MAX - 8));
    cpu->matrix_destroy(dev, NULL);
    cpu->free(dev, NULL);
    cpu->close(dev);
}

static void memory_is_aligned_and_holds_what_was_put_there(void **state)
{
    (void)state;
    const struct kernels *cpu = kernels_cpu();
    struct device *dev = cpu->open(&(struct device_options){.threads = 1}, NULL);
    static const size_t sizes[] = {0, 1, 63, 4096, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *a = cpu->alloc(dev, sizes[i]), *b = cpu->alloc(dev, sizes[i]), byte = 'x', back = 0;
        assert_true((uintptr_t)a % 64 == 0 && a != b);
        if (sizes[i]) {
            cpu->upload(dev, a + sizes[i] - 1, &byte, 1);
            cpu->copy(dev, b, a + sizes[i] - 1, 1);
            cpu->download(dev, &back, b, 1);
            assert_int_equal(back, 'x');
        }
        cpu->free(dev, a);
        cpu->free(dev, b);
    }
    cpu->close(dev);
}

static void memory_is_present_before_it_is_used(void **state)
{
    (void)state;
    const struct kernels *cpu = kernels_cpu();
    struct device *dev = cpu->open(&(struct device_options){.threads = 2}, NULL);
    static const size_t sizes[] = {1, 300001, (9 << 20) + 4097}; /* of small pages; of huge ones and a rest */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *p = cpu->alloc(dev, sizes[i]);
        assert_true(is_present(p, sizes[i]));
        cpu->free(dev, p);
    }
    cpu->close(dev);
}

enum { ITEMS = 1000, WORKERS = 5 };

struct marks {
    atomic_int items[ITEMS], running[WORKERS];
};

static void mark(void *arg, int item, int worker)
{
    struct marks *marks = arg;
    assert_true(worker >= 0 && worker < WORKERS);
    assert_int_equal(atomic_fetch_add(&marks->running[worker], 1), 0); /* nobody else has this worker's scratch */
    atomic_fetch_add(&marks->items[item], 1);
    atomic_fetch_sub(&marks->running[worker], 1);
}

static void a_pool_runs_every_item_once_awake_or_asleep(void **state)
{
    (void)state;
    struct pool *pool = pool_open(WORKERS);
    struct marks *marks = calloc(1, sizeof *marks);
    enum { ROUNDS = 60 };
    for (int round = 0; round < ROUNDS; round++) {
        pool_run(pool, ITEMS - round, mark, marks);
        if (round % 3 == 0)
            clock_sleep(0.0005); /* longer than threads spin */
    }
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(marks->items[i], i < ITEMS - ROUNDS + 1 ? ROUNDS : ITEMS - i);
    free(marks);
    pool_close(pool);
    pool_close(NULL);
}

static void a_resting_pool_burns_no_core(void **state)
{
    (void)state;
    struct pool *pool = pool_open(3);
    struct marks *marks = calloc(1, sizeof *marks);
    pool_run(pool, ITEMS, mark, marks);
    clock_sleep(0.01);
    clock_t before = clock();
    clock_sleep(0.1);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 0.02); /* of 0.2 that two spinning threads would take */
    pool_close(pool);
    free(marks);
}

static void without_the_plugin_there_is_no_cuda_backend(void **state)
{
    (void)state;
    void *library = dlopen(KERNELS_CUDA_LIBRARY, RTLD_NOW);
    if (library)
        print_message("skipped: %s was found\n", KERNELS_CUDA_LIBRARY);
    else
        assert_null(kernels_cuda());
}

int main(void)
{
    unsetenv("MASSV_ISA");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instruction_set_that_is_unknown_is_refused_with_the_possible_ones),
        cmocka_unit_test(thread_counts_are_checked_and_none_means_one_per_core),
        cmocka_unit_test(weights_of_impossible_shape_are_refused),
        cmocka_unit_test(memory_is_aligned_and_holds_what_was_put_there),
        cmocka_unit_test(memory_is_present_before_it_is_used),
        cmocka_unit_test(a_pool_runs_every_item_once_awake_or_asleep),
        cmocka_unit_test(a_resting_pool_burns_no_core),
        cmocka_unit_test(without_the_plugin_there_is_no_cuda_backend),
    };
    return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
