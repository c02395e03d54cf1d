/* test_trace.c - what is a traceparent and what is none */
#include "tests/check.h"

#include <string.h>

#include "coordinator/trace.h"

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void a_trace_is_joined_with_a_span_of_its_own(void **state)
{
    (void)state;
    const char *good[] = {"00-" ID "-" SPAN "-01", "00-" ID "-" SPAN "-ff", "01-" ID "-" SPAN "-01",
                          "cc-" ID "-" SPAN "-01-what-ever"};
    for (int i = 0; i < 4; i++) {
        struct trace trace = {.id = ""};
        char text[56];
        assert_int_equal(trace_join(&trace, good[i]), 0);
        assert_string_equal(trace.id, ID);
        assert_int_equal(strlen(trace.span), 16);
        assert_string_not_equal(trace.span, SPAN);
        trace_print(&trace, text);
        assert_int_equal(strlen(text), 55);
        assert_memory_equal(text, "00-" ID "-", 36);
        assert_memory_equal(text + 53, good[i] + 53, 2);
        struct trace again = trace;
        assert_int_equal(trace_join(&again, text), 0);
        assert_string_not_equal(again.span, trace.span);
    }
}

static void what_is_malformed_changes_nothing(void **state)
{
    (void)state;
    const char *bad[] = {
        "",
        "00",
        "00-" ID "-" SPAN,
        "00-" ID "-" SPAN "-0",
        "00-" ID "-" SPAN "-01-more",
        "00-" ID "-" SPAN "-01 ",
        "cc-" ID "-" SPAN "-01.more",
        "ff-" ID "-" SPAN "-01",
        "0x-" ID "-" SPAN "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" ID "-0000000000000000-01",
        "00-" ID "-" SPAN "-0g",
        "00_" ID "-" SPAN "-01",
        "00-" ID "_" SPAN "-01",
        "00-" ID "-" SPAN "_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-01a",
        "00-4bf92f3577b34da6a3ce929d0e0e47\xc3\xa9-" SPAN "-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct trace trace = {"kept", "kept", "01"};
        if (trace_join(&trace, bad[i]) != -1)
            fail_msg("taken: %s", bad[i]);
        assert_string_equal(trace.id, "kept");
    }
}

static void new_traces_differ(void **state)
{
    (void)state;
    struct trace a, b;
    char text[56];
    trace_begin(&a);
    trace_begin(&b);
    assert_string_not_equal(a.id, b.id);
    trace_print(&a, text);
    assert_int_equal(trace_join(&b, text), 0);
    assert_string_equal(a.id, b.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_is_joined_with_a_span_of_its_own),
        cmocka_unit_test(what_is_malformed_changes_nothing),
        cmocka_unit_test(new_traces_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
