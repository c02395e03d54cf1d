/* rpc_client.c - channels and blocking calls. Core works on the channel's event thread; readers and writers wait on a condition.
 *
 * One message is read ahead of the reader and one write is on its way behind the writer, so both feel the peer's pace. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "base/memory.h"
#include "proto/core.h"
#include "proto/rpc_address.h"
#include "proto/rpc_security.h"

enum {
    /* ms; how soon a channel tries again when nobody answered, and how long one try may take. */
    RECONNECT_FIRST_MS = 50,
    RECONNECT_MAX_MS = 200,
    CONNECT_MS = 2000,
    WRITE_SECONDS = 30, /* a peer that takes no message for so long is as good as dead */
};

struct rpc_channel {
    struct core_events events;
    grpc_channel *core;
    char *address;
    size_t message_limit;
    char *token; /* sent with every call; NULL = none */
};

struct rpc_stream {
    struct rpc_channel *channel;
    grpc_call *core;
    double timeout;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    int batches; /* started and not yet back */
    bool readable, read_over;
    bool writing, write_over;
    bool over;                 /* the status is there */
    void (*ready)(void *user); /* of a watcher, or NULL */
    void *user;

    grpc_metadata_array greeting, trailer; /* filled in by core, like the next three */
    grpc_byte_buffer *received;
    grpc_status_code status;
    grpc_slice status_text;
    struct core_tag on_start, on_receive, on_write, on_status;
};

int rpc_channel_open(struct rpc_channel **out, const char *address, const struct rpc_options *options, struct error *err)
{
    *out = NULL;
    if (rpc_address_check(address, err))
        return -1;
    struct rpc_channel *channel = mem_new(1, sizeof *channel);
    if (core_events_open(&channel->events, err)) {
        free(channel);
        return -1;
    }
    channel->address = mem_string(address);
    channel->message_limit = core_message_limit(options);
    struct core_args args = {.count = 0};
    core_args_fill(&args, options, false);
    core_args_add(&args, GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    core_args_add(&args, GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
    core_args_add(&args, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1); /* a channel is a connection of its own */
    core_args_add(&args, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_FIRST_MS);
    core_args_add(&args, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS);
    core_args_add(&args, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS); /* despite its name: the time one try may take */
    grpc_channel_args list = {args.count, args.list};
    const struct rpc_security *security = options ? options->security : NULL;
    channel->token = security && security->token ? rpc_token_header(security->token) : NULL;
    grpc_channel_credentials *credentials = rpc_channel_credentials(rpc_address_is_unix(address) ? NULL : security);
    channel->core = grpc_channel_create(address, credentials, &list);
    grpc_channel_credentials_release(credentials);
    *out = channel;
    return 0;
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (!channel)
        return;
    grpc_channel_destroy(channel->core);
    core_events_close(&channel->events);
    free(channel->address);
    free(channel->token);
    free(channel);
}

static void rpc_stream_start(struct rpc_stream *stream, const grpc_op *ops, size_t count, struct core_tag *tag)
{
    stream->batches++;
    core_batch(stream->core, ops, count, tag);
}

static void rpc_stream_receive(struct rpc_stream *stream)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &stream->received;
    rpc_stream_start(stream, &op, 1, &stream->on_receive);
}

/* The mutex is held from here ... */
static struct rpc_stream *rpc_stream_enter(struct core_tag *tag)
{
    struct rpc_stream *stream = tag->owner;
    pthread_mutex_lock(&stream->mutex);
    return stream;
}

/* A read would not have to wait: there is a message, or the end. */
static bool rpc_stream_is_ready(const struct rpc_stream *stream)
{
    return stream->readable || (stream->read_over && stream->over);
}

/* The mutex is held: the stream cannot be closed meanwhile. */
static void rpc_stream_tell(struct rpc_stream *stream)
{
    if (stream->ready && rpc_stream_is_ready(stream))
        stream->ready(stream->user);
}

/* ... to here: a batch came back. */
static void rpc_stream_settle(struct rpc_stream *stream)
{
    stream->batches--;
    rpc_stream_tell(stream);
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->mutex);
}

static void rpc_stream_started(struct core_tag *tag, bool ok)
{
    (void)ok; /* a failure comes as a status */
    rpc_stream_settle(rpc_stream_enter(tag));
}

static void rpc_stream_received(struct core_tag *tag, bool ok)
{
    struct rpc_stream *stream = rpc_stream_enter(tag);
    stream->readable = ok && stream->received;
    stream->read_over = !stream->readable;
    rpc_stream_settle(stream);
}

static void rpc_stream_wrote(struct core_tag *tag, bool ok)
{
    struct rpc_stream *stream = rpc_stream_enter(tag);
    stream->writing = false;
    stream->write_over |= !ok;
    rpc_stream_settle(stream);
}

static void rpc_stream_ended(struct core_tag *tag, bool ok)
{
    struct rpc_stream *stream = rpc_stream_enter(tag);
    (void)ok;
    stream->over = true;
    rpc_stream_settle(stream);
}

static struct rpc_stream *rpc_stream_new(struct rpc_channel *channel, const char *path, double timeout)
{
    struct rpc_stream *stream = mem_new(1, sizeof *stream);
    stream->channel = channel;
    stream->timeout = timeout;
    pthread_mutex_init(&stream->mutex, NULL);
    core_cond_init(&stream->changed);
    grpc_metadata_array_init(&stream->greeting);
    grpc_metadata_array_init(&stream->trailer);
    stream->status_text = grpc_empty_slice();
    stream->on_start = (struct core_tag){rpc_stream_started, stream};
    stream->on_receive = (struct core_tag){rpc_stream_received, stream};
    stream->on_write = (struct core_tag){rpc_stream_wrote, stream};
    stream->on_status = (struct core_tag){rpc_stream_ended, stream};
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout > 0 && timeout < 1e9)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros((int64_t)(timeout * 1e6), GPR_TIMESPAN));
    grpc_slice method = grpc_slice_from_copied_string(path);
    stream->core =
        grpc_channel_create_call(channel->core, NULL, GRPC_PROPAGATE_DEFAULTS, channel->events.queue, method, NULL, deadline, NULL);
    grpc_slice_unref(method);
    return stream;
}

static int rpc_check_size(const struct rpc_channel *channel, size_t size, struct error *err)
{
    if (size <= channel->message_limit)
        return 0;
    return fail(err, "a message of %zu bytes is over the limit of %zu bytes", size, channel->message_limit);
}

int rpc_stream_open(struct rpc_stream **out, struct rpc_channel *channel, const char *path, const void *request, size_t size,
                    double timeout, struct error *err)
{
    *out = NULL;
    if (request && rpc_check_size(channel, size, err))
        return -1;
    struct rpc_stream *stream = rpc_stream_new(channel, path, timeout);
    grpc_byte_buffer *buffer = request ? core_buffer(request, size) : NULL;
    grpc_op ops[4];
    size_t n = 0;
    grpc_metadata token = {.key = grpc_slice_from_static_string("authorization"),
                           .value = grpc_slice_from_copied_string(channel->token ? channel->token : "")};
    pthread_mutex_lock(&stream->mutex);
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.status = &stream->status;
    ops[0].data.recv_status_on_client.status_details = &stream->status_text;
    ops[0].data.recv_status_on_client.trailing_metadata = &stream->trailer;
    rpc_stream_start(stream, ops, 1, &stream->on_status);
    memset(ops, 0, sizeof ops);
    ops[n].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[n].data.send_initial_metadata.count = channel->token ? 1 : 0;
    ops[n++].data.send_initial_metadata.metadata = &token;
    if (buffer) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = buffer;
        ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        stream->write_over = true;
    }
    ops[n].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[n++].data.recv_initial_metadata.recv_initial_metadata = &stream->greeting;
    rpc_stream_start(stream, ops, n, &stream->on_start);
    rpc_stream_receive(stream);
    pthread_mutex_unlock(&stream->mutex);
    grpc_slice_unref(token.value); /* core holds its own references */
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    *out = stream;
    return 0;
}

/* What the end of the call means, in words. */
static void rpc_stream_explain(const struct rpc_stream *stream, struct error *err)
{
    const char *address = stream->channel->address;
    char *text = core_text(stream->status_text);
    enum rpc_status status = (enum rpc_status)stream->status;
    /* core's own wording where no connection could be made */
    bool unreached = strstr(text, "failed to connect to all addresses") || strstr(text, "resolution failed");
    if (status == RPC_UNAVAILABLE && unreached && strstr(text, "Ssl handshake failed"))
        fail(err, "TLS with %s failed: %s", address, strrchr(text, ':') + 1);
    else if (status == RPC_UNAVAILABLE && unreached && strstr(text, "Socket closed"))
        fail(err, "%s closed the connection at once: does it want TLS, or a certificate that it trusts?", address);
    else if (status == RPC_UNAVAILABLE && unreached)
        fail(err, "no server answers at %s", address);
    else if (status == RPC_UNAVAILABLE)
        fail(err, "%s: %s", address, *text ? text : "the connection was lost");
    else if (status == RPC_DEADLINE_EXCEEDED && (!*text || strcmp(text, "Deadline Exceeded") == 0))
        fail(err, "%s: no end of the answer within %g s", address, stream->timeout);
    else if (*text)
        fail(err, "%s", text);
    else
        fail(err, "%s: %s", address, rpc_status_name(status));
    free(text);
}

static void rpc_stream_take(struct rpc_stream *stream, struct rpc_bytes *message)
{
    struct core_view view;
    core_view_open(&view, stream->received);
    message->size = view.size;
    message->data = mem_grow(NULL, view.size, 1);
    memcpy(message->data, view.data, view.size);
    core_view_close(&view);
    grpc_byte_buffer_destroy(stream->received);
    stream->received = NULL;
    stream->readable = false;
    rpc_stream_receive(stream);
}

void rpc_stream_watch(struct rpc_stream *stream, void (*ready)(void *user), void *user)
{
    pthread_mutex_lock(&stream->mutex);
    stream->ready = ready;
    stream->user = user;
    rpc_stream_tell(stream);
    pthread_mutex_unlock(&stream->mutex);
}

int rpc_stream_read(struct rpc_stream *stream, double wait, struct rpc_bytes *message, enum rpc_status *status, struct error *err)
{
    struct timespec until = core_time_after(wait);
    int result = -2;
    *message = (struct rpc_bytes){NULL, 0};
    pthread_mutex_lock(&stream->mutex);
    while (!rpc_stream_is_ready(stream))
        if (pthread_cond_timedwait(&stream->changed, &stream->mutex, &until))
            break;
    if (stream->readable) {
        rpc_stream_take(stream, message);
        result = 1;
    } else if (stream->read_over && stream->over) {
        result = stream->status == GRPC_STATUS_OK ? 0 : -1;
        if (status)
            *status = (enum rpc_status)stream->status;
        if (result)
            rpc_stream_explain(stream, err);
    }
    pthread_mutex_unlock(&stream->mutex);
    return result;
}

/* Starts one sending operation when the one before has come back. */
static int rpc_stream_push(struct rpc_stream *stream, const grpc_op *op, struct error *err)
{
    struct timespec until = core_time_after(WRITE_SECONDS);
    int result = 0;
    pthread_mutex_lock(&stream->mutex);
    while (stream->writing && !stream->over && !result)
        if (pthread_cond_timedwait(&stream->changed, &stream->mutex, &until))
            result = fail(err, "%s has taken no message for %d s", stream->channel->address, WRITE_SECONDS);
    if (!result && (stream->over || stream->write_over))
        result = fail(err, "the stream to %s has ended", stream->channel->address);
    if (!result) {
        stream->writing = true;
        stream->write_over = op->op == GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        rpc_stream_start(stream, op, 1, &stream->on_write);
    }
    pthread_mutex_unlock(&stream->mutex);
    return result;
}

int rpc_stream_write(struct rpc_stream *stream, const void *data, size_t size, struct error *err)
{
    if (rpc_check_size(stream->channel, size, err))
        return -1;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = core_buffer(data, size);
    int result = rpc_stream_push(stream, &op, err);
    grpc_byte_buffer_destroy(op.data.send_message.send_message);
    return result;
}

int rpc_stream_half_close(struct rpc_stream *stream, struct error *err)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    return rpc_stream_push(stream, &op, err);
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
    grpc_call_cancel(stream->core, NULL);
}

void rpc_stream_close(struct rpc_stream *stream)
{
    if (!stream)
        return;
    pthread_mutex_lock(&stream->mutex);
    if (!stream->over)
        grpc_call_cancel(stream->core, NULL);
    while (stream->batches) /* core returns every operation of a cancelled call at once */
        pthread_cond_wait(&stream->changed, &stream->mutex);
    pthread_mutex_unlock(&stream->mutex);
    grpc_call_unref(stream->core);
    if (stream->received)
        grpc_byte_buffer_destroy(stream->received);
    grpc_metadata_array_destroy(&stream->greeting);
    grpc_metadata_array_destroy(&stream->trailer);
    grpc_slice_unref(stream->status_text);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->mutex);
    free(stream);
}

int rpc_unary(struct rpc_channel *channel, const char *path, const void *request, size_t size, double timeout,
              struct rpc_bytes *reply, enum rpc_status *status, struct error *err)
{
    const double margin = 1; /* s that core gets to report the deadline itself */
    struct rpc_bytes extra = {NULL, 0};
    enum rpc_status end = RPC_RESOURCE_EXHAUSTED;
    struct rpc_stream *stream;
    *reply = extra;
    if (rpc_stream_open(&stream, channel, path, request ? request : "", size, timeout, err)) {
        *status = end;
        return -1;
    }
    int result = rpc_stream_read(stream, timeout + margin, reply, &end, err);
    bool replied = result == 1;
    if (replied)
        result = rpc_stream_read(stream, timeout + margin, &extra, &end, err);
    if (result == -2)
        result = fail(err, "%s: no answer within %g s", channel->address, timeout), end = RPC_DEADLINE_EXCEEDED;
    else if (result == 1 || (result == 0 && !replied))
        result = fail(err, "%s: %s answered with %s", channel->address, path, replied ? "two messages" : "no message"),
        end = RPC_INTERNAL;
    rpc_stream_close(stream);
    free(extra.data);
    if (result) {
        free(reply->data);
        *reply = (struct rpc_bytes){NULL, 0};
    }
    *status = end;
    return result;
}
