/* test_pump.c - of all that a dying child wrote, the line that tells why is found */
#include "tests/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/pump.h"

/* What is kept of text that a child wrote before it ended. */
static void last_words(const char *text, char *line, size_t size)
{
    struct pump *pump = NULL;
    struct error err;
    assert_int_equal(pump_open(&pump, &err), 0);
    int fd = pump_input(pump, 3, &err);
    assert_true(fd >= 0);
    for (size_t done = 0, n = strlen(text); done < n;) {
        ssize_t wrote = write(fd, text + done, n - done);
        assert_true(wrote > 0);
        done += (size_t)wrote;
    }
    close(fd);
    pump_last_words(pump, 3, line, size);
    pump_close(pump);
}

static void test_own_line(void **state)
{
    (void)state;
    char line[200];
    last_words("loading\nmassv-worker: the disk is full\n------\nmpirun noticed that process rank 1 exited\n------\n", line,
               sizeof line);
    assert_string_equal(line, "massv-worker: the disk is full");
}

static void test_log_line(void **state)
{
    (void)state;
    char line[200];
    last_words("2026-11-22T10:00:00.123Z worker rank 0 error 3 ranks do not divide 4\nmpirun noticed\n", line, sizeof line);
    assert_string_equal(line, "3 ranks do not divide 4");
}

static void test_mpirun_line(void **state)
{
    (void)state;
    char line[200];
    last_words("loading\n--------\nmpirun noticed that process rank 1 exited on signal 9\nbye\n\n", line, sizeof line);
    assert_string_equal(line, "mpirun noticed that process rank 1 exited on signal 9");
}

#define RULE "--------------------------------------------------------------------------\n"

static void test_unreachable_host(void **state)
{
    (void)state;
    char line[200];
    last_words("ssh: connect to host h2 port 22: Connection refused\n" RULE
               "ORTE was unable to reliably start one or more daemons.\nThis usually is caused by:\n\n"
               "*  an inability to create a connection back to mpirun due to a\n  lack of common network interfaces\n" RULE,
               line, sizeof line);
    assert_string_equal(line, "ssh: connect to host h2 port 22: Connection refused");
}

static void test_advice(void **state)
{
    (void)state;
    char line[200];
    last_words("2026-11-22T10:00:00.123Z worker rank 0 info attached\n" RULE
               "ORTE has lost communication with a remote daemon.\n\n  HNP daemon   : [[1,0],0] on node h1\n\n"
               "This is usually due to\n" RULE,
               line, sizeof line);
    assert_string_equal(line, "ORTE has lost communication with a remote daemon.");
}

static void test_silence(void **state)
{
    (void)state;
    char line[200];
    last_words("", line, sizeof line);
    assert_string_equal(line, "it said nothing");
}

static void test_only_the_end_is_kept(void **state)
{
    (void)state;
    char line[200];
    static char text[300001];
    for (int i = 0; i < 20000; i++)
        snprintf(text + 15 * i, 16, "massv li %05d\n", i);
    last_words(text, line, sizeof line);
    assert_string_equal(line, "massv li 19999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a line of ours comes before those of mpirun that follow it", test_own_line, 0, 0, 0},
        {"an error that was logged is told without its time and speaker", test_log_line, 0, 0, 0},
        {"mpirun's own words are taken where nobody else said why", test_mpirun_line, 0, 0, 0},
        {"a host that ssh cannot reach is named", test_unreachable_host, 0, 0, 0},
        {"of a page of advice its first line is taken", test_advice, 0, 0, 0},
        {"silence is said to be silence", test_silence, 0, 0, 0},
        {"more text than is kept ends in its last line", test_only_the_end_is_kept, 0, 0, 0},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
