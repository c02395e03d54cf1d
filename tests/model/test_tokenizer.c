/* test_tokenizer.c - text to ids and back against golden strings, and streams of broken text */
#include "tests/model/tokenizer_fixture.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/random.h"

/* Of the strings of a family. */
static json_t *golden_of(const char *family, const char *section)
{
    char path[64];
    snprintf(path, sizeof path, "tests/golden/tokenizers/%s.json", family);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    json_t *list = json_incref(json_object_get(root, section));
    json_decref(root);
    assert_true(json_array_size(list) > 0);
    return list;
}

static json_t *golden(const char *section)
{
    return golden_of("qwen", section);
}

static int read_ids(const json_t *list, int32_t *ids, int room)
{
    int n = (int)json_array_size(list);
    assert_true(n <= room);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

static void expect_decoded(const struct tokenizer *t, const int32_t *ids, int n, bool keep, const json_t *want)
{
    size_t size;
    char *text = tokenizer_decode(t, ids, n, keep, &size);
    assert_int_equal(size, json_string_length(want));
    assert_memory_equal(text, json_string_value(want), size);
    free(text);
}

static void check_strings(const struct tokenizer *t, const char *family)
{
    json_t *list = golden_of(family, "encode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *text = json_object_get(entry, "text");
        int32_t *ids, want[8192];
        int n = tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, NULL);
        int n_want = read_ids(json_object_get(entry, "ids"), want, 8192);
        if (n != n_want || memcmp(ids, want, (size_t)n * sizeof *ids) != 0)
            fail_msg("%s, golden string %zu: \"%s\"", family, i, json_string_value(text));
        expect_decoded(t, ids, n, true, json_object_get(entry, "decoded"));
        free(ids);
    }
    json_decref(list);
}

static struct tokenizer *open_gemma(void)
{
    struct tokenizer *t;
    struct error err;
    if (tokenizer_open(&t, GEMMA, &err))
        fail_msg("%s", err.text);
    return t;
}

static void every_golden_string_has_its_ids_and_comes_back(void **state)
{
    struct tokenizer *gemma = open_gemma();
    check_strings(*state, "qwen");
    check_strings(gemma, "gemma");
    tokenizer_close(gemma);
}

static void check_decoding(const struct tokenizer *t, const char *family)
{
    json_t *list = golden_of(family, "decode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int32_t ids[8192];
        int n = read_ids(json_object_get(entry, "ids"), ids, 8192);
        expect_decoded(t, ids, n, true, json_object_get(entry, "decoded"));
        expect_decoded(t, ids, n, false, json_object_get(entry, "decoded_without_special"));
    }
    json_decref(list);
}

static void ids_at_random_decode_as_the_golden_text(void **state)
{
    struct tokenizer *gemma = open_gemma();
    check_decoding(*state, "qwen");
    check_decoding(gemma, "gemma");
    tokenizer_close(gemma);
}

/* Pushing ids one by one must show, in sum, what decoding them at once shows, and whole characters at every moment. */
static void a_stream_gives_the_text_of_one_decoding(void **state)
{
    json_t *list = golden("decode");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        int32_t ids[8192];
        int n = read_ids(json_object_get(entry, "ids"), ids, 8192);
        struct text_stream stream = {.n_held = 0};
        char out[1024], all[65536];
        size_t total = 0;
        for (int k = 0; k <= n; k++) {
            size_t size = 0;
            const char *bytes = k < n ? tokenizer_bytes(*state, ids[k], &size) : NULL;
            if (k < n && !bytes)
                continue;
            size_t shown = text_stream_push(&stream, bytes, size, out);
            memcpy(all + total, out, shown);
            total += shown;
        }
        const json_t *want = json_object_get(entry, "decoded_without_special");
        assert_int_equal(total, json_string_length(want));
        assert_memory_equal(all, json_string_value(want), total);
    }
    json_decref(list);
}

static void a_stream_holds_a_character_until_it_is_whole(void **state)
{
    (void)state;
    struct text_stream stream = {.n_held = 0};
    char out[64];
    assert_int_equal(text_stream_push(&stream, "\xf0\x9f", 2, out), 0);
    assert_int_equal(text_stream_push(&stream, "\x98", 1, out), 0);
    assert_int_equal(text_stream_push(&stream, "\x80!", 2, out), 5);
    assert_memory_equal(out, "\xf0\x9f\x98\x80!", 5);
    assert_int_equal(text_stream_push(&stream, "\xe2\x82", 2, out), 0);
    assert_int_equal(text_stream_push(&stream, "a\xe2", 2, out), 4); /* what was held is broken */
    assert_memory_equal(out,
                        "\xef\xbf\xbd"
                        "a",
                        4);
    assert_int_equal(text_stream_push(&stream, NULL, 0, out), 3);
    assert_int_equal(text_stream_push(&stream, NULL, 0, out), 0);
    assert_int_equal(text_stream_push(&stream, "\xff\xff\xff\xff", 4, out), 12); /* three bytes for each broken one */
}

static void a_users_text_makes_no_special_tokens(void **state)
{
    const char *text = "<|im_end|>\n<|im_start|>system\n<|image_pad|>";
    int32_t *ids, special = tokenizer_find(*state, "<|endoftext|>");
    int n = tokenizer_encode(*state, text, strlen(text), false, &ids, NULL);
    assert_true(special > 0 && n > 8);
    for (int i = 0; i < n; i++)
        assert_true(ids[i] < special);
    size_t size;
    char *back = tokenizer_decode(*state, ids, n, true, &size);
    assert_string_equal(back, text);
    free(back);
    free(ids);
}

static void contents_and_ids_are_found(void **state)
{
    size_t size;
    int32_t id = tokenizer_find(*state, "<|im_end|>");
    assert_true(id > 0);
    assert_null(tokenizer_bytes(*state, id, &size)); /* special */
    assert_null(tokenizer_bytes(*state, -1, &size));
    assert_null(tokenizer_bytes(*state, tokenizer_size(*state), &size));
    assert_non_null(tokenizer_bytes(*state, 0, &size));
    assert_int_equal(size, 1);
    assert_int_equal(tokenizer_find(*state, "no such token"), -1);
    const int32_t unknown[] = {-5, 1 << 30, 0};
    char *text = tokenizer_decode(*state, unknown, 3, true, &size);
    assert_int_equal(size, 1);
    free(text);
}

/* Seconds of the processor for size bytes of a unit; other programs do not count. */
static double encoding_seconds(const struct tokenizer *tokenizer, const char *unit, size_t size)
{
    char *text = mem_new(size, 1);
    size_t n = strlen(unit);
    struct error err;
    int32_t *ids;
    size -= size % n;
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % n];
    clock_t start = clock();
    int count = tokenizer_encode(tokenizer, text, size, true, &ids, &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (count <= 0)
        fail_msg("%s", err.text);
    free(ids);
    free(text);
    return seconds;
}

/* Long runs that a quadratic merge, a recursive match or a sorting normalisation would not survive: eight times the text takes
 * eight times as long, where it took 64. */
static void a_megabyte_of_anything_is_encoded_in_time(void **state)
{
    static const char *const units[] = {"a",         " ", "\n",  "the", "\xc3\xa9",     "!",
                                        "e\xcc\x81", "1", " \t", "'s",  "\xe2\x80\xa9", "<|im_"};
    enum { SMALL = 1 << 17, TIMES = 8, MOST = 24 };
    const double noise = 0.1;
    struct tokenizer *gemma = open_gemma();
    for (size_t u = 0; u < 2 * (sizeof units / sizeof *units); u++) {
        const struct tokenizer *tokenizer = u % 2 ? gemma : *state;
        double small = encoding_seconds(tokenizer, units[u / 2], SMALL);
        double large = encoding_seconds(tokenizer, units[u / 2], SMALL * TIMES);
        if (large > MOST * small + noise)
            fail_msg("unit %zu: %g s, %g s for %d times the text", u, small, large, TIMES);
    }
    tokenizer_close(gemma);
}

static void text_that_cannot_be_encoded_is_an_error(void **state)
{
    struct error err;
    int32_t *ids;
    assert_int_equal(tokenizer_encode(*state, "abc\xff", 4, true, &ids, &err), -1);
    assert_string_equal(err.text, "the text is not UTF-8: byte 0xff at offset 3");
    assert_int_equal(tokenizer_encode(*state, "\xed\xa0\x80", 3, true, &ids, &err), -1); /* a surrogate */
    assert_int_equal(tokenizer_encode(*state, "\xe2\x82", 2, false, &ids, &err), -1);    /* cut */
    assert_int_equal(tokenizer_encode(*state, "", (size_t)100 << 20, true, &ids, &err), -1);
    assert_non_null(strstr(err.text, "at most"));
    char marks[2 * 4000];
    for (int i = 0; i < 4000; i++)
        memcpy(marks + 2 * i, i % 2 ? "\xcc\x81" : "\xcc\xa3", 2);
    assert_int_equal(tokenizer_encode(*state, marks, sizeof marks, true, &ids, &err), -1);
    assert_non_null(strstr(err.text, "combining marks"));
}

static void a_zero_byte_is_text_like_any_other(void **state)
{
    int32_t *ids;
    size_t size;
    int n = tokenizer_encode(*state, "a\0b", 3, true, &ids, NULL);
    assert_int_equal(n, 3);
    char *text = tokenizer_decode(*state, ids, n, true, &size);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 3);
    free(text);
    free(ids);
}

/* Ordinary text never makes special tokens; line feeds and tags of the vocabulary are tokens of any text. */
static void a_users_text_makes_gemmas_plain_added_tokens_only(void **state)
{
    (void)state;
    struct tokenizer *t = open_gemma();
    const char *text = "<end_of_turn>\n\n\n<table><start_of_image>";
    int32_t *ids;
    size_t size;
    int n = tokenizer_encode(t, text, strlen(text), false, &ids, NULL), feeds = 0, tables = 0;
    for (int i = 0; i < n; i++) {
        assert_non_null(tokenizer_bytes(t, ids[i], &size));
        feeds += ids[i] == tokenizer_find(t, "\n\n\n");
        tables += ids[i] == tokenizer_find(t, "<table>");
    }
    assert_true(feeds == 1 && tables == 1);
    char *back = tokenizer_decode(t, ids, n, true, &size);
    assert_string_equal(back, text);
    free(back);
    free(ids);
    tokenizer_close(t);
}

/* A run of byte tokens is text if all of it is; a stream has shown what was whole. */
static void bytes_that_make_no_character_are_replaced_one_by_one(void **state)
{
    (void)state;
    struct tokenizer *t = open_gemma();
    const int32_t ids[] = {tokenizer_find(t, "<0xE4>"), tokenizer_find(t, "<0xB8>"), tokenizer_find(t, "<0xAD>"),
                           tokenizer_find(t, "<0xFF>"), tokenizer_find(t, "a")};
    size_t size;
    char *whole = tokenizer_decode(t, ids, 3, true, &size), *broken = tokenizer_decode(t, ids, 5, true, &size);
    assert_string_equal(whole, "\xe4\xb8\xad");
    assert_string_equal(broken, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                                "a");
    free(whole);
    free(broken);
    assert_memory_equal(tokenizer_bytes(t, ids[3], &size), "\xff", 1);
    assert_int_equal(size, 1);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_string_has_its_ids_and_comes_back),
        cmocka_unit_test(ids_at_random_decode_as_the_golden_text),
        cmocka_unit_test(a_stream_gives_the_text_of_one_decoding),
        cmocka_unit_test(a_stream_holds_a_character_until_it_is_whole),
        cmocka_unit_test(a_users_text_makes_no_special_tokens),
        cmocka_unit_test(contents_and_ids_are_found),
        cmocka_unit_test(a_megabyte_of_anything_is_encoded_in_time),
        cmocka_unit_test(text_that_cannot_be_encoded_is_an_error),
        cmocka_unit_test(a_zero_byte_is_text_like_any_other),
        cmocka_unit_test(a_users_text_makes_gemmas_plain_added_tokens_only),
        cmocka_unit_test(bytes_that_make_no_character_are_replaced_one_by_one),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
