/* test_log.c - both forms of a log line, byte by byte, and a stderr that takes nothing */
#include "tests/check.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log_entry.h"

static const char *print(enum log_format format, const struct log_entry *entry)
{
    static char line[LOG_LINE_MAX + 1];
    size_t n = log_entry_print(line, format, entry);
    assert_true(n <= LOG_LINE_MAX && line[n - 1] == '\n' && !memchr(line, '\n', n - 1));
    line[n] = 0;
    return line;
}

static struct log_entry entry_of(const char *message, const struct log_field *fields, int n)
{
    return (struct log_entry){.time = {1795687200, 7008999},
                              .level = LOG_WARNING,
                              .program = "worker",
                              .host = "h1",
                              .rank = 3,
                              .message = message,
                              .fields = fields,
                              .n = n};
}

static void text_has_time_speaker_level_message_and_fields(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        {"request_id", "a-1", 0}, {"reason", "say \"no\" = 1", 0}, {"empty", "", 0}, {"ms", NULL, 1.5}};
    struct log_entry entry = entry_of("two\nlines\x1b[1m", fields, 4);
    assert_string_equal(print(LOG_TEXT, &entry), "2026-11-26T10:00:00.007Z worker rank 3 warning two lines [1m request_id=a-1 "
                                                 "reason=\"say \\\"no\\\" = 1\" empty=\"\" ms=1.5\n");
    entry.rank = -1;
    entry.n = 0;
    assert_string_equal(print(LOG_TEXT, &entry), "2026-11-26T10:00:00.007Z worker warning two lines [1m\n");
}

static void json_has_the_same_as_members(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        {"request_id", "q\"\\\n\x01\xff\xed\xa0\x80\xc3\xa9", 0}, {"ms", NULL, 0.125}, {"n", NULL, 7}, {"bad", NULL, 1e308 * 10}};
    struct log_entry entry = entry_of("it is \"so\"", fields, 4);
    assert_string_equal(
        print(LOG_JSON, &entry),
        "{\"time\":\"2026-11-26T10:00:00.007008Z\",\"level\":\"warning\",\"program\":\"worker\",\"host\":\"h1\","
        "\"rank\":3,\"message\":\"it is \\\"so\\\"\",\"request_id\":\"q\\\"\\\\\\n\\u0001\\ufffd\\ufffd\\ufffd\\ufffd"
        "\xc3\xa9\",\"ms\":0.125,\"n\":7,\"bad\":null}\n");
}

/* Whatever the bytes and however many: one line, and JSON that parses. */
static void any_bytes_and_lengths_make_one_line(void **state)
{
    (void)state;
    static char text[9000];
    struct log_field fields[30];
    for (unsigned seed = 0; seed < 3000; seed++) {
        size_t n = seed % 3 ? seed % 700 : 3000 + seed;
        for (size_t i = 0; i < n; i++)
            text[i] = seed % 5 ? (char)(1 + (i * 37 + seed * 101 + i * i) % 255) : "\x01\xf0\"\\"[seed / 5 % 4];
        text[n] = 0;
        for (int i = 0; i < 30; i++)
            fields[i] = (struct log_field){"key", i % 3 ? text : NULL, seed};
        struct log_entry entry = entry_of(text, fields, (int)(seed % 31));
        print(LOG_TEXT, &entry);
        json_error_t error;
        json_t *object = json_loads(print(LOG_JSON, &entry), 0, &error);
        if (!object)
            fail_msg("seed %u: %s", seed, error.text);
        json_decref(object);
    }
}

/* Runs with stderr as fd; gives it back. */
static void log_to(int fd, int lines)
{
    int own = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    for (int i = 0; i < lines; i++)
        log_line(LOG_INFO, "line %d", i);
    dup2(own, STDERR_FILENO);
    close(own);
}

static void a_pipe_that_nobody_reads_drops_lines_and_says_how_many(void **state)
{
    (void)state;
    int ends[2];
    static char bytes[1 << 17];
    assert_int_equal(pipe(ends), 0);
    log_to(ends[1], 20000); /* would hang, were it to wait */
    size_t n = (size_t)read(ends[0], bytes, sizeof bytes - 1);
    int passed = 0;
    for (size_t i = 0; i < n; i++)
        passed += bytes[i] == '\n';
    assert_true(passed > 100 && passed < 20000);
    log_to(ends[1], 1);
    n = (size_t)read(ends[0], bytes, sizeof bytes - 1);
    bytes[n] = 0;
    char lost[64];
    snprintf(lost, sizeof lost, "warning %d lines of log were lost", 20000 - passed);
    assert_non_null(strstr(bytes, lost));
    assert_non_null(strstr(bytes, "info line 0\n"));
    close(ends[0]);
    close(ends[1]);
}

static void a_full_disk_and_a_closed_stderr_are_survived(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    log_to(full, 100);
    close(full);
    int readable = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_to(readable, 100);
    close(readable);
}

/* A limit on the size of a file cuts a write short, as a disk does that fills up. */
static void a_line_that_is_cut_is_not_glued_to_the_next(void **state)
{
    (void)state;
    for (int room = 5; room <= 200; room++) { /* in the first line, at its end, in those after it */
        char bytes[2048];
        FILE *file = tmpfile();
        struct rlimit own, limit;
        getrlimit(RLIMIT_FSIZE, &own);
        limit = (struct rlimit){.rlim_cur = (rlim_t)room, .rlim_max = own.rlim_max};
        log_to(fileno(file), 1); /* says what earlier tests have lost */
        assert_int_equal(ftruncate(fileno(file), 0), 0);
        lseek(fileno(file), 0, SEEK_SET);
        setrlimit(RLIMIT_FSIZE, &limit);
        log_to(fileno(file), 6);
        setrlimit(RLIMIT_FSIZE, &own);
        log_to(fileno(file), 2);
        ssize_t n = pread(fileno(file), bytes, sizeof bytes - 1, 0);
        bytes[n] = 0;
        int lines = 0;
        for (char *line = bytes, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
            *end = 0;
            const char *speaker = strstr(line, "Z massv ");
            if (line == end || (speaker && strstr(speaker + 1, "Z massv ")))
                fail_msg("room %d: an empty line or two in one: \"%s\"", room, line);
        }
        assert_true(lines >= 3 && n > room);
        fclose(file);
    }
}

static void other_processes_lines_pass_as_they_are_or_as_objects(void **state)
{
    (void)state;
    int ends[2];
    char bytes[4096];
    assert_int_equal(pipe(ends), 0);
    int own = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    log_relay("plain words", 11);
    log_shape(LOG_JSON);
    log_relay("{\"a\":1}", 7);
    log_relay("plain words", 11);
    log_shape(LOG_TEXT);
    dup2(own, STDERR_FILENO);
    close(own);
    size_t n = (size_t)read(ends[0], bytes, sizeof bytes - 1);
    bytes[n] = 0;
    const char *at = strstr(bytes, "plain words\n{\"a\":1}\n{\"time\":\"");
    assert_non_null(at);
    assert_non_null(strstr(at + 20, "\"message\":\"plain words\"}\n"));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_time_speaker_level_message_and_fields),
        cmocka_unit_test(json_has_the_same_as_members),
        cmocka_unit_test(any_bytes_and_lengths_make_one_line),
        cmocka_unit_test(a_pipe_that_nobody_reads_drops_lines_and_says_how_many),
        cmocka_unit_test(a_full_disk_and_a_closed_stderr_are_survived),
        cmocka_unit_test(a_line_that_is_cut_is_not_glued_to_the_next),
        cmocka_unit_test(other_processes_lines_pass_as_they_are_or_as_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
