/* service.h - a server with a method of each kind and a client beside it, for the tests of proto/rpc.h: echo, refuse, count, hold,
 * chat */
#ifndef TESTS_PROTO_SERVICE_H
#define TESTS_PROTO_SERVICE_H

#include "tests/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static inline void echo_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    struct seen *seen = context;
    atomic_fetch_add(&seen->started, 1);
    rpc_call_set(call, seen);
    rpc_call_send(call, request, size);
    rpc_call_finish(call, RPC_OK, NULL);
}

static inline void refuse_start(struct rpc_call *call, const void *request, size_t size, void *context)
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
static inline void count_start(struct rpc_call *call, const void *request, size_t size, void *context)
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
static inline void hold_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    struct seen *seen = context;
    (void)request, (void)size;
    rpc_call_set(call, seen);
    rpc_call_hold(call);
    struct rpc_call *before = atomic_exchange(&seen->held, call);
    rpc_call_drop(before);
    atomic_fetch_add(&seen->started, 1);
}

static inline void chat_start(struct rpc_call *call, const void *request, size_t size, void *context)
{
    assert_null(request);
    assert_int_equal(size, 0);
    atomic_fetch_add(&((struct seen *)context)->started, 1);
    rpc_call_set(call, context);
}

static inline void chat_message(struct rpc_call *call, const void *data, size_t size)
{
    struct seen *seen = rpc_call_get(call);
    atomic_fetch_add(&seen->messages, 1);
    rpc_call_send(call, data, size);
}

static inline void chat_half_closed(struct rpc_call *call)
{
    struct seen *seen = rpc_call_get(call);
    atomic_fetch_add(&seen->half_closed, 1);
    rpc_call_finish(call, RPC_OK, NULL);
}

static inline void refuse_message(struct rpc_call *call, const void *data, size_t size)
{
    (void)data, (void)size;
    rpc_call_finish(call, RPC_FAILED_PRECONDITION, "version 2 is wrong");
}

static inline void any_closed(struct rpc_call *call, bool cancelled)
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

static const struct rpc_options options = {.message_limit = LIMIT, .limit_name = "--limit"};

/* The server's services with what they see, until the next call. */
static inline const struct rpc_service *services_of(struct seen *seen)
{
    static struct rpc_service services[2];
    services[0] = (struct rpc_service){.methods = methods, .context = seen};
    return services;
}

static inline void open_at(struct seen *seen, const char *address)
{
    struct error err;
    if (rpc_server_open(&seen->server, &address, 1, services_of(seen), &options, &err))
        fail_msg("%s", err.text);
    snprintf(seen->address, sizeof seen->address, "127.0.0.1:%d", rpc_server_port(seen->server, 0));
}

static inline struct seen *open_both(void)
{
    struct seen *seen = mem_new(1, sizeof *seen);
    struct error err;
    open_at(seen, "127.0.0.1:0");
    assert_int_equal(rpc_channel_open(&seen->channel, seen->address, &options, &err), 0);
    return seen;
}

/* Whatever the test did, every call that started was closed. */
static inline void close_both(struct seen *seen)
{
    rpc_channel_close(seen->channel);
    rpc_server_close(seen->server, 0);
    assert_int_equal(seen->closed, seen->started);
    rpc_call_drop(seen->held);
    free(seen);
}

static inline bool wait_for(const atomic_int *value, int target, double seconds)
{
    double end = clock_seconds() + seconds;
    while (atomic_load(value) < target && clock_seconds() < end)
        clock_sleep(0.002);
    return atomic_load(value) >= target;
}

static inline struct rpc_stream *open_stream(struct seen *seen, const char *path, const void *request, size_t size, double timeout)
{
    struct rpc_stream *stream;
    struct error err;
    if (rpc_stream_open(&stream, seen->channel, path, request, size, timeout, &err))
        fail_msg("%s", err.text);
    return stream;
}

static inline void expect_end(struct rpc_stream *stream, enum rpc_status expected, const char *words)
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

static inline void expect_unary(struct seen *seen, const char *path, size_t size, enum rpc_status expected, const char *words)
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

#endif
