/* test_rpc_server.c - how a server of proto/rpc.h closes, where it listens, and who finds nobody there */
#include "tests/proto/service.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/rpc_address.h"

static void a_server_closes_with_streams_open(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *hold = open_stream(seen, "/t/Hold", "", 0, 0), *chat = open_stream(seen, "/t/Chat", NULL, 0, 0);
    const int much[2] = {200, 100000};
    struct rpc_stream *count = open_stream(seen, "/t/Count", much, sizeof much, 0);
    assert_true(wait_for(&seen->started, 3, 3));
    double start = clock_seconds();
    rpc_server_close(seen->server, 0.3);
    double took = clock_seconds() - start;
    if (took < 0.29 || took > 3)
        fail_msg("closing took %g s", took);
    seen->server = NULL;
    assert_int_equal(seen->closed, 3);
    assert_int_equal(seen->cancelled, 3);
    assert_int_equal(rpc_call_send(seen->held, "x", 1), -1); /* held beyond the server's end */
    rpc_call_finish(seen->held, RPC_OK, NULL);
    rpc_call_abort(seen->held, RPC_INTERNAL, "");
    expect_end(hold, RPC_UNAVAILABLE, seen->address);
    expect_end(chat, RPC_UNAVAILABLE, seen->address);
    rpc_stream_close(hold);
    rpc_stream_close(chat);
    rpc_stream_close(count);
    close_both(seen);
}

/* Peers that connect and then say nothing, or nonsense. */
static void a_server_closes_with_strangers_connected(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    const char *words[] = {"", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    int strangers[3];
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rpc_server_port(seen->server, 0))};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        strangers[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(strangers[i], (struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(send(strangers[i], words[i], strlen(words[i]), MSG_NOSIGNAL), strlen(words[i]));
    }
    expect_unary(seen, "/t/Echo", 10, RPC_OK, NULL);
    double start = clock_seconds();
    rpc_server_close(seen->server, 0.2);
    seen->server = NULL;
    assert_true(clock_seconds() - start < 3);
    for (int i = 0; i < 3; i++)
        close(strangers[i]);
    close_both(seen);
}

static void a_server_may_end_a_chat_while_the_client_writes(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *chat = open_stream(seen, "/t/Attach", NULL, 0, 10);
    struct error err = {""};
    double end = clock_seconds() + 5;
    while (!rpc_stream_write(chat, "x", 1, &err) && clock_seconds() < end)
        clock_sleep(0.001);
    assert_non_null(strstr(err.text, "has ended"));
    expect_end(chat, RPC_FAILED_PRECONDITION, "version 2 is wrong");
    expect_end(chat, RPC_FAILED_PRECONDITION, "version 2 is wrong"); /* and says so again when asked again */
    rpc_stream_close(chat);
    close_both(seen);
}

static void *finish_soon(void *data)
{
    struct seen *seen = data;
    clock_sleep(0.2);
    rpc_call_send(seen->held, "last", 4);
    rpc_call_finish(seen->held, RPC_OK, NULL);
    return NULL;
}

static void a_call_may_finish_within_the_grace(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    pthread_t finisher;
    pthread_create(&finisher, NULL, finish_soon, seen);
    double start = clock_seconds();
    rpc_server_close(seen->server, 20);
    assert_true(clock_seconds() - start < 5);
    seen->server = NULL;
    pthread_join(finisher, NULL);
    struct rpc_bytes message;
    assert_int_equal(rpc_stream_read(stream, 3, &message, NULL, NULL), 1);
    assert_memory_equal(message.data, "last", 4);
    free(message.data);
    expect_end(stream, RPC_OK, NULL);
    assert_int_equal(seen->cancelled, 0);
    rpc_stream_close(stream);
    close_both(seen);
}

static void *send_until_refused(void *data)
{
    struct seen *seen = data;
    char piece[1000] = {0};
    while (!rpc_call_send(seen->held, piece, sizeof piece))
        if (rpc_call_backlog(seen->held) > LIMIT)
            clock_sleep(0.001);
    return NULL;
}

static void a_server_closes_while_another_thread_sends(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    pthread_t sender;
    pthread_create(&sender, NULL, send_until_refused, seen);
    clock_sleep(0.05);
    rpc_server_close(seen->server, 0);
    seen->server = NULL;
    pthread_join(sender, NULL);
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_server_listens_on_several_addresses(void **state)
{
    (void)state;
    struct seen *seen = mem_new(1, sizeof *seen);
    struct error err;
    char path[64];
    snprintf(path, sizeof path, "unix:/tmp/massv-test-rpc-%d", (int)getpid());
    const char *addresses[] = {"127.0.0.1:0", path, "127.0.0.2:0"};
    if (rpc_server_open(&seen->server, addresses, 3, services_of(seen), &options, &err))
        fail_msg("%s", err.text);
    assert_int_equal(rpc_server_port(seen->server, 1), 0);
    char ports[2][64];
    snprintf(ports[0], sizeof ports[0], "127.0.0.1:%d", rpc_server_port(seen->server, 0));
    snprintf(ports[1], sizeof ports[1], "127.0.0.2:%d", rpc_server_port(seen->server, 2));
    const char *targets[] = {ports[0], path, ports[1]};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rpc_channel_open(&seen->channel, targets[i], &options, &err), 0);
        expect_unary(seen, "/t/Echo", 100, RPC_OK, NULL);
        rpc_channel_close(seen->channel);
    }
    struct rpc_server *second;
    assert_int_equal(rpc_server_open(&second, addresses + 1, 1, services_of(seen), &options, &err), -1);
    assert_non_null(strstr(err.text, "Address already in use"));
    seen->channel = NULL;
    close_both(seen);
}

static void a_port_in_use_is_an_error_that_names_it(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_server *second = NULL;
    struct error err = {""};
    const char *address = seen->address;
    assert_int_equal(rpc_server_open(&second, &address, 1, services_of(seen), &options, &err), -1);
    assert_null(second);
    assert_non_null(strstr(err.text, seen->address));
    assert_non_null(strstr(err.text, "Address already in use"));
    close_both(seen);
}

static void a_wrong_address_is_an_error_that_says_what_is_right(void **state)
{
    (void)state;
    const char *wrong[] = {"",          "127.0.0.1",  "127.0.0.1:",   ":80",   "host:port",    "127.0.0.1:65536",
                           "::1:50051", "[::1]50051", "127.0.0.1:-1", "unix:", "127.0.0.1:80x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rpc_server *server;
        struct rpc_channel *channel;
        struct error err = {""};
        assert_int_equal(rpc_server_open(&server, &wrong[i], 1, services_of(NULL), NULL, &err), -1);
        assert_non_null(strstr(err.text, "Unix socket") ? "" : strstr(err.text, "host:port"));
        assert_int_equal(rpc_channel_open(&channel, wrong[i], NULL, &err), -1);
    }
    struct rpc_server *server;
    struct error err = {""};
    const char *elsewhere = "192.0.2.1:0"; /* an address that no machine has (RFC 5737) */
    assert_int_equal(rpc_server_open(&server, &elsewhere, 1, services_of(NULL), NULL, &err), -1);
    assert_non_null(strstr(err.text, "192.0.2.1:0: Cannot assign requested address"));
}

static void only_loopback_addresses_are_local(void **state)
{
    (void)state;
    const char *local[] = {"127.0.0.1:1", "127.255.0.9:0", "[::1]:0", "[0:0:0:0:0:0:0:1]:1", "localhost:0", "unix:/tmp/x"};
    const char *open[] = {"127.example.org:1",
                          "127.0.0.1.example.org:1",
                          "127.1:1",
                          "localhost.example.org:1",
                          "0.0.0.0:0",
                          "128.0.0.1:1",
                          "[::]:0",
                          "[::2]:1",
                          "example.org:127",
                          "[fe80::1]:0"};
    struct error err;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++) {
        assert_int_equal(rpc_address_check(local[i], &err), 0);
        assert_true(rpc_address_is_local(local[i]));
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        assert_int_equal(rpc_address_check(open[i], &err), 0);
        assert_false(rpc_address_is_local(open[i]));
    }
}

static void nobody_there_is_said_quickly(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    rpc_server_close(seen->server, 0);
    seen->server = NULL;
    double start = clock_seconds();
    expect_unary(seen, "/t/Echo", 1, RPC_UNAVAILABLE, "no server answers at 127.0.0.1:");
    assert_true(clock_seconds() - start < 3);
    close_both(seen);
}

static void a_restarted_server_is_reached_again_at_once(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Echo", 1, RPC_OK, NULL);
    rpc_server_close(seen->server, 0);
    clock_sleep(0.3);
    open_at(seen, seen->address);
    double start = clock_seconds();
    struct rpc_bytes reply = {NULL, 0};
    enum rpc_status status;
    while (rpc_unary(seen->channel, "/t/Echo", "x", 1, 2, &reply, &status, NULL) && clock_seconds() - start < 5)
        clock_sleep(0.01);
    assert_int_equal(reply.size, 1);
    assert_true(clock_seconds() - start < 2);
    free(reply.data);
    close_both(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_closes_with_streams_open),
        cmocka_unit_test(a_server_closes_with_strangers_connected),
        cmocka_unit_test(a_server_may_end_a_chat_while_the_client_writes),
        cmocka_unit_test(a_call_may_finish_within_the_grace),
        cmocka_unit_test(a_server_closes_while_another_thread_sends),
        cmocka_unit_test(a_server_listens_on_several_addresses),
        cmocka_unit_test(a_port_in_use_is_an_error_that_names_it),
        cmocka_unit_test(a_wrong_address_is_an_error_that_says_what_is_right),
        cmocka_unit_test(only_loopback_addresses_are_local),
        cmocka_unit_test(nobody_there_is_said_quickly),
        cmocka_unit_test(a_restarted_server_is_reached_again_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
