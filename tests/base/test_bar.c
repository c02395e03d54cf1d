/* test_bar.c - the line of a progress bar */
#include "tests/check.h"

#include <string.h>

#include "base/bar.h"

static void a_line_says_how_far_and_how_long(void **state)
{
    (void)state;
    char line[200];
    bar_line(line, sizeof line, 100, 0, 10, 0, "");
    assert_string_equal(line, "[                        ] 0/10");
    bar_line(line, sizeof line, 100, 5, 10, 70, "massv");
    assert_string_equal(line, "[============            ] 5/10, 1:10 left  massv");
    bar_line(line, sizeof line, 100, 10, 10, 140, "");
    assert_string_equal(line, "[========================] 10/10");
    bar_line(line, sizeof line, 100, 0, 0, 1, "");
    assert_string_equal(line, "[                        ] 0/0");
}

static void a_line_is_cut_at_the_terminals_edge(void **state)
{
    (void)state;
    char line[200];
    bar_line(line, sizeof line, 30, 5, 10, 70, "massv");
    assert_int_equal(strlen(line), 30);
    bar_line(line, 20, 30, 5, 10, 70, "massv"); /* whoever has less room than the terminal */
    assert_int_equal(strlen(line), 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_how_far_and_how_long),
        cmocka_unit_test(a_line_is_cut_at_the_terminals_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
