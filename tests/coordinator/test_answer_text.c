/* test_answer_text.c - tokens as text that ends at a zero byte */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/answer_text.h"

static int open_tiny(void **state)
{
    struct error err;
    return tokenizer_open((struct tokenizer **)state, "tests/golden/qwen2-tiny", &err);
}

static int close_tiny(void **state)
{
    tokenizer_close(*state);
    return 0;
}

/* Shown token by token, with what was held back behind it. */
static char *shown(const struct tokenizer *tokenizer, const int32_t *ids, int n, struct stop_strings *stops, const char **stop)
{
    struct answer_text text = {.stops = stops};
    char all[256] = "";
    *stop = NULL;
    for (int i = 0; i < n && !*stop; i++) {
        char *more = answer_text_push(&text, tokenizer, ids[i], true, stop);
        strcat(all, more);
        free(more);
    }
    if (!*stop) {
        char *rest = answer_text_rest(&text, stop);
        strcat(all, rest);
        free(rest);
    }
    return strdup(all);
}

static void check(const struct tokenizer *tokenizer, const char *bytes, size_t size, const char *wanted)
{
    int32_t *ids;
    const char *stop;
    struct error err;
    int n = tokenizer_encode(tokenizer, bytes, size, true, &ids, &err);
    assert_true(n > 0);
    char *stream = shown(tokenizer, ids, n, NULL, &stop), *whole = answer_text_of(tokenizer, ids, n, true);
    assert_string_equal(stream, wanted);
    assert_string_equal(whole, wanted);
    free(whole);
    free(stream);
    free(ids);
}

static void a_zero_byte_is_shown_and_hides_nothing(void **state)
{
    check(*state, "a\0b", 3, "a\uFFFDb");
    check(*state, "\0", 1, "\uFFFD");
    check(*state, "\0\0 \xe2\x9d\xa4\0", 7, "\uFFFD\uFFFD \u2764\uFFFD");
    check(*state, "no zero", 7, "no zero");
}

static void a_stop_string_is_found_behind_a_zero_byte(void **state)
{
    char *strings[] = {(char[]){"end"}};
    const char *stop;
    int32_t *ids;
    struct error err;
    int n = tokenizer_encode(*state, "a\0 the end.", 11, true, &ids, &err);
    struct stop_strings *stops = stop_strings_new(strings, 1);
    char *text = shown(*state, ids, n, stops, &stop);
    assert_string_equal(text, "a\uFFFD the ");
    assert_string_equal(stop, "end");
    free(text);
    stop_strings_free(stops);
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zero_byte_is_shown_and_hides_nothing),
        cmocka_unit_test(a_stop_string_is_found_behind_a_zero_byte),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
