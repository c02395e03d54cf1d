/* core.c - what server and client share of gRPC core */
#include "proto/core.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/support/log.h>

#include "base/log.h"
#include "base/memory.h"

enum {
    MESSAGE_LIMIT = 64 << 20,
    KEEPALIVE_MS = 2000,
    KEEPALIVE_LEAST_MS = 200,
    /* ms; must be below the least keepalive of any client, or the server answers its pings with "too many pings". */
    PING_LEAST_MS = 100,
};

/* core's own lines are for those who debug it; errors reach callers through return values. */
static void core_log(gpr_log_func_args *line)
{
    log_line(LOG_DEBUG, "grpc: %s:%d: %s", line->file, line->line, line->message);
}

static void *core_events_run(void *queue)
{
    for (;;) {
        grpc_event event = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        struct core_tag *tag = event.tag;
        CORE_TAG_TAKE(tag);
        tag->done(tag, event.success != 0);
    }
}

int core_events_open(struct core_events *events, struct error *err)
{
    /* Signals are for the program's own threads, not for ours and core's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    gpr_set_log_function(core_log);
    /* The system's resolver knows the names that this machine knows; c-ares does not, and leaks a few bytes at every "localhost".
     */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    grpc_init();
    events->queue = grpc_completion_queue_create_for_next(NULL);
    int error = pthread_create(&events->thread, NULL, core_events_run, events->queue);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        return 0;
    grpc_completion_queue_shutdown(events->queue);
    grpc_completion_queue_destroy(events->queue);
    grpc_shutdown_blocking();
    return fail(err, "no thread for gRPC: %s", strerror(error));
}

void core_events_close(struct core_events *events)
{
    grpc_completion_queue_shutdown(events->queue);
    pthread_join(events->thread, NULL);
    grpc_completion_queue_destroy(events->queue);
    grpc_shutdown_blocking();
}

void core_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec core_time_after(double seconds)
{
    const double longest = 1e8; /* three years: no overflow */
    seconds = seconds > 0 ? (seconds < longest ? seconds : longest) : 0;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    double whole = (double)(time_t)seconds;
    at.tv_sec += (time_t)whole;
    at.tv_nsec += (long)((seconds - whole) * 1e9);
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

size_t core_message_limit(const struct rpc_options *options)
{
    size_t limit = options && options->message_limit ? options->message_limit : MESSAGE_LIMIT;
    return limit < INT_MAX ? limit : INT_MAX;
}

int core_keepalive_ms(const struct rpc_options *options)
{
    int ms = options && options->keepalive_ms > 0 ? options->keepalive_ms : KEEPALIVE_MS;
    return ms > KEEPALIVE_LEAST_MS ? ms : KEEPALIVE_LEAST_MS;
}

void core_args_add(struct core_args *args, const char *key, int value)
{
    assert(args->count < CORE_ARGS_MAX);
    args->list[args->count++] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

void core_args_fill(struct core_args *args, const struct rpc_options *options, bool server)
{
    /* Core's own refusal cannot name the flag, so a server sees what is not far beyond, and refuses it itself. */
    size_t limit = core_message_limit(options);
    core_args_add(args, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, server && limit < INT_MAX / 2 ? 2 * (int)limit : (int)limit);
    core_args_add(args, GRPC_ARG_KEEPALIVE_TIME_MS, core_keepalive_ms(options));
    core_args_add(args, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, core_keepalive_ms(options));
    core_args_add(args, GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    core_args_add(args, GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    core_args_add(args, GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_LEAST_MS);
    /* Identity only: the limit counts compressed bytes, so a small message could unpack to any size. */
    core_args_add(args, GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
}

void core_batch(grpc_call *call, const grpc_op *ops, size_t count, struct core_tag *tag)
{
    CORE_TAG_GIVE(tag);
    grpc_call_error error = grpc_call_start_batch(call, ops, count, tag, NULL);
    assert(error == GRPC_CALL_OK); /* anything else is a misuse of core, not a peer's fault */
    (void)error;
}

grpc_byte_buffer *core_buffer(const void *data, size_t size)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(size ? data : "", size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

void core_view_open(struct core_view *view, grpc_byte_buffer *buffer)
{
    grpc_byte_buffer_reader reader;
    int readable = grpc_byte_buffer_reader_init(&reader, buffer);
    assert(readable);
    (void)readable;
    grpc_slice *only = NULL;
    if (buffer->data.raw.slice_buffer.count == 1 && grpc_byte_buffer_reader_peek(&reader, &only))
        view->slice = grpc_slice_ref(*only);
    else
        view->slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    view->size = GRPC_SLICE_LENGTH(view->slice);
    view->data = view->size ? (const void *)GRPC_SLICE_START_PTR(view->slice) : "";
}

void core_view_close(struct core_view *view)
{
    grpc_slice_unref(view->slice);
}

char *core_text(grpc_slice slice)
{
    size_t size = GRPC_SLICE_LENGTH(slice);
    char *text = mem_new(size + 1, 1);
    memcpy(text, GRPC_SLICE_START_PTR(slice), size);
    return text;
}

const char *rpc_status_name(enum rpc_status status)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    size_t i = (size_t)status;
    return i < sizeof names / sizeof *names ? names[i] : "an unknown status";
}
