/* test_page_cache.c - the table of pages: states, the order in which pages are given up, and that it does not grow by use */
#include "tests/check.h"

#include <malloc.h>

#include "coordinator/page_cache.h"

static void key_of(uint64_t key[2], int i)
{
    key[0] = (uint64_t)i * 64; /* the same slot for all */
    key[1] = (uint64_t)i;
}

static void add(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_add(cache, key, 1, 1);
}

static enum page_state state_of(const struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    return page_cache_state(cache, key);
}

static void leave(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_leave(cache, key);
}

static void use(struct page_cache *cache, int i)
{
    uint64_t key[2];
    key_of(key, i);
    page_cache_use(cache, key);
}

static int evict(struct page_cache *cache)
{
    uint64_t key[2];
    return page_cache_evict(cache, key) ? (int)key[1] : -1;
}

static void the_page_whose_last_user_left_first_is_given_up_first(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    for (int i = 0; i < 5; i++)
        add(cache, i);
    assert_int_equal(state_of(cache, 3), PAGE_COMPUTING);
    leave(cache, 4);
    assert_int_equal(page_cache_idle(cache), 0); /* it is not there yet */
    assert_int_equal(evict(cache), -1);
    assert_int_equal(page_cache_land(cache, true), 0);
    assert_true(state_of(cache, 3) == PAGE_USED && state_of(cache, 4) == PAGE_IDLE);
    for (int i = 3; i >= 0; i--)
        leave(cache, i);
    use(cache, 3); /* used again, so the last to go */
    use(cache, 3);
    leave(cache, 3);
    assert_int_equal(page_cache_idle(cache), 4);
    leave(cache, 3);
    const int order[] = {4, 2, 1, 0, 3, -1};
    for (int i = 0; i < 6; i++)
        assert_int_equal(evict(cache), order[i]);
    assert_int_equal(state_of(cache, 2), PAGE_UNKNOWN);
    add(cache, 2); /* and back */
    page_cache_land(cache, true);
    leave(cache, 2);
    assert_int_equal(evict(cache), 2);
    page_cache_free(cache);
}

static void pages_of_a_refused_step_are_unknown_again(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    add(cache, 1);
    page_cache_land(cache, true);
    add(cache, 2);
    add(cache, 3);
    leave(cache, 2);
    leave(cache, 3);
    assert_int_equal(page_cache_land(cache, false), 2);
    assert_true(state_of(cache, 1) == PAGE_USED && state_of(cache, 2) == PAGE_UNKNOWN && state_of(cache, 3) == PAGE_UNKNOWN);
    page_cache_free(cache);
}

static void room_is_counted_in_blocks(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    uint64_t wide[2], narrow[2], key[2];
    key_of(wide, 1);
    key_of(narrow, 2);
    page_cache_add(cache, wide, 3, 0); /* nobody's: idle when it is there */
    page_cache_add(cache, narrow, 1, 1);
    assert_int_equal(page_cache_land(cache, true), 0);
    assert_int_equal(page_cache_idle(cache), 3);
    page_cache_use(cache, wide);
    assert_int_equal(page_cache_idle(cache), 0);
    leave(cache, 2);
    leave(cache, 1);
    assert_int_equal(page_cache_idle(cache), 4);
    assert_int_equal(page_cache_evict(cache, key), 1);
    assert_int_equal(page_cache_evict(cache, key), 3);
    assert_int_equal(page_cache_evict(cache, key), 0);
    page_cache_add(cache, wide, 3, 0);
    page_cache_add(cache, narrow, 1, 0);
    assert_int_equal(page_cache_land(cache, false), 4);
    page_cache_free(cache);
}

static size_t heap_held(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void pages_that_come_and_go_leave_nothing(void **state)
{
    (void)state;
    struct page_cache *cache = page_cache_new();
    size_t held = 0;
    for (int i = 0; i < 100000; i++) {
        bool refused = i % 3 == 0;
        add(cache, i);
        if (refused)
            leave(cache, i);
        assert_int_equal(page_cache_land(cache, !refused), refused);
        if (!refused)
            leave(cache, i);
        assert_int_equal(evict(cache), refused ? -1 : i);
        if (i == 1000)
            held = heap_held();
    }
    assert_true(heap_held() <= held + 4096);
    page_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_whose_last_user_left_first_is_given_up_first),
        cmocka_unit_test(pages_of_a_refused_step_are_unknown_again),
        cmocka_unit_test(room_is_counted_in_blocks),
        cmocka_unit_test(pages_that_come_and_go_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
