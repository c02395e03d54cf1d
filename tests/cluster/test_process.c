/* test_process.c - children that end, fail, hang, ignore SIGTERM or lose their parent */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

#include "base/clock.h"
#include "cluster/process.h"

static struct process *spawn_shell(const char *script, int output)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    struct process *process = NULL;
    struct error err;
    assert_int_equal(process_spawn(&process, &(struct process_options){.argv = argv, .output = output}, &err), 0);
    return process;
}

/* Reads until the writers are gone or the text is full. */
static void read_text(int from, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n;
    while (used + 1 < size && (n = read(from, text + used, size - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = 0;
}

static bool is_gone_within(pid_t pid, double seconds)
{
    for (double until = clock_seconds() + seconds; clock_seconds() < until; clock_sleep(0.01))
        if (kill(pid, 0) && errno == ESRCH)
            return true;
    return false;
}

static void exit_status_is_returned(void **state)
{
    (void)state;
    int status = -1;
    struct process *process = spawn_shell("exit 7", 0);
    assert_true(process_wait(process, 10, &status));
    assert_int_equal(status, 7);
    assert_true(process_wait(process, 0, &status)); /* can be asked again */
    assert_int_equal(status, 7);
    assert_int_equal(process_stop(process, 1), 7);
    process_close(process);
    process_close(NULL);
}

static void death_by_signal_is_128_and_its_number(void **state)
{
    (void)state;
    int status = -1;
    struct process *process = spawn_shell("kill -KILL $$", 0);
    assert_true(process_wait(process, 10, &status));
    assert_int_equal(status, 128 + SIGKILL);
    process_close(process);
}

static void wait_is_bounded(void **state)
{
    (void)state;
    struct process *process = spawn_shell("sleep 60", 0);
    double start = clock_seconds();
    assert_false(process_wait(process, 0, NULL));
    assert_false(process_wait(process, 0.1, NULL));
    assert_true(clock_seconds() - start < 10);
    assert_int_equal(process_stop(process, 10), 128 + SIGTERM);
    process_close(process);
}

static void missing_program_is_an_error_that_names_it(void **state)
{
    (void)state;
    char *argv[] = {"/nowhere/massv-worker", NULL};
    struct process *process = NULL;
    struct error err;
    assert_int_equal(process_spawn(&process, &(struct process_options){.argv = argv}, &err), -1);
    assert_null(process);
    assert_non_null(strstr(err.text, "/nowhere/massv-worker"));
    assert_non_null(strstr(err.text, "No such file"));
}

static void child_that_ignores_sigterm_is_killed_with_its_group(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct process *process = spawn_shell("trap '' TERM; sleep 60 & echo $!; while :; do sleep 1; done", ends[1]);
    close(ends[1]);
    char text[32] = "";
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    pid_t grandchild = (pid_t)strtol(text, NULL, 10);
    assert_true(grandchild > 1);
    double start = clock_seconds();
    assert_int_equal(process_stop(process, 0.2), 128 + SIGKILL);
    assert_true(clock_seconds() - start < 10);
    process_close(process);
    read_text(ends[0], text, sizeof text); /* ends when no process of the group holds the pipe */
    close(ends[0]);
}

static void what_a_child_leaves_in_its_group_is_killed(void **state)
{
    (void)state;
    int ends[2], status = -1;
    char text[32];
    assert_int_equal(pipe(ends), 0);
    struct process *process = spawn_shell("sleep 60 & exit 5", ends[1]);
    close(ends[1]);
    assert_true(process_wait(process, 10, &status));
    assert_int_equal(status, 5);
    double start = clock_seconds();
    read_text(ends[0], text, sizeof text); /* ends when nobody holds the pipe any more */
    assert_true(clock_seconds() - start < 10);
    close(ends[0]);
    process_close(process);
}

static void environment_is_put_over_our_own(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    setenv("MASSV_TEST_KEPT", "kept", 1);
    setenv("MASSV_TEST_OVER", "old", 1);
    char *argv[] = {"sh", "-c", "echo $MASSV_TEST_KEPT $MASSV_TEST_OVER $MASSV_TEST_NEW; cat", NULL};
    char *environment[] = {"MASSV_TEST_OVER=over", "MASSV_TEST_NEW=new", NULL};
    struct process *process;
    const struct process_options options = {.argv = argv, .environment = environment, .output = ends[1]};
    assert_int_equal(process_spawn(&process, &options, NULL), 0);
    close(ends[1]);
    char text[64];
    read_text(ends[0], text, sizeof text); /* `cat` ends at once: standard input is empty */
    close(ends[0]);
    assert_string_equal(text, "kept over new\n");
    process_close(process);
}

/* A parent in between starts a child and dies; the child must follow. */
static void child_ends_when_its_parent_dies(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct process *process = spawn_shell("exec sleep 60", 0);
        pid_t child = process_id(process);
        if (write(ends[1], &child, sizeof child) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    close(ends[1]);
    pid_t child = 0;
    assert_int_equal(read(ends[0], &child, sizeof child), sizeof child);
    close(ends[0]);
    waitpid(parent, NULL, 0);
    assert_true(is_gone_within(child, 10));
}

static void blocked_signals_do_not_reach_the_child(void **state)
{
    (void)state;
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    struct process *process = spawn_shell("exec sleep 60", 0);
    sigprocmask(SIG_UNBLOCK, &term, NULL);
    process_signal(process, SIGTERM);
    int status;
    assert_true(process_wait(process, 10, &status));
    assert_int_equal(status, 128 + SIGTERM);
    process_signal(process, SIGTERM); /* to nobody: it has ended */
    process_close(process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_is_returned),
        cmocka_unit_test(death_by_signal_is_128_and_its_number),
        cmocka_unit_test(wait_is_bounded),
        cmocka_unit_test(missing_program_is_an_error_that_names_it),
        cmocka_unit_test(child_that_ignores_sigterm_is_killed_with_its_group),
        cmocka_unit_test(what_a_child_leaves_in_its_group_is_killed),
        cmocka_unit_test(environment_is_put_over_our_own),
        cmocka_unit_test(child_ends_when_its_parent_dies),
        cmocka_unit_test(blocked_signals_do_not_reach_the_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
