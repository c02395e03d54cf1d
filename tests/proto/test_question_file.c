/* test_question_file.c - lines and arrays of conversations, entry by entry: what is taken, where a fault is, what may be skipped */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/question_file.h"

#define HUMAN(text) "{\"from\": \"human\", \"value\": \"" text "\"}"
#define GPT(text) "{\"from\": \"gpt\", \"value\": \"" text "\"}"
#define TALK(turns) "{\"conversations\": [" turns "]}"
#define SHOWN(image, turns) "{\"id\": \"7\", \"image\": " image ", \"conversations\": [" turns "]}"

static struct question_file *file_of(const char *text, char path[64])
{
    struct question_file *file;
    struct error err;
    strcpy(path, "/tmp/massv-questions-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    if (question_file_open(&file, path, &err))
        fail_msg("%s", err.text);
    return file;
}

/* All questions of the text as JSON, one after the other, with their places; and each is found there again. */
static void questions_are(const char *text, const char *wanted)
{
    char path[64], said[4096] = "";
    struct question_place places[16];
    struct question_file *file = file_of(text, path);
    json_t *question, *all[16], *again;
    struct error err;
    int n = 0, result;
    while ((result = question_file_next(file, &places[n], &question, &err)) == 1) {
        char *json = question ? json_dumps(question, JSON_COMPACT) : NULL;
        size_t at = strlen(said);
        snprintf(said + at, sizeof said - at, "%d:%d:%d:%d %s\n", places[n].number, places[n].line, places[n].entry,
                 places[n].question, question ? json : err.text);
        free(json);
        all[n++] = question;
    }
    if (result < 0)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(said, wanted);
    while (n-- > 0) {
        assert_int_equal(question_file_read(file, &places[n], &again, &err), 0);
        assert_true(all[n] ? json_equal(again, all[n]) : !again);
        json_decref(again);
        json_decref(all[n]);
    }
    question_file_close(file);
    unlink(path);
}

static void a_line_is_a_question(void **state)
{
    (void)state;
    questions_are("", "");
    questions_are(" \n\r\n", "");
    questions_are("{\"prompt\": \"x\"}", "1:1:0:0 {\"prompt\":\"x\"}\n");
    questions_are("\n{\"prompt\": \"\xc3\xbc\"} \r\n\n\t{\"other\": [{}]}\n",
                  "2:2:0:0 {\"prompt\":\"\xc3\xbc\"}\n4:4:0:0 {\"other\":[{}]}\n");
}

static void a_human_turn_is_a_question(void **state)
{
    (void)state;
    questions_are(" [ ] \n", "");
    questions_are("[" TALK(HUMAN("x") "," GPT("y")) "]", "1:1:1:0 {\"image\":null,\"prompt\":\"x\",\"reference\":\"y\"}\n");
    questions_are(
        "\n[\n" SHOWN("\"a/b.jpg\"",
                      HUMAN("<image>\\nOne?") "," GPT("1") ",\n" HUMAN("Two?") "," GPT("<image>") "," HUMAN(
                          " 3 ")) "\n,\n" SHOWN("null", HUMAN("x")) "," SHOWN("[\"c\"]",
                                                                              HUMAN("What? \\n<image>")) "," SHOWN("[]",
                                                                                                                   HUMAN("y")) "]",
        "1:3:1:0 {\"image\":\"a/b.jpg\",\"prompt\":\"One?\",\"reference\":\"1\"}\n"
        "2:3:1:1 {\"image\":\"a/b.jpg\",\"earlier\":[\"One?\",\"1\"],\"prompt\":\"Two?\",\"reference\":\"<image>\"}\n"
        "3:3:1:2 {\"image\":\"a/b.jpg\",\"earlier\":[\"One?\",\"1\",\"Two?\",\"<image>\"],\"prompt\":\" 3 \"}\n"
        "4:6:2:0 {\"image\":null,\"prompt\":\"x\"}\n"
        "5:6:3:0 {\"image\":\"c\",\"prompt\":\"What?\"}\n"
        "6:6:4:0 {\"image\":null,\"prompt\":\"y\"}\n");
    questions_are("[" SHOWN("\"a\"", HUMAN("One?") "," GPT("1") "," HUMAN("Look <image> there")) "]", /* the mark may come late */
                  "1:1:1:0 {\"image\":\"a\",\"prompt\":\"One?\",\"reference\":\"1\"}\n"
                  "2:1:1:1 {\"image\":\"a\",\"earlier\":[\"One?\",\"1\"],\"prompt\":\"Look  there\"}\n");
}

/* What is JSON, but no conversation, costs a number and no more. */
static void an_entry_that_cannot_be_used_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *words;
    } bad[] = {
        {"{}", "conversations: an array of turns"},
        {"{\"conversations\": {}}", "conversations: an array of turns"},
        {"{\"prompt\": \"x\"}", "conversations: an array of turns"},
        {TALK(""), "conversations: 0 turns; 1 to 4096 are wanted"},
        {TALK("5"), "conversations[0]: {\"from\": \"human\", \"value\": TEXT} is wanted"},
        {TALK(HUMAN("x") ",{\"from\": 1}"), "conversations[1]: {\"from\": \"gpt\", \"value\": TEXT} is wanted"},
        {TALK(GPT("x")), "conversations[0].from: \"gpt\", but it is the turn of \"human\""},
        {TALK(HUMAN("x") "," HUMAN("y")), "conversations[1].from: \"human\", but it is the turn of \"gpt\""},
        {TALK("{\"from\": \"system\", \"value\": \"x\"}"), "conversations[0].from: \"system\", but"},
        {TALK("{\"from\": \"human\"}"), "conversations[0].value: a string is wanted"},
        {TALK(HUMAN("x") ",{\"from\": \"gpt\", \"value\": null}"), "conversations[1].value: a string is wanted"},
        {SHOWN("3", HUMAN("x")), "image: a path, or a list of one, is wanted"},
        {SHOWN("[3]", HUMAN("x")), "image: a path, or a list of one, is wanted"},
        {SHOWN("[\"a\",\"b\"]", HUMAN("<image><image>")), "image: 2 pictures; at most one is supported"},
        {SHOWN("\"a\"", HUMAN("x")), "have 0 times <image>, but the entry has 1 picture"},
        {SHOWN("\"a\"", HUMAN("<image>x<image>")), "have 2 times <image>, but the entry has 1 picture"},
        {TALK(HUMAN("<image>")), "have 1 times <image>, but the entry has 0 pictures"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[64], text[1024];
        struct question_place place;
        json_t *question;
        struct error err;
        snprintf(text, sizeof text, "[%s,\n%s]", bad[i].entry, TALK(HUMAN("x")));
        struct question_file *file = file_of(text, path);
        assert_int_equal(question_file_next(file, &place, &question, &err), 1);
        assert_null(question);
        assert_int_equal(place.number, 1);
        assert_int_equal(question_file_blame(file, &place, &err), -1);
        char wanted[96];
        snprintf(wanted, sizeof wanted, "%s: entry 1 (line 1): ", path);
        if (strncmp(err.text, wanted, strlen(wanted)) != 0 || !strstr(err.text, bad[i].words))
            fail_msg("%s: %s", bad[i].entry, err.text);
        assert_int_equal(question_file_next(file, &place, &question, &err), 1);
        assert_true(question && place.number == 2 && place.entry == 2 && place.line == 2);
        json_decref(question);
        assert_int_equal(question_file_next(file, &place, &question, &err), 0);
        question_file_close(file);
        unlink(path);
    }
}

/* A file that breaks ends there: its error has the file and the line before, the column and, in an array, the entry behind. */
static void a_broken_file_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text, *line, *words, *where;
    } bad[] = {
        {"{\"prompt\": \"x\"}\n{\"prompt\": \n\"y\"}", ": line 2: not JSON: ", "near end of file", "(column 12)"},
        {"{\"a\": 1}\n [1]", ": line 2: ", "a JSON object is wanted", "(column 2)"},
        {"text", ": line 1: ", "a JSON object is wanted", "(column 1)"},
        {"{\"a\": 1},\n{\"a\": 1}", ": line 1: not JSON: ", "more stands behind the object; one a line is wanted", "(column 9)"},
        {"{\"a\": \"\xff\"}", ": line 1: not JSON: ", "decode", ")"},
        {"[", ": line 1: not JSON: ", "the file ends within the array", "(column 2, entry 0)"},
        {"[\n" TALK(HUMAN("x")), ": line 2: not JSON: ", "the file ends within the array", ", entry 1)"},
        {"[\n" TALK(HUMAN("x")) ",\n", ": line 3: not JSON: ", "the file ends within the array", "(column 1, entry 1)"},
        {"[\n" TALK(HUMAN("x")) ",\n{\"conversations\": [", ": line 3: not JSON: ", "near end of file", "(column 20, entry 2)"},
        {"[\n" TALK(HUMAN("\xc3\xbc")) ",\n{\"\xc3\xbc\": tru}]", ": line 3: not JSON: ", "invalid token near 'tru'",
         "(column 11, entry 2)"},
        {"[" TALK(HUMAN("x")) " " TALK(HUMAN("y")) "]", ": line 1: not JSON: ", ", or ] is wanted behind the entry", ", entry 1)"},
        {"[" TALK(HUMAN("x")) ",]", ": line 1: ", "a conversation, {\"conversations\": [...], ...}, is wanted", ", entry 2)"},
        {"[1, 2]", ": line 1: ", "a conversation, {\"conversations\": [...], ...}, is wanted", "(column 2, entry 1)"},
        {"[\"a\"]", ": line 1: ", "a conversation, {\"conversations\": [...], ...}, is wanted", "(column 2, entry 1)"},
        {"[" TALK(HUMAN("x")) "]\n]", ": line 2: ", "nothing may follow the array", "(column 1, entry 1)"},
        {"[" TALK(HUMAN("x")) "]\n{\"prompt\": \"x\"}", ": line 2: ", "nothing may follow the array", "(column 1, entry 1)"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[64], wanted[96];
        struct question_place place;
        json_t *question;
        struct error err;
        struct question_file *file = file_of(bad[i].text, path);
        int result;
        while ((result = question_file_next(file, &place, &question, &err)) == 1)
            json_decref(question);
        assert_int_equal(result, -1);
        snprintf(wanted, sizeof wanted, "%s%s", path, bad[i].line);
        size_t n = strlen(err.text), end = strlen(bad[i].where);
        if (strncmp(err.text, wanted, strlen(wanted)) != 0 || !strstr(err.text, bad[i].words) || n < end ||
            strcmp(err.text + n - end, bad[i].where) != 0)
            fail_msg("%s: %s", bad[i].text, err.text);
        question_file_close(file);
        unlink(path);
    }
    struct question_file *file;
    struct question_place place;
    json_t *question;
    struct error err;
    assert_int_equal(question_file_open(&file, "/tmp", &err), 0);
    assert_int_equal(question_file_next(file, &place, &question, &err), -1);
    assert_non_null(strstr(err.text, "/tmp: cannot be read: is it a file?"));
    question_file_close(file);
    assert_int_equal(question_file_open(&file, "/tmp/none/at/all", &err), -1);
    assert_non_null(strstr(err.text, "/tmp/none/at/all: No such file"));
}

/* A quote that is missing does not pull the rest of a large file into memory. */
static void an_entry_has_an_end(void **state)
{
    (void)state;
    char path[64];
    struct question_place place;
    json_t *question;
    struct error err;
    struct question_file *file = file_of("[" TALK(HUMAN("x")) ",\n{\"conversations\": \"", path);
    FILE *f = fopen(path, "a");
    char *block = malloc(1 << 20);
    memset(block, 'a', 1 << 20);
    for (int i = 0; i < 65; i++)
        assert_int_equal(fwrite(block, 1 << 20, 1, f), 1);
    fclose(f);
    free(block);
    assert_int_equal(question_file_next(file, &place, &question, &err), 1);
    json_decref(question);
    assert_int_equal(question_file_next(file, &place, &question, &err), -1);
    assert_non_null(strstr(err.text, ": line 2: larger than 64 MiB, which no entry may be (column 67108865, entry 2)"));
    question_file_close(file);
    unlink(path);
}

static void a_file_that_changed_is_told(void **state)
{
    (void)state;
    static const char *const after[] = {"", "[" TALK(HUMAN("x")) "]", "[" TALK("") ",{}]",
                                        "[x                                      "};
    for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
        char path[64], wanted[96];
        struct question_place place;
        json_t *question;
        struct error err;
        struct question_file *file = file_of("[" TALK(HUMAN("x") "," GPT("y") "," HUMAN("z")) "]", path);
        for (int turn = 0; turn < 2; turn++) {
            assert_int_equal(question_file_next(file, &place, &question, &err), 1);
            json_decref(question);
        }
        FILE *f = fopen(path, "w");
        fputs(after[i], f);
        fclose(f);
        snprintf(wanted, sizeof wanted, "%s: line 1", path);
        assert_int_equal(question_file_read(file, &place, &question, &err), -1);
        if (strncmp(err.text, wanted, strlen(wanted)) != 0)
            fail_msg("%s", err.text);
        question_file_close(file);
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_question),
        cmocka_unit_test(a_human_turn_is_a_question),
        cmocka_unit_test(an_entry_that_cannot_be_used_says_why),
        cmocka_unit_test(a_broken_file_says_where),
        cmocka_unit_test(an_entry_has_an_end),
        cmocka_unit_test(a_file_that_changed_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
