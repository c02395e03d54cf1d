/* test_record.c - records of training data: what is written is read again, broken ones are named, a file is read record by record
 */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/record.h"

static const char full[] =
    "{\"image\":\"p/"
    "a.png\",\"earlier\":[\"Hm?\",\"\"],\"prompt\":\"Was?\\n\\u00fc\",\"reference\":\"r\",\"task\":\"t\",\"answer\":\"Grün\","
    "\"ids\":[5,0,642],"
    "\"finish\":\"stop\",\"line\":3,\"sample\":1,\"temperature\":0.3,\"top_p\":0.95,\"seed\":9223372036854775807,\"max_tokens\":"
    "256,"
    "\"target\":\"m\",\"fingerprint\":\"f0\",\"logprobs\":[[-0.5,[[5,-0.5],[7,-1.25]]],[-1e-7,[[0,-1e-7]]],[-2,[]]]}";

static int record_parse(struct record *r, const char *text, struct error *err)
{
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    int result = record_take(r, object, err);
    json_decref(object);
    return result;
}

static void a_line_comes_back_as_it_was(void **state)
{
    (void)state;
    struct record r, again;
    struct error err;
    if (record_parse(&r, full, &err))
        fail_msg("%s", err.text);
    assert_string_equal(r.question.image, "p/a.png");
    assert_string_equal(r.question.prompt, "Was?\nü");
    assert_int_equal(r.question.n_earlier, 2);
    assert_string_equal(r.question.earlier[0], "Hm?");
    assert_string_equal(r.question.earlier[1], "");
    assert_int_equal(r.n, 3);
    assert_int_equal(r.ids[2], 642);
    assert_true(r.seed == INT64_MAX && r.line == 3 && r.sample == 1 && r.temperature == 0.3 && r.max_tokens == 256);
    assert_true(r.logprobs[0].n_top == 2 && r.logprobs[0].top_ids[1] == 7 && r.logprobs[0].top[1] == -1.25f &&
                r.logprobs[2].n_top == 0);
    char *text = record_text(&r), *second;
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_int_equal(record_parse(&again, text, &err), 0);
    second = record_text(&again);
    assert_string_equal(text, second);
    record_free(&r);
    record_free(&again);
    assert_int_equal(record_parse(&r, "{\"prompt\": \"x\", \"image\": null, \"more\": {}}", &err), 0);
    assert_true(!r.question.image && !r.question.reference && !r.answer && !r.ids);
    record_free(&r);
    free(text);
    free(second);
}

static void what_is_wrong_with_a_line_is_named(void **state)
{
    (void)state;
    const struct {
        const char *text, *words;
    } cases[] = {
        {"{\"prompt\": \"x\", \"earlier\": [\"one\"]}", "earlier: an even number"},
        {"{\"prompt\": \"x\", \"earlier\": [\"one\", 2]}", "earlier[1]: a string"},
        {"{}", "prompt: a string"},
        {"{\"prompt\": 1}", "prompt: a string"},
        {"{\"prompt\": \"x\", \"image\": 1}", "image: a string"},
        {"{\"prompt\": \"x\", \"reference\": []}", "reference: a string"},
        {"{\"prompt\": \"x\", \"answer\": \"y\"}", "seed: a whole number"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1}", "ids: an array"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": []}", "ids: an array"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1, -1]}", "ids[1]: a token id"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"logprobs\": []}", "logprobs: an array of 1"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"logprobs\": [[1, [[1]]]]}", "logprobs[0]"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"logprobs\": [[-1e99, []]]}", "logprobs[0]"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"line\": 0}", "line: a whole number from 1"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"line\": 1, \"sample\": 0, \"max_tokens\": 1, "
         "\"temperature\": \"hot\"}",
         "temperature: a number"},
        {"{\"prompt\": \"x\", \"answer\": \"y\", \"seed\": 1, \"ids\": [1], \"line\": 1, \"sample\": 0, \"max_tokens\": 1, "
         "\"temperature\": 0, \"top_p\": 1}",
         "finish: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct record r;
        struct error err = {""};
        assert_int_equal(record_parse(&r, cases[i].text, &err), -1);
        if (!strstr(err.text, cases[i].words))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, err.text, cases[i].words);
        assert_null(r.question.prompt);
    }
}

static void a_path_is_seen_from_another_file(void **state)
{
    (void)state;
    char root[] = "/tmp/massv-record-XXXXXX", name[128];
    assert_non_null(mkdtemp(root));
    const char *folders[] = {"a", "a/b", "ab"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s/%s", root, folders[i]);
        assert_int_equal(mkdir(name, 0700), 0);
    }
    const struct {
        const char *to, *from, *path, *seen;
    } cases[] = {
        {"a/out", "a/data", "p.png", "p.png"},
        {"out", "a/data", "p/p.png", "a/p/p.png"},
        {"a/b/out", "ab/data", "p.png", "../../ab/p.png"},
        {"ab/out", "a/data", "../p.png", "../a/../p.png"},
        {"a/b/out", "data", "p.png", "../../p.png"},
        {"a/out", "ab/data", "/p.png", "/p.png"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char to[128], from[128];
        snprintf(to, sizeof to, "%s/%s", root, cases[i].to);
        snprintf(from, sizeof from, "%s/%s", root, cases[i].from);
        char *seen = record_path_from(to, from, cases[i].path, NULL);
        assert_string_equal(seen, cases[i].seen);
        free(seen);
    }
    struct error err;
    snprintf(name, sizeof name, "%s/none/out", root);
    assert_null(record_path_from(name, root, "p", &err));
    assert_non_null(strstr(err.text, "/none: No such file"));
    for (int i = 3; i-- > 0;) {
        static const int order[] = {0, 2, 1};
        snprintf(name, sizeof name, "%s/%s", root, folders[order[i]]);
        rmdir(name);
    }
    assert_int_equal(rmdir(root), 0);
}

static void a_file_is_read_record_by_record(void **state)
{
    (void)state;
    char path[] = "/tmp/massv-records-XXXXXX";
    struct records *rs;
    struct record r;
    struct error err;
    int fd = mkstemp(path);
    dprintf(fd, "{\"prompt\": \"one\"}\n\n  \n%s\n{\"prompt\": 3}\n%20000s{\"prompt\": \"four\"}", full,
            ""); /* the last one is not in a buffer with the others */
    assert_int_equal(records_open(&rs, path, "else/where", &err), 0);
    assert_int_equal(records_count(rs), 4);
    const int order[] = {3, 0, 1, 1, 3}, lines[] = {1, 4, 5, 6};
    const char *prompts[] = {"one", "Was?\nü", NULL, "four"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(records_read(rs, order[i], &r, &err), 0);
        assert_string_equal(r.question.prompt, prompts[order[i]]);
        assert_int_equal(r.question.line, lines[order[i]]);
        assert_int_equal(records_number(rs, order[i]), lines[order[i]]);
        if (order[i] == 1)
            assert_string_equal(r.question.path, "else/where/p/a.png");
        else
            assert_null(r.question.path);
        record_free(&r);
    }
    assert_int_equal(records_read(rs, 2, &r, &err), 1);
    records_blame(rs, 2, &err);
    assert_non_null(strstr(err.text, ": line 5: prompt: a string"));
    assert_int_equal(ftruncate(fd, 10), 0);
    assert_int_equal(records_read(rs, 3, &r, &err), -1);
    assert_non_null(strstr(err.text, "line 6 cannot be read again: the file became shorter"));
    records_close(rs);
    assert_int_equal(records_open(&rs, path, NULL, &err), -1);
    assert_non_null(strstr(err.text, "line 1: not JSON"));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(records_open(&rs, path, NULL, &err), -1);
    assert_non_null(strstr(err.text, "has no question"));
    close(fd);
    unlink(path);
    assert_int_equal(records_open(&rs, path, NULL, &err), -1);
}

static void an_array_of_conversations_is_records(void **state)
{
    (void)state;
    char path[] = "/tmp/massv-records-XXXXXX";
    struct records *rs;
    struct record r;
    struct error err;
    int fd = mkstemp(path);
    dprintf(fd,
            "[{\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nOne?\"}, "
            "{\"from\": \"gpt\", \"value\": \"1\"}, {\"from\": \"human\", \"value\": \"Two?\"}]},\n {\"conversations\": []}]\n");
    assert_int_equal(records_open(&rs, path, NULL, &err), 0);
    assert_int_equal(records_count(rs), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(records_number(rs, i), i + 1);
    assert_int_equal(records_read(rs, 2, &r, &err), 1);
    records_blame(rs, 2, &err);
    assert_non_null(strstr(err.text, ": entry 2 (line 2): conversations: 0 turns"));
    assert_int_equal(records_read(rs, 1, &r, &err), 0);
    assert_string_equal(r.question.path, "/tmp/a.png");
    assert_int_equal(r.question.n_earlier, 2);
    assert_string_equal(r.question.earlier[0], "One?");
    assert_string_equal(r.question.prompt, "Two?");
    assert_null(r.question.reference);
    records_blame(rs, 1, &err);
    assert_non_null(strstr(err.text, ": entry 1 (line 1), question 2: "));
    record_free(&r);
    records_close(rs);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_comes_back_as_it_was),          cmocka_unit_test(what_is_wrong_with_a_line_is_named),
        cmocka_unit_test(a_path_is_seen_from_another_file),     cmocka_unit_test(a_file_is_read_record_by_record),
        cmocka_unit_test(an_array_of_conversations_is_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
