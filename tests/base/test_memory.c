/* test_memory.c - memory that is present before it is used, and few pools for many threads */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/present.h"

#include "base/memory.h"

static void touched_memory_is_present_and_zero_where_it_was_new(void **state)
{
    (void)state;
    const size_t bytes = (1 << 20) + 17;
    char *memory = mem_new(bytes, 1);
    assert_false(is_present(memory, bytes));
    mem_touch(memory, bytes);
    assert_true(is_present(memory, bytes));
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(memory[i], 0);
    free(memory);
    mem_touch(NULL, 0);
}

enum { THREADS = 12 };

static void *hold(void *arg)
{
    void *mine = mem_new(1000, 1);
    pthread_barrier_wait(arg); /* all threads are there at once */
    free(mine);
    return NULL;
}

static int pools(void)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    malloc_info(0, stream);
    fclose(stream);
    int n = 0;
    for (const char *at = text; (at = strstr(at, "<heap nr=")); at++)
        n++;
    free(text);
    return n;
}

static void many_threads_share_two_pools(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    mem_few_pools();
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold, &barrier), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    assert_true(pools() <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(touched_memory_is_present_and_zero_where_it_was_new),
        cmocka_unit_test(many_threads_share_two_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
