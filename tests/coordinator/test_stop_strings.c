/* test_stop_strings.c - stop strings in text that comes in pieces, against a search of the whole text */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "coordinator/stop_strings.h"

/* Pushes the pieces (NULL ends them) and the rest; returns what was shown. */
static const char *shown_after(char out[256], char *const *strings, int n, const char *const *pieces, const char **found)
{
    static char match[64];
    struct stop_strings *stops = stop_strings_new(strings, n);
    out[0] = 0;
    for (*found = NULL; *pieces && !*found; pieces++) {
        char *text = stop_strings_push(stops, *pieces, true, found);
        strcat(out, text);
        free(text);
    }
    if (!*found) {
        char *rest = stop_strings_rest(stops);
        strcat(out, rest);
        free(rest);
    } else {
        *found = strcpy(match, *found);
    }
    stop_strings_free(stops);
    return out;
}

static void strings_are_found_across_pieces_and_nothing_after_them_is_shown(void **state)
{
    (void)state;
    char end[] = "END", nd[] = "ND", newline[] = "\n\n", aab[] = "aab", abcdx[] = "abcdx", bc[] = "bc", heart[] = "❤",
         enda[] = "ENDa";
    const struct {
        char *strings[3];
        const char *pieces[8], *shown, *found;
    } rows[] = {
        {{end}, {"the END of"}, "the ", "END"},
        {{end}, {"the E", "N", "D of"}, "the ", "END"},
        {{end}, {"the E", "N", "d of"}, "the ENd of", NULL},
        {{end}, {"the EN"}, "the EN", NULL},
        {{end}, {"EEN", "ENE", "END"}, "EENENE", "END"},
        {{nd, end}, {"the E", "ND"}, "the ", "END"},          /* both end here: the longer */
        {{enda, end}, {"END", "a"}, "", "END"},               /* the one that ends first */
        {{abcdx, bc}, {"ab", "cd", "x"}, "a", "bc"},          /* "a" was kept back for the other */
        {{aab}, {"a", "a", "a", "a", "b", "c"}, "aa", "aab"}, /* the beginning moves along */
        {{newline}, {"one\n", "two\n", "\n", "three"}, "one\ntwo", "\n\n"},
        {{heart}, {"I ", "❤", "you"}, "I ", "❤"},
        {{end, end}, {"END"}, "", "END"},
        {{end}, {"", "", "x", ""}, "x", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[256];
        const char *found;
        int n = rows[i].strings[1] ? 2 : 1;
        assert_string_equal(shown_after(out, rows[i].strings, n, rows[i].pieces, &found), rows[i].shown);
        assert_true(!found == !rows[i].found);
        assert_true(!found || strcmp(found, rows[i].found) == 0);
    }
}

static void what_is_completed_before_it_counts_ends_nothing(void **state)
{
    (void)state;
    char abab[] = "abab";
    char *strings[] = {abab};
    struct stop_strings *stops = stop_strings_new(strings, 1);
    const char *found;
    char *text = stop_strings_push(stops, "xabab", false, &found);
    assert_null(found);
    assert_string_equal(text, "xab"); /* the last "ab" may begin another */
    free(text);
    text = stop_strings_push(stops, "ab", true, &found);
    assert_string_equal(found, "abab");
    assert_string_equal(text, "");
    free(text);
    stop_strings_free(stops);
}

enum { TEXT = 60, STRINGS = 4 };

/* The same by looking at the whole text: where the first string ends (0 = nowhere), which is the longest of those. */
static size_t naive_find(const char *text, char *const *strings, int n, int *which)
{
    for (size_t end = 1; end <= strlen(text); end++) {
        *which = -1;
        for (int i = 0; i < n; i++) {
            size_t size = strlen(strings[i]);
            if (size <= end && memcmp(text + end - size, strings[i], size) == 0 && (*which < 0 || size > strlen(strings[*which])))
                *which = i;
        }
        if (*which >= 0)
            return end;
    }
    return 0;
}

/* The longest end of text that begins a string and is not all of it. */
static size_t naive_held(const char *text, char *const *strings, int n)
{
    size_t longest = 0, length = strlen(text);
    for (int i = 0; i < n; i++)
        for (size_t size = 1; size < strlen(strings[i]) && size <= length; size++)
            if (memcmp(text + length - size, strings[i], size) == 0 && size > longest)
                longest = size;
    return longest;
}

struct draws { /* the counter of the next number */
    uint64_t next;
};

static size_t draw_below(struct draws *draws, size_t n)
{
    uint32_t bits[4];
    random_bits(bits, 4, 0, draws->next++);
    return bits[0] % n;
}

static size_t letters_draw(struct draws *draws, char *out, size_t most)
{
    size_t n = 1 + draw_below(draws, most);
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + draw_below(draws, 2)); /* two letters: many beginnings, many overlaps */
    out[n] = 0;
    return n;
}

static void check_random(struct draws *draws)
{
    char store[STRINGS][8], text[TEXT + 1], shown[TEXT + 1] = "", piece[TEXT + 1];
    char *strings[STRINGS];
    int n = 1 + (int)draw_below(draws, STRINGS), which = -1;
    for (int i = 0; i < n; i++)
        letters_draw(draws, strings[i] = store[i], 6);
    size_t size = letters_draw(draws, text, TEXT), end = naive_find(text, strings, n, &which);
    struct stop_strings *stops = stop_strings_new(strings, n);
    const char *found = NULL;
    for (size_t at = 0, take; at < size && !found; at += take) {
        take = draw_below(draws, 5);
        take = take < size - at ? take : size - at;
        snprintf(piece, take + 1, "%s", text + at); /* cut there */
        char *out = stop_strings_push(stops, piece, true, &found);
        strcat(shown, out);
        free(out);
        snprintf(piece, at + take + 1, "%s", text);
        if (!found)
            assert_int_equal(strlen(shown), at + take - naive_held(piece, strings, n));
        else
            assert_true(at < end && end <= at + take);
    }
    assert_true((found != NULL) == (end != 0));
    if (found) {
        assert_string_equal(found, strings[which]);
        assert_int_equal(strlen(shown), end - strlen(found));
    }
    assert_memory_equal(shown, text, strlen(shown));
    stop_strings_free(stops);
}

static void random_splits_agree_with_a_naive_search(void **state)
{
    (void)state;
    struct draws draws = {0};
    for (int i = 0; i < 20000; i++)
        check_random(&draws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_found_across_pieces_and_nothing_after_them_is_shown),
        cmocka_unit_test(what_is_completed_before_it_counts_ends_nothing),
        cmocka_unit_test(random_splits_agree_with_a_naive_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
