/* test_rpc.c - servers and clients of proto/rpc.h talking to each other on loopback */
#include "tests/check.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "proto/rpc.h"

enum { LIMIT = 1 << 20 };

/* What the callbacks saw, and the last call that "hold" kept. */
struct seen {
    atomic_int started, closed, cancelled, half_closed, messages;
    _Atomic(struct rpc_call *) held;
    struct rpc_server *server;
    struct rpc_channel *channel;
    char address[64];
};

static void echo_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    struct seen *seen = context;
    atomic_fetch_add(&seen->started, 1);
    rpc_call_set(call, seen);
    rpc_call_send(call, request, size);
    rpc_call_finish(call, RPC_OK, NULL);
}

static void refuse_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    (void)request, (void)size;
    atomic_fetch_add(&((struct seen *)context)->started, 1);
    rpc_call_set(call, context);
    assert_non_null(strstr(rpc_call_peer(call), "127.0.0.1"));
    rpc_call_send(call, "ignored", 7);
    rpc_call_finish(call, RPC_INVALID_ARGUMENT, "sampling.temperature: -1 is below 0");
    rpc_call_finish(call, RPC_INTERNAL, "the second finish does not count");
    assert_int_equal(rpc_call_send(call, "late", 4), -1);
}

/* The request: how many messages, of how many bytes. */
static void count_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    int order[2];
    assert_int_equal(size, sizeof order);
    memcpy(order, request, sizeof order);
    atomic_fetch_add(&((struct seen *)context)->started, 1);
    rpc_call_set(call, context);
    size_t bytes = (size_t)order[1] < sizeof(int) ? sizeof(int) : (size_t)order[1];
    char *message = mem_new(bytes, 1);
    for (int i = 0; i < order[0]; i++) {
        memcpy(message, &i, sizeof i);
        assert_int_equal(rpc_call_send(call, message, bytes), 0);
    }
    free(message);
    rpc_call_finish(call, RPC_OK, NULL);
}

/* Answers nothing: the test does, through `held`. */
static void hold_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    struct seen *seen = context;
    (void)request, (void)size;
    rpc_call_set(call, seen);
    rpc_call_hold(call);
    struct rpc_call *before = atomic_exchange(&seen->held, call);
    rpc_call_drop(before);
    atomic_fetch_add(&seen->started, 1);
}

static void chat_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    assert_null(request);
    assert_int_equal(size, 0);
    atomic_fetch_add(&((struct seen *)context)->started, 1);
    rpc_call_set(call, context);
}

static void chat_message(struct rpc_call *call, const void *data, size_t size)
{
    struct seen *seen = rpc_call_get(call);
    atomic_fetch_add(&seen->messages, 1);
    rpc_call_send(call, data, size);
}

static void chat_half_closed(struct rpc_call *call)
{
    struct seen *seen = rpc_call_get(call);
    atomic_fetch_add(&seen->half_closed, 1);
    rpc_call_finish(call, RPC_OK, NULL);
}

static void refuse_message(struct rpc_call *call, const void *data, size_t size)
{
    (void)data, (void)size;
    rpc_call_finish(call, RPC_FAILED_PRECONDITION, "version 2 is wrong");
}

static void any_closed(struct rpc_call *call, bool cancelled)
{
    struct seen *seen = rpc_call_get(call);
    assert_int_equal(rpc_call_send(call, "late", 4), -1);
    rpc_call_finish(call, RPC_OK, "late");
    if (cancelled)
        atomic_fetch_add(&seen->cancelled, 1);
    atomic_fetch_add(&seen->closed, 1);
}

static const struct rpc_method methods[] = {
    {.path = "/t/Echo", .kind = RPC_UNARY, .start = echo_start, .closed = any_closed},
    {.path = "/t/Refuse", .kind = RPC_UNARY, .start = refuse_start, .closed = any_closed},
    {.path = "/t/Count", .kind = RPC_SERVER_STREAM, .start = count_start, .closed = any_closed},
    {.path = "/t/Hold", .kind = RPC_SERVER_STREAM, .start = hold_start, .closed = any_closed},
    {.path = "/t/Attach", .kind = RPC_BIDIRECTIONAL, .start = chat_start, .message = refuse_message, .closed = any_closed},
    {.path = "/t/Chat",
     .kind = RPC_BIDIRECTIONAL,
     .start = chat_start,
     .message = chat_message,
     .half_closed = chat_half_closed,
     .closed = any_closed},
    {0},
};

static const struct rpc_options options = {.message_limit = LIMIT};

static void open_at(struct seen *seen, const char *address)
{
    struct error err;
    if (rpc_server_open(&seen->server, &address, 1, methods, seen, &options, &err))
        fail_msg("%s", err.text);
    snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d", rpc_server_port(seen->server, 0));
}

static struct seen *open_both(void)
{
    struct seen *seen = mem_new(1, sizeof *seen);
    struct error err;
    open_at(seen, "127.0.0.1:0");
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &options, &err), 0);
    return seen;
}

/* Whatever the test did, every call that started was closed. */
static void close_both(struct seen *seen)
{
    rpc_channel_close(seen->channel);
    rpc_server_close(seen->server, 0);
    assert_int_equal(seen->closed, seen->started);
    rpc_call_drop(seen->held);
    free(seen);
}

static bool wait_for(const atomic_int *value, int target, double seconds)
{
    double end = clock_seconds() + seconds;
    while (atomic_load(value) < target && clock_seconds() < end)
        clock_sleep(0.002);
    return atomic_load(value) >= target;
}

static struct rpc_stream *open_stream(struct seen *seen, const char *path, const void *request, size_t size, double timeout)
{
    struct rpc_stream *stream;
    struct error err;
    if (rpc_stream_open(&stream, seen->channel, path, request, size, timeout, &err))
        fail_msg("%s", err.text);
    return stream;
}

static void expect_end(struct rpc_stream *stream, enum rpc_status expected, const char *words)
{
    struct rpc_bytes message;
    struct error err = {""};
    enum rpc_status status = RPC_OK;
    int result = rpc_stream_read(stream, 8, &message, &status, &err);
    assert_int_equal(result, expected == RPC_OK ? 0 : -1);
    if (status != expected)
        fail_msg("%s, not %s: %s", rpc_status_name(status), rpc_status_name(expected), err.text);
    if (words && !strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void expect_unary(struct seen *seen, const char *path, size_t size, enum rpc_status expected, const char *words)
{
    char *request = mem_new(size + 1, 1);
    memset(request, 'x', size);
    struct rpc_bytes reply;
    enum rpc_status status;
    struct error err = {""};
    int result = rpc_unary(seen->channel, path, request, size, 5, &reply, &status, &err);
    if (status != expected || result != (expected ? -1 : 0))
        fail_msg("%s, not %s: %s", rpc_status_name(status), rpc_status_name(expected), err.text);
    if (!expected) {
        assert_int_equal(reply.size, size);
        assert_memory_equal(reply.data, request, size);
    } else if (!strstr(err.text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    }
    free(reply.data);
    free(request);
}

static void a_unary_call_brings_back_its_bytes(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    const size_t sizes[] = {0, 1, 7, 4096, 70001, LIMIT};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        expect_unary(seen, "/t/Echo", sizes[i], RPC_OK, NULL);
    close_both(seen);
}

static void an_error_keeps_its_status_and_words(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Refuse", 3, RPC_INVALID_ARGUMENT, "sampling.temperature: -1 is below 0");
    close_both(seen);
}

static void an_unknown_method_is_unimplemented(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Nothing", 3, RPC_UNIMPLEMENTED, "unknown method /t/Nothing");
    struct rpc_stream *stream = open_stream(seen, "/u/Chat", NULL, 0, 5);
    expect_end(stream, RPC_UNIMPLEMENTED, "/u/Chat");
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_message_over_the_limit_is_refused_by_either_side(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    expect_unary(seen, "/t/Echo", LIMIT + 1, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576");
    struct error err;
    struct rpc_options generous = {.message_limit = 4 * LIMIT};
    struct rpc_channel *strict = seen->channel;
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &generous, &err), 0);
    expect_unary(seen, "/t/Echo", LIMIT + 1, RPC_RESOURCE_EXHAUSTED, "1048576");
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 5);
    char *big = mem_new(LIMIT + 1, 1);
    assert_int_equal(rpc_stream_write(chat, big, LIMIT + 1, &err), 0);
    free(big);
    expect_end(chat, RPC_RESOURCE_EXHAUSTED, "1048576");
    rpc_stream_close(chat);
    struct rpc_stream *count = open_stream(seen, "/t/Count", (int[2]){0, 0}, sizeof(int[2]), 5);
    expect_end(count, RPC_OK, NULL);
    rpc_stream_close(count);
    expect_unary(seen, "/t/Echo", 5, RPC_OK, NULL); /* and the service goes on */
    rpc_channel_close(strict);
    close_both(seen);
}

static void a_server_that_sends_too_much_ends_the_call(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 5);
    assert_true(wait_for(&seen->started, 1, 3));
    char *big = mem_new(LIMIT + 1, 1);
    assert_int_equal(rpc_call_send(seen->held, big, LIMIT + 1), -1);
    free(big);
    expect_end(stream, RPC_RESOURCE_EXHAUSTED, "over the limit of 1048576");
    rpc_stream_close(stream);
    close_both(seen);
}

static void read_counted(struct rpc_stream *stream, int n, size_t size)
{
    struct rpc_bytes message;
    struct error err = {""};
    for (int i = 0; i < n; i++) {
        int result = rpc_stream_read(stream, 8, &message, NULL, &err), k;
        if (result != 1)
            fail_msg("message %d of %d: %d %s", i, n, result, err.text);
        assert_int_equal(message.size, size);
        memcpy(&k, message.data, sizeof k);
        assert_int_equal(k, i);
        free(message.data);
    }
    expect_end(stream, RPC_OK, NULL);
}

static void a_stream_delivers_all_messages_in_order(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    const int orders[][2] = {{0, 4}, {1, 4}, {1000, 4}, {37, 70001}, {3, LIMIT}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct rpc_stream *stream = open_stream(seen, "/t/Count", orders[i], sizeof orders[i], 10);
        read_counted(stream, orders[i][0], (size_t)orders[i][1]);
        rpc_stream_close(stream);
    }
    close_both(seen);
}

static void sixty_four_streams_run_at_once(void **state)
{
    (void)state;
    enum { STREAMS = 64, MESSAGES = 50 };
    struct seen *seen = open_both();
    struct rpc_stream *streams[STREAMS];
    const int order[2] = {MESSAGES, 300};
    for (int i = 0; i < STREAMS; i++)
        streams[i] = open_stream(seen, "/t/Count", order, sizeof order, 20);
    for (int i = STREAMS - 1; i >= 0; i--)
        read_counted(streams[i], MESSAGES, 300);
    for (int i = 0; i < STREAMS; i++)
        rpc_stream_close(streams[i]);
    close_both(seen);
}

static void *write_many(void *stream)
{
    struct error err;
    for (int i = 0; i < 500; i++)
        if (rpc_stream_write(stream, &i, sizeof i, &err))
            return stream;
    return rpc_stream_half_close(stream, &err) ? stream : NULL;
}

static void a_chat_goes_both_ways_at_once_and_ends_with_the_half_close(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 10);
    pthread_t writer;
    void *failed;
    pthread_create(&writer, NULL, write_many, chat);
    read_counted(chat, 500, sizeof(int));
    pthread_join(writer, &failed);
    assert_null(failed);
    struct error err = {""};
    assert_int_equal(rpc_stream_write(chat, "x", 1, &err), -1);
    assert_non_null(strstr(err.text, "has ended"));
    rpc_stream_close(chat);
    assert_int_equal(seen->half_closed, 1);
    assert_true(wait_for(&seen->closed, 1, 3));
    assert_int_equal(seen->cancelled, 0);
    close_both(seen);
}

static void a_read_that_finds_nothing_ends_in_time(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *chat = open_stream(seen, "/t/Chat", NULL, 0, 0);
    struct rpc_bytes message;
    double start = clock_seconds();
    assert_int_equal(rpc_stream_read(chat, 0.2, &message, NULL, NULL), -2);
    double took = clock_seconds() - start;
    assert_true(took >= 0.19 && took < 2);
    assert_int_equal(rpc_stream_read(chat, 0, &message, NULL, NULL), -2);
    rpc_stream_close(chat);
    close_both(seen);
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0.3);
    assert_true(wait_for(&seen->started, 1, 3));
    double left = rpc_call_time_left(seen->held);
    assert_true(left > -1 && left <= 0.3);
    expect_end(stream, RPC_DEADLINE_EXCEEDED, "within 0.3 s");
    assert_true(wait_for(&seen->cancelled, 1, 2));
    rpc_stream_close(stream);
    rpc_call_drop(atomic_exchange(&seen->held, NULL));
    stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 2, 3));
    assert_true(rpc_call_time_left(seen->held) > 1e6);
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_cancel_by_the_client_is_seen_within_a_second(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    assert_int_equal(rpc_call_send(seen->held, "x", 1), 0);
    rpc_stream_cancel(stream);
    assert_true(wait_for(&seen->cancelled, 1, 1));
    struct rpc_bytes message;
    enum rpc_status status = RPC_OK;
    while (rpc_stream_read(stream, 3, &message, &status, NULL) == 1)
        free(message.data);
    assert_int_equal(status, RPC_CANCELLED);
    rpc_stream_close(stream);
    stream = open_stream(seen, "/t/Chat", NULL, 0, 0);
    assert_true(wait_for(&seen->started, 2, 3));
    rpc_stream_close(stream); /* closing an open stream cancels it */
    assert_true(wait_for(&seen->cancelled, 2, 1));
    assert_int_equal(seen->closed, 2);
    close_both(seen);
}

static void a_slow_reader_shows_as_backlog_and_can_be_dropped(void **state)
{
    (void)state;
    enum { PIECE = 100000, ALLOWED = 40 * PIECE };
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    char *piece = mem_new(PIECE, 1);
    /* What the sockets and windows of the transport hold is not backlog; it is bounded, so the backlog grows in the end. */
    double end = clock_seconds() + 10;
    size_t settled = 0;
    while (settled < ALLOWED && clock_seconds() < end) {
        while (rpc_call_backlog(seen->held) < ALLOWED)
            assert_int_equal(rpc_call_send(seen->held, piece, PIECE), 0);
        clock_sleep(0.1);
        settled = rpc_call_backlog(seen->held);
    }
    free(piece);
    assert_true(settled >= ALLOWED && settled < ALLOWED + PIECE);
    rpc_call_abort(seen->held, RPC_RESOURCE_EXHAUSTED, "the client reads too slowly");
    assert_true(wait_for(&seen->closed, 1, 3));
    assert_int_equal(rpc_call_backlog(seen->held), 0);
    struct rpc_bytes message;
    enum rpc_status status = RPC_OK;
    struct error err = {""};
    while (rpc_stream_read(stream, 3, &message, &status, &err) == 1)
        free(message.data);
    assert_int_equal(status, RPC_RESOURCE_EXHAUSTED);
    assert_string_equal(err.text, "the client reads too slowly");
    rpc_stream_close(stream);
    close_both(seen);
}

static void a_finish_waits_for_what_is_queued(void **state)
{
    (void)state;
    struct seen *seen = open_both();
    struct rpc_stream *stream = open_stream(seen, "/t/Hold", "", 0, 0);
    assert_true(wait_for(&seen->started, 1, 3));
    char *piece = mem_new(LIMIT, 1);
    for (int i = 0; i < 8; i++)
        assert_int_equal(rpc_call_send(seen->held, piece, LIMIT), 0);
    rpc_call_finish(seen->held, RPC_UNAVAILABLE, "after eight");
    free(piece);
    struct rpc_bytes message;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rpc_stream_read(stream, 5, &message, NULL, NULL), 1);
        free(message.data);
    }
    expect_end(stream, RPC_UNAVAILABLE, "after eight");
    rpc_stream_close(stream);
    close_both(seen);
}

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
    if (rpc_server_open(&seen->server, addresses, 3, methods, seen, &options, &err))
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
    assert_int_equal(rpc_server_open(&second, addresses + 1, 1, methods, seen, &options, &err), -1);
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
    assert_int_equal(rpc_server_open(&second, &address, 1, methods, seen, &options, &err), -1);
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
        assert_int_equal(rpc_server_open(&server, &wrong[i], 1, methods, NULL, NULL, &err), -1);
        assert_non_null(strstr(err.text, "Unix socket") ? "" : strstr(err.text, "host:port"));
        assert_int_equal(rpc_channel_open(&channel, wrong[i], NULL, &err), -1);
    }
    struct rpc_server *server;
    struct error err = {""};
    const char *elsewhere = "192.0.2.1:0"; /* an address that no machine has (RFC 5737) */
    assert_int_equal(rpc_server_open(&server, &elsewhere, 1, methods, NULL, NULL, &err), -1);
    assert_non_null(strstr(err.text, "192.0.2.1:0: Cannot assign requested address"));
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
        execl("/proc/self/exe", "test_rpc", role, address, (char *)NULL);
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
    assert_int_equal(rpc_server_open(&seen->server, &address, 1, methods, seen, &quick, &err), 0);
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
    struct rpc_options quick = {.keepalive_ms = 200};
    struct error err;
    open_at(seen, "127.0.0.1:0");
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &quick, &err), 0);
    struct rpc_stream *hold = open_stream(seen, "/t/Hold", "", 0, 0);
    struct rpc_bytes message;
    /* Half a dozen pings, for core sends one a second at most; without the server's consent the fourth is "too many". */
    assert_int_equal(rpc_stream_read(hold, 6, &message, NULL, &err), -2);
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
        cmocka_unit_test(a_unary_call_brings_back_its_bytes),
        cmocka_unit_test(an_error_keeps_its_status_and_words),
        cmocka_unit_test(an_unknown_method_is_unimplemented),
        cmocka_unit_test(a_message_over_the_limit_is_refused_by_either_side),
        cmocka_unit_test(a_server_that_sends_too_much_ends_the_call),
        cmocka_unit_test(a_stream_delivers_all_messages_in_order),
        cmocka_unit_test(sixty_four_streams_run_at_once),
        cmocka_unit_test(a_chat_goes_both_ways_at_once_and_ends_with_the_half_close),
        cmocka_unit_test(a_read_that_finds_nothing_ends_in_time),
        cmocka_unit_test(a_deadline_ends_the_call_on_both_sides),
        cmocka_unit_test(a_cancel_by_the_client_is_seen_within_a_second),
        cmocka_unit_test(a_slow_reader_shows_as_backlog_and_can_be_dropped),
        cmocka_unit_test(a_finish_waits_for_what_is_queued),
        cmocka_unit_test(a_server_closes_with_streams_open),
        cmocka_unit_test(a_server_closes_with_strangers_connected),
        cmocka_unit_test(a_server_may_end_a_chat_while_the_client_writes),
        cmocka_unit_test(a_call_may_finish_within_the_grace),
        cmocka_unit_test(a_server_closes_while_another_thread_sends),
        cmocka_unit_test(a_server_listens_on_several_addresses),
        cmocka_unit_test(a_port_in_use_is_an_error_that_names_it),
        cmocka_unit_test(a_wrong_address_is_an_error_that_says_what_is_right),
        cmocka_unit_test(nobody_there_is_said_quickly),
        cmocka_unit_test(a_restarted_server_is_reached_again_at_once),
        cmocka_unit_test(reads_end_when_the_server_is_killed),
        cmocka_unit_test(reads_end_when_the_server_falls_silent),
        cmocka_unit_test(a_call_is_closed_when_its_client_is_killed),
        cmocka_unit_test(a_call_is_closed_when_its_client_falls_silent),
        cmocka_unit_test(a_quiet_connection_outlives_many_keepalives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
