/* test_questions.c - lines of JSON to questions: what is taken, and which line is at fault */
#include "tests/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/questions.h"

static const char picture[] = "\x89PNG";

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

struct folder {
    char dir[64], data[96], image[96];
};

static struct folder folder_make(const char *text)
{
    struct folder f = {.dir = "/tmp/massv-questions-XXXXXX"};
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.data, sizeof f.data, "%s/data.jsonl", f.dir);
    snprintf(f.image, sizeof f.image, "%s/a.png", f.dir);
    file_write(f.data, text);
    file_write(f.image, picture);
    return f;
}

static void folder_remove(const struct folder *f)
{
    unlink(f->data);
    unlink(f->image);
    rmdir(f->dir);
}

static void lines_become_questions(void **state)
{
    (void)state;
    struct folder f =
        folder_make("{\"image\": \"a.png\", \"prompt\": \"one\", \"reference\": \"r\", \"task\": \"count\", \"more\": 1}\n"
                    "\n  \n"
                    "{\"image\": null, \"prompt\": \"two\"}\n"
                    "{\"prompt\": \"three\"}");
    struct questions q;
    struct error err;
    assert_int_equal(questions_read(&q, f.data, 0, &err), 0);
    assert_int_equal(q.n, 3);
    assert_int_equal(q.list[0].line, 1);
    assert_string_equal(q.list[0].image, "a.png");
    assert_string_equal(q.list[0].path, f.image);
    assert_string_equal(q.list[0].task, "count");
    assert_string_equal(q.list[0].reference, "r");
    assert_int_equal(q.list[1].line, 4);
    assert_null(q.list[1].path);
    assert_null(q.list[1].task);
    assert_string_equal(q.list[2].prompt, "three");
    questions_free(&q);
    assert_int_equal(questions_read(&q, f.data, 2, &err), 0);
    assert_int_equal(q.n, 2);
    questions_free(&q);
    folder_remove(&f);
}

static void a_question_is_packed_with_its_picture_before_its_text(void **state)
{
    (void)state;
    struct folder f = folder_make("{\"image\": \"a.png\", \"prompt\": \"one\"}");
    const struct generate_request like = {.draft_tokens = 3, .max_tokens = 7, .given = GIVEN_TEMPERATURE};
    struct generate_request request;
    struct questions q;
    struct rpc_bytes bytes;
    struct error err;
    assert_int_equal(questions_read(&q, f.data, 0, &err), 0);
    assert_int_equal(question_pack(&q.list[0], &like, &bytes, &err), 0);
    assert_int_equal(generate_request_unpack(&request, bytes.data, bytes.size, &err), 0);
    assert_int_equal(request.draft_tokens, 3);
    assert_int_equal(request.max_tokens, 7);
    assert_int_equal(request.n_pictures, 1);
    assert_memory_equal(request.pictures[0].bytes, picture, 4);
    assert_null(request.turns[0].parts[0].text);
    assert_string_equal(request.turns[0].parts[1].text, "one");
    assert_int_equal(request.pictures[0].size, 4);
    generate_request_free(&request);
    free(bytes.data);
    assert_int_equal(question_pack_fresh(&q.list[0], &like, 0x0102030405060708, &bytes, &err), 0);
    assert_int_equal(generate_request_unpack(&request, bytes.data, bytes.size, &err), 0);
    assert_int_equal(request.pictures[0].size, 12);
    assert_memory_equal(request.pictures[0].bytes, "\x89PNG\x08\x07\x06\x05\x04\x03\x02\x01", 12);
    generate_request_free(&request);
    free(bytes.data);
    unlink(f.image); /* between the look and the use */
    assert_int_equal(question_pack(&q.list[0], &like, &bytes, &err), -1);
    assert_non_null(strstr(err.text, f.image));
    questions_free(&q);
    folder_remove(&f);
}

/* A conversation of an array, and the line that says the same, make the same request. */
static void turns_before_are_asked_with_the_picture_before_all(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"image\": \"a.png\", \"earlier\": [\"one\", \"1\"], \"prompt\": \"two\"}",
        "[{\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"one\\n<image>\"}, {\"from\": \"gpt\", "
        "\"value\": \"1\"}, {\"from\": \"human\", \"value\": \"two\"}]}]"};
    for (int i = 0; i < 2; i++) {
        struct folder f = folder_make(texts[i]);
        const struct generate_request like = {.draft_tokens = 3};
        struct generate_request request;
        struct questions q;
        struct rpc_bytes bytes;
        struct error err;
        assert_int_equal(questions_read(&q, f.data, 0, &err), 0);
        assert_int_equal(q.n, 1 + i);
        assert_int_equal(question_pack(&q.list[i], &like, &bytes, &err), 0);
        assert_int_equal(generate_request_unpack(&request, bytes.data, bytes.size, &err), 0);
        assert_true(request.n_turns == 3 && request.n_pictures == 1 && request.turns[0].n_parts == 2);
        assert_null(request.turns[0].parts[0].text);
        static const char *const roles[] = {"user", "assistant", "user"}, *const said[] = {"one", "1", "two"};
        for (int t = 0; t < 3; t++) {
            assert_string_equal(request.turns[t].role, roles[t]);
            assert_string_equal(request.turns[t].parts[t == 0].text, said[t]);
        }
        generate_request_free(&request);
        free(bytes.data);
        questions_free(&q);
        folder_remove(&f);
    }
}

static void a_bad_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"{\"prompt\": \"x\"}\n{\"prompt\": ", "line 2: not JSON"},
        {"\n5", "line 2: a JSON object is wanted"},
        {"{\"prompt\": \"x\"} {\"prompt\": \"y\"}", "line 1: not JSON: more stands behind the object"},
        {"{\"prompt\": \"x\", \"earlier\": [\"one\"]}", "line 1: earlier: an even number"},
        {"[{\"conversations\": []}]", "entry 1 (line 1): conversations: 0 turns"},
        {"{\"image\": null}", "line 1: prompt: a string is wanted"},
        {"{\"prompt\": 5}", "line 1: prompt: a string is wanted"},
        {"{\"prompt\": \"x\", \"image\": 3}", "line 1: image: a string is wanted"},
        {"{\"prompt\": \"x\", \"task\": []}", "line 1: task: a string is wanted"},
        {"{\"prompt\": \"x\", \"reference\": {}}", "line 1: reference: a string is wanted"},
        {"{\"prompt\": \"x\"}\n{\"prompt\": \"x\", \"image\": \"none.png\"}", "line 2: image: "},
        {"{\"prompt\": \"x\xff\"}", "line 1: not JSON"},
        {"", "has no question"},
        {"\n \n", "has no question"},
        {"[]", "has no question"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct folder f = folder_make(bad[i].text);
        struct questions q;
        struct error err = {{0}};
        assert_int_equal(questions_read(&q, f.data, 0, &err), -1);
        if (!strstr(err.text, bad[i].words) || strncmp(err.text, f.data, strlen(f.data)) != 0)
            fail_msg("%s: %s", bad[i].text, err.text);
        assert_int_equal(questions_read(&q, f.dir, 0, &err), -1); /* a folder */
        folder_remove(&f);
        assert_int_equal(questions_read(&q, f.data, 0, &err), -1);
        assert_non_null(strstr(err.text, "No such file"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_questions),
        cmocka_unit_test(a_question_is_packed_with_its_picture_before_its_text),
        cmocka_unit_test(turns_before_are_asked_with_the_picture_before_all),
        cmocka_unit_test(a_bad_line_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
