/* test_watchdog.c - a call that takes too long ends the process with one line; one in time does not */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check.h"

#include "base/clock.h"
#include "cluster/watchdog.h"

/* Runs `body` in a child; its stderr goes into text, its wait status is returned. */
static int run_child(void (*body)(struct watchdog *), const struct watchdog_options *options, char *text, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct watchdog *watchdog;
        signal(SIGABRT, SIG_DFL); /* cmocka and sanitizers may catch it */
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (watchdog_open(&watchdog, options, NULL))
            _exit(9);
        body(watchdog);
        watchdog_close(watchdog);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used + 1 < size && (n = read(ends[0], text + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void hang(struct watchdog *watchdog)
{
    watchdog_enter(watchdog, "all_reduce_sum");
    clock_sleep(60);
    watchdog_leave(watchdog);
}

static void call_that_hangs_ends_the_process_loudly(void **state)
{
    (void)state;
    char text[4000], host[64] = "";
    gethostname(host, sizeof host - 1);
    double start = clock_seconds();
    int status = run_child(hang, &(struct watchdog_options){.timeout = 0.2, .rank = 3}, text, sizeof text);
    assert_true(clock_seconds() - start < 30);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, host));
    assert_non_null(strstr(text, "rank 3: all_reduce_sum took more than 0.2 seconds"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
}

/* Each call is far below the limit, all together far above; then a pause outside of any call. */
static void work(struct watchdog *watchdog)
{
    for (int i = 0; i < 40; i++) {
        watchdog_enter(watchdog, "short");
        clock_sleep(0.03);
        watchdog_leave(watchdog);
    }
    clock_sleep(1.2);
}

static void calls_in_time_and_pauses_are_left_alone(void **state)
{
    (void)state;
    char text[4000];
    int status = run_child(work, &(struct watchdog_options){.timeout = 1}, text, sizeof text);
    assert_string_equal(text, "");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The child starts a rank of its own and dies; the rank, which is in no call, must say so and end. */
static void lose_parent(struct watchdog *watchdog)
{
    (void)watchdog;
    if (fork() == 0) {
        struct watchdog *rank;
        if (watchdog_open(&rank, &(struct watchdog_options){.timeout = 1, .rank = 1, .needs_parent = true}, NULL))
            _exit(9);
        kill(getppid(), SIGKILL);
        clock_sleep(60);
        _exit(0);
    }
    clock_sleep(60);
}

static void rank_whose_parent_died_ends(void **state)
{
    (void)state;
    char text[4000];
    double start = clock_seconds();
    run_child(lose_parent, &(struct watchdog_options){.timeout = 60}, text,
              sizeof text); /* returns when the rank has closed stderr */
    assert_true(clock_seconds() - start < 30);
    assert_non_null(strstr(text, "rank 1: the process that started this rank"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_that_hangs_ends_the_process_loudly),
        cmocka_unit_test(calls_in_time_and_pauses_are_left_alone),
        cmocka_unit_test(rank_whose_parent_died_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
