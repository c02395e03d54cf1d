/* core.h - what server and client share of gRPC core: the event thread, bytes, settings. Only proto/ includes it. */
#ifndef PROTO_CORE_H
#define PROTO_CORE_H

#include <stdbool.h>
#include <stddef.h>

#include <grpc/grpc.h>
#include <pthread.h>
#include <time.h>

#include "proto/rpc.h"

/* What a completion queue hands back: an operation's owner and what to do when it is over (ok: it happened). */
struct core_tag {
    void (*done)(struct core_tag *tag, bool ok);
    void *owner;
};

/* gRPC core is not built with the thread sanitizer: the hand-over of a tag through its queue must be told. */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define CORE_TAG_GIVE(tag) __tsan_release(tag)
#define CORE_TAG_TAKE(tag) __tsan_acquire(tag)
#else
#define CORE_TAG_GIVE(tag) ((void)(tag))
#define CORE_TAG_TAKE(tag) ((void)(tag))
#endif

/* A completion queue with the one thread that runs `done` of every tag. Someone must always wait on a queue, or core notices
 * neither a lost connection nor a ping. */
struct core_events {
    grpc_completion_queue *queue;
    pthread_t thread;
};
int core_events_open(struct core_events *events, struct error *err);
/* Returns when every operation that was started has come back. */
void core_events_close(struct core_events *events);

/* Bounded waits go by the clock that nobody sets. */
void core_cond_init(pthread_cond_t *cond);
struct timespec core_time_after(double seconds);

/* The settings of a server or a channel. */
enum { CORE_ARGS_MAX = 16 };
struct core_args {
    grpc_arg list[CORE_ARGS_MAX];
    size_t count;
};
void core_args_add(struct core_args *args, const char *key, int value);
/* Those that both sides need: limits, keepalive, no compression. */
void core_args_fill(struct core_args *args, const struct rpc_options *options, bool server);

size_t core_message_limit(const struct rpc_options *options);
int core_keepalive_ms(const struct rpc_options *options);

/* Starts operations on a call; tag comes back once. The array is the caller's. */
void core_batch(grpc_call *call, const grpc_op *ops, size_t count, struct core_tag *tag);

grpc_byte_buffer *core_buffer(const void *data, size_t size);

/* The bytes of a message in one piece, without a copy where they lie in one piece. data is never NULL. */
struct core_view {
    grpc_slice slice;
    const void *data;
    size_t size;
};
void core_view_open(struct core_view *view, grpc_byte_buffer *buffer);
void core_view_close(struct core_view *view);

/* malloc'ed text of a slice. */
char *core_text(grpc_slice slice);

#endif
