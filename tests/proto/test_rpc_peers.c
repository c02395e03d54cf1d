/* test_rpc_peers.c - peers in processes of their own that are killed, fall silent, or say nothing for long */
#include "tests/proto/service.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* The server of the next test, in a process of its own: prints its port and waits for its end. */
static _Noreturn void serve_until_killed(void)
{
    struct seen seen = {0};
    open_at(&seen, "127.0.0.1:0");
    printf("%s\n", seen.address);
    fflush(stdout);
    for (;;)
        pause();
}

/* The client of another: opens a stream and waits for its end. */
static _Noreturn void hold_until_killed(const char *address)
{
    struct seen seen = {0};
    struct error err;
    if (rpc_channel_open(&seen.channel, address, NULL, &err))
        fail_msg("%s", err.text);
    open_stream(&seen, "/t/Hold", "", 0, 0);
    for (;;)
        pause();
}

/* This program again, with other arguments; its stdout comes through a pipe. */
static pid_t start_self(const char *role, const char *address, int *out)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/proc/self/exe", "test_rpc_peers", role, address, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *out = ends[0];
    return pid;
}

static pid_t start_server(char address[64])
{
    int ends[1];
    pid_t pid = start_self("serve", "", ends);
    FILE *out = fdopen(ends[0], "r");
    assert_non_null(fgets(address, 64, out));
    address[strcspn(address, "\n")] = 0;
    fclose(out);
    return pid;
}

static void reads_end_soon_after_the_server(int signal_number)
{
    struct seen *seen = mem_new(1, sizeof *seen);
    struct rpc_options quick = {.keepalive_ms = 500};
    struct error err;
    pid_t pid = start_server(seen->address);
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &quick, &err), 0);
    expect_unary(seen, "/t/Echo", 10, RPC_OK, NULL);
    struct rpc_stream *hold = open_stream(seen, "/t/Hold", "", 0, 0), *chat = open_stream(seen, "/t/Chat", NULL, 0, 0);
    struct rpc_bytes message;
    assert_int_equal(rpc_stream_write(chat, "x", 1, &err), 0);
    assert_int_equal(rpc_stream_read(chat, 3, &message, NULL, &err), 1);
    free(message.data);
    kill(pid, signal_number);
    double start = clock_seconds();
    expect_end(hold, RPC_UNAVAILABLE, seen->address);
    expect_end(chat, RPC_UNAVAILABLE, seen->address);
    assert_true(clock_seconds() - start < 4);
    rpc_stream_close(hold);
    rpc_stream_close(chat);
    rpc_channel_close(seen->channel);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    free(seen);
}

static void reads_end_when_the_server_is_killed(void **state)
{
    (void)state;
    reads_end_soon_after_the_server(SIGKILL);
}

static void reads_end_when_the_server_falls_silent(void **state)
{
    (void)state;
    reads_end_soon_after_the_server(SIGSTOP);
}

static void a_call_is_closed_soon_after_its_client(int signal_number)
{
    struct seen *seen = mem_new(1, sizeof *seen);
    struct rpc_options quick = {.keepalive_ms = 500};
    struct error err;
    const char *address = "127.0.0.1:0";
    int out;
    assert_int_equal(rpc_server_open(&seen->server, &address, 1, services_of(seen), &quick, &err), 0);
    snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d", rpc_server_port(seen->server, 0));
    pid_t pid = start_self("hold", seen->address, &out);
    assert_true(wait_for(&seen->started, 1, 10));
    kill(pid, signal_number);
    assert_true(wait_for(&seen->cancelled, 1, 4));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(out);
    close_both(seen);
}

static void a_call_is_closed_when_its_client_is_killed(void **state)
{
    (void)state;
    a_call_is_closed_soon_after_its_client(SIGKILL);
}

static void a_call_is_closed_when_its_client_falls_silent(void **state)
{
    (void)state;
    a_call_is_closed_soon_after_its_client(SIGSTOP);
}

static void a_quiet_connection_outlives_many_keepalives(void **state)
{
    (void)state;
    struct seen *seen = mem_new(1, sizeof *seen);
    struct rpc_options quick = {.keepalive_ms = 1000};
    struct error err;
    open_at(seen, "127.0.0.1:0");
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &quick, &err), 0);
    struct rpc_stream *hold = open_stream(seen, "/t/Hold", "", 0, 0);
    struct rpc_bytes message;
    /* Half a dozen pings, for core sends one a second at most; without the server's consent the fourth is "too many". */
    assert_int_equal(rpc_stream_read(hold, 7, &message, NULL, &err), -2);
    rpc_stream_close(hold);
    close_both(seen);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve_until_killed();
    if (argc == 3 && strcmp(argv[1], "hold") == 0)
        hold_until_killed(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_end_when_the_server_is_killed),
        cmocka_unit_test(reads_end_when_the_server_falls_silent),
        cmocka_unit_test(a_call_is_closed_when_its_client_is_killed),
        cmocka_unit_test(a_call_is_closed_when_its_client_falls_silent),
        cmocka_unit_test(a_quiet_connection_outlives_many_keepalives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
