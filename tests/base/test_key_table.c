/* test_key_table.c - the table against a plain array, with keys that crowd the same slots */
#include <string.h>

#include "tests/check.h"

#include "base/key_table.h"
#include "base/random.h"

static void an_empty_table_knows_no_key(void **state)
{
    (void)state;
    struct key_table table = {0};
    assert_int_equal(key_table_find(&table, (uint64_t[2]){1, 2}), -1);
    key_table_put(&table, (uint64_t[2]){1, 2}, 7);
    assert_int_equal(key_table_find(&table, (uint64_t[2]){1, 2}), 7);
    assert_int_equal(key_table_find(&table, (uint64_t[2]){1, 3}), -1);
    key_table_remove(&table, (uint64_t[2]){1, 2});
    assert_int_equal(key_table_find(&table, (uint64_t[2]){1, 2}), -1);
    key_table_free(&table);
}

static void a_long_walk_of_puts_and_removals_agrees_with_an_array(void **state)
{
    (void)state;
    enum { KEYS = 500 };
    struct key_table table = {0};
    int32_t there[KEYS];
    memset(there, 0xff, sizeof there);
    for (uint64_t turn = 0; turn < 20000; turn++) {
        uint32_t bits[4];
        random_bits(bits, 5, turn, 0);
        int i = (int)(bits[0] % KEYS);
        const uint64_t key[2] = {(uint64_t)i % 23 * 61, (uint64_t)i}; /* 23 homes; some runs of keys go around the end */
        assert_int_equal(key_table_find(&table, key), there[i]);
        if (there[i] >= 0) {
            key_table_remove(&table, key);
            there[i] = -1;
        } else if (bits[1] % 3) {
            key_table_put(&table, key, there[i] = (int32_t)(bits[2] >> 1));
        }
        if (turn % 97 == 0)
            for (int j = 0; j < KEYS; j++)
                assert_int_equal(key_table_find(&table, (uint64_t[2]){(uint64_t)j % 23 * 61, (uint64_t)j}), there[j]);
    }
    key_table_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_knows_no_key),
        cmocka_unit_test(a_long_walk_of_puts_and_removals_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
