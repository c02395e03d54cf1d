/* rpc_call.c - one call on the server, from its arrival to `closed`.
 *
 * Every batch of operations that was started is counted. The first, RECV_CLOSE, comes back when the call is over, however it ends;
 * from then on none is started, and when the last one has come back nothing of core can touch the call any more: that is the
 * moment of `closed`. Messages go out one at a time, so what core has not taken stands in our queue, where it can be counted. */
#include "proto/rpc_call.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "base/memory.h"

struct rpc_outgoing { /* a message that waits for its turn */
    struct rpc_outgoing *next;
    grpc_byte_buffer *buffer;
    size_t size;
};

struct rpc_call {
    const struct rpc_method *method;
    grpc_call *core;
    gpr_timespec deadline;
    grpc_metadata_array metadata; /* until core goes */
    size_t message_limit;
    const char *limit_name;
    const char *told_key; /* what goes out as initial metadata; NULL = nothing */
    char *told;
    char *peer;
    atomic_int references;
    _Atomic(void *) user;

    pthread_mutex_t mutex; /* of what follows */
    int batches;           /* started and not yet back */
    bool greeted;          /* initial metadata went out */
    bool sending, finishing, status_sent;
    bool over, closed; /* RECV_CLOSE came back; `closed` was or is being called */
    struct rpc_outgoing *first, **end;
    size_t backlog;
    enum rpc_status status;
    char *status_text;

    int cancelled;              /* filled in by core */
    grpc_byte_buffer *received; /* filled in by core */
    struct core_tag on_close, on_send, on_receive;
};

static void rpc_call_start(struct rpc_call *call, const grpc_op *ops, size_t count, struct core_tag *tag)
{
    call->batches++;
    core_batch(call->core, ops, count, tag);
}

static void rpc_call_discard(struct rpc_call *call)
{
    while (call->first) {
        struct rpc_outgoing *out = call->first;
        call->first = out->next;
        call->backlog -= out->size;
        grpc_byte_buffer_destroy(out->buffer);
        free(out);
    }
    call->end = &call->first;
}

void rpc_call_hold(struct rpc_call *call)
{
    atomic_fetch_add(&call->references, 1);
}

void rpc_call_drop(struct rpc_call *call)
{
    if (!call || atomic_fetch_sub(&call->references, 1) != 1)
        return;
    assert(!call->core && !call->first);
    pthread_mutex_destroy(&call->mutex);
    free(call->peer);
    free(call->told);
    free(call->status_text);
    free(call);
}

/* A batch came back: the mutex is held on entry and released on return. */
static void rpc_call_settle(struct rpc_call *call)
{
    call->batches--;
    bool last = call->over && !call->batches && !call->closed;
    if (last) {
        call->closed = true;
        rpc_call_discard(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (!last)
        return;
    if (call->method->closed)
        call->method->closed(call, call->cancelled != 0);
    pthread_mutex_lock(&call->mutex); /* rpc_call_abort looks at core */
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_unref(call->core);
    call->core = NULL;
    pthread_mutex_unlock(&call->mutex);
    rpc_call_drop(call);
}

/* Sends what is next, when nothing is on its way: a message, the status, or the last message with the status. */
static void rpc_call_pump(struct rpc_call *call)
{
    bool wait_for_finish = call->method->kind == RPC_UNARY && !call->finishing;
    if (call->sending || call->over || call->status_sent || wait_for_finish || !(call->first || call->finishing))
        return;
    grpc_op ops[3];
    size_t n = 0;
    memset(ops, 0, sizeof ops);
    grpc_metadata told = {.key = grpc_slice_from_static_string(call->told_key ? call->told_key : ""),
                          .value = grpc_slice_from_copied_string(call->told ? call->told : "")};
    if (!call->greeted) {
        ops[n].data.send_initial_metadata.metadata = &told;
        ops[n].data.send_initial_metadata.count = call->told_key != NULL;
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    call->greeted = true;
    if (call->first) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->first->buffer;
    }
    grpc_slice text = grpc_slice_from_copied_string(call->status_text ? call->status_text : "");
    if (call->finishing && !(call->first && call->first->next)) {
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = (grpc_status_code)call->status;
        ops[n++].data.send_status_from_server.status_details = &text;
        call->status_sent = true;
    }
    call->sending = true;
    rpc_call_start(call, ops, n, &call->on_send);
    grpc_slice_unref(text);
    grpc_slice_unref(told.value);
}

static void rpc_call_sent(struct core_tag *tag, bool ok)
{
    struct rpc_call *call = tag->owner;
    (void)ok; /* a failure is followed by RECV_CLOSE */
    pthread_mutex_lock(&call->mutex);
    call->sending = false;
    struct rpc_outgoing *out = call->first;
    if (out) {
        call->first = out->next;
        if (!call->first)
            call->end = &call->first;
        call->backlog -= out->size;
        grpc_byte_buffer_destroy(out->buffer);
        free(out);
    }
    if (ok)
        rpc_call_pump(call);
    rpc_call_settle(call);
}

static void rpc_call_over(struct core_tag *tag, bool ok)
{
    struct rpc_call *call = tag->owner;
    (void)ok;
    pthread_mutex_lock(&call->mutex);
    call->over = true;
    rpc_call_settle(call);
}

static void rpc_call_receive(struct rpc_call *call)
{
    if (call->over)
        return;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->received;
    rpc_call_start(call, &op, 1, &call->on_receive);
}

static void rpc_call_received(struct core_tag *tag, bool ok)
{
    struct rpc_call *call = tag->owner;
    const struct rpc_method *method = call->method;
    grpc_byte_buffer *buffer = call->received;
    call->received = NULL;
    if (ok && buffer) {
        struct core_view view;
        core_view_open(&view, buffer);
        if (view.size > call->message_limit)
            rpc_call_refuse_size(call, view.size);
        else if (method->message)
            method->message(call, view.data, view.size);
        core_view_close(&view);
    } else if (ok && method->half_closed) {
        method->half_closed(call);
    }
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    pthread_mutex_lock(&call->mutex);
    if (ok && buffer)
        rpc_call_receive(call);
    rpc_call_settle(call);
}

static struct rpc_call *rpc_call_new(const struct rpc_method *method, const struct rpc_arrival *arrival)
{
    struct rpc_call *call = mem_new(1, sizeof *call);
    call->method = method;
    call->core = arrival->core;
    call->deadline = arrival->deadline;
    call->metadata = arrival->metadata;
    call->message_limit = arrival->message_limit;
    call->limit_name = arrival->limit_name;
    char *peer = grpc_call_get_peer(call->core);
    call->peer = mem_string(peer ? peer : "");
    gpr_free(peer);
    atomic_init(&call->references, 1);
    atomic_init(&call->user, NULL);
    pthread_mutex_init(&call->mutex, NULL);
    call->end = &call->first;
    call->on_close = (struct core_tag){rpc_call_over, call};
    call->on_send = (struct core_tag){rpc_call_sent, call};
    call->on_receive = (struct core_tag){rpc_call_received, call};
    return call;
}

struct rpc_call *rpc_call_begin(const struct rpc_method *method, const struct rpc_arrival *arrival)
{
    struct rpc_call *call = rpc_call_new(method, arrival);
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    rpc_call_start(call, &op, 1, &call->on_close);
    if (method->kind == RPC_BIDIRECTIONAL) {
        if (method->start)
            method->start(call, NULL, 0, arrival->context);
        pthread_mutex_lock(&call->mutex);
        rpc_call_receive(call);
        pthread_mutex_unlock(&call->mutex);
    } else if (method->start && !arrival->payload) { /* no message at all: as an empty one */
        method->start(call, "", 0, arrival->context);
    } else if (method->start) {
        struct core_view view;
        core_view_open(&view, arrival->payload);
        method->start(call, view.data, view.size, arrival->context);
        core_view_close(&view);
    }
    if (arrival->payload)
        grpc_byte_buffer_destroy(arrival->payload);
    return call;
}

static bool rpc_call_accepts(const struct rpc_call *call)
{
    return !call->over && !call->finishing;
}

void rpc_call_refuse_size(struct rpc_call *call, size_t size)
{
    char *text = mem_format("a message of %zu bytes is over the limit of %zu bytes%s%s%s", size, call->message_limit,
                            call->limit_name ? " (" : "", call->limit_name ? call->limit_name : "", call->limit_name ? ")" : "");
    rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, text);
    free(text);
}

int rpc_call_send(struct rpc_call *call, const void *data, size_t size)
{
    if (size > call->message_limit) {
        rpc_call_refuse_size(call, size);
        return -1;
    }
    struct rpc_outgoing *out = mem_new(1, sizeof *out);
    out->buffer = core_buffer(data, size);
    out->size = size;
    pthread_mutex_lock(&call->mutex);
    bool accepted = rpc_call_accepts(call);
    if (accepted) {
        *call->end = out;
        call->end = &out->next;
        call->backlog += size;
        rpc_call_pump(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (accepted)
        return 0;
    grpc_byte_buffer_destroy(out->buffer);
    free(out);
    return -1;
}

size_t rpc_call_backlog(const struct rpc_call *call)
{
    pthread_mutex_t *mutex = (pthread_mutex_t *)&call->mutex;
    pthread_mutex_lock(mutex);
    size_t backlog = call->backlog;
    pthread_mutex_unlock(mutex);
    return backlog;
}

void rpc_call_finish(struct rpc_call *call, enum rpc_status status, const char *message)
{
    pthread_mutex_lock(&call->mutex);
    if (rpc_call_accepts(call)) {
        call->finishing = true;
        call->status = status;
        call->status_text = mem_string(message ? message : "");
        rpc_call_pump(call);
    }
    pthread_mutex_unlock(&call->mutex);
}

void rpc_call_abort(struct rpc_call *call, enum rpc_status status, const char *message)
{
    pthread_mutex_lock(&call->mutex);
    if (!call->over && call->core)
        grpc_call_cancel_with_status(call->core, (grpc_status_code)status, message ? message : "", NULL);
    call->finishing = call->status_sent = true;
    pthread_mutex_unlock(&call->mutex);
}

void rpc_call_set(struct rpc_call *call, void *user)
{
    atomic_store(&call->user, user);
}

void *rpc_call_get(const struct rpc_call *call)
{
    return atomic_load((_Atomic(void *) *)&call->user);
}

double rpc_call_time_left(const struct rpc_call *call)
{
    if (gpr_time_cmp(call->deadline, gpr_inf_future(call->deadline.clock_type)) == 0)
        return 1e9;
    gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    return (double)left.tv_sec + 1e-9 * left.tv_nsec;
}

int rpc_call_metadata(const struct rpc_call *call, const char *key, char *value, size_t size)
{
    int found = 0;
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *pair = &call->metadata.metadata[i];
        size_t n = GRPC_SLICE_LENGTH(pair->value);
        if (grpc_slice_str_cmp(pair->key, key) != 0)
            continue;
        if (found || n >= size)
            return -1;
        memcpy(value, GRPC_SLICE_START_PTR(pair->value), n);
        value[n] = 0;
        found = 1;
    }
    return found;
}

void rpc_call_tell(struct rpc_call *call, const char *key, const char *value)
{
    pthread_mutex_lock(&call->mutex);
    free(call->told);
    call->told_key = key;
    call->told = mem_string(value);
    pthread_mutex_unlock(&call->mutex);
}

const char *rpc_call_peer(const struct rpc_call *call)
{
    return call->peer;
}
