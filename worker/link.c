/* link.c - one attached stream. The main thread reads and writes verdicts, the heartbeat thread writes too: `lock` orders them. */
#include "worker/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/memory.h"

/* Larger than the coordinator's default: it decides how large the pieces of a picture are, this only bounds memory. */
enum { LINK_MESSAGE_LIMIT = 256 << 20 };

struct link {
    struct rpc_channel *channel;
    struct rpc_stream *stream;
    struct stop *stop;
    char address[256];
    int heartbeat_ms;
    double silence; /* seconds after which a silent coordinator is lost */
    pthread_mutex_t lock;
    pthread_cond_t closing;
    bool closed, beating; /* closed: under lock */
    pthread_t thread;
    _Atomic uint64_t step;
};

static enum link_state status_state(enum rpc_status status)
{
    switch (status) {
    case RPC_FAILED_PRECONDITION:
    case RPC_INVALID_ARGUMENT:
    case RPC_UNIMPLEMENTED: /* not the workers' address */
    case RPC_PERMISSION_DENIED:
    case RPC_UNAUTHENTICATED:
    case RPC_ALREADY_EXISTS:
        return LINK_REFUSED;
    default:
        return LINK_LOST;
    }
}

/* One message of any kind; *bytes and *message are filled only with LINK_OK. */
static enum link_state link_receive(struct link *link, double wait, struct step_message *message, struct rpc_bytes *bytes,
                                    struct error *err)
{
    enum rpc_status status = RPC_UNKNOWN;
    int rc = rpc_stream_read(link->stream, wait, bytes, &status, err);
    if (rc == 0) {
        fail(err, "coordinator %s ended the stream", link->address);
        return LINK_DISMISSED;
    }
    if (rc == -2) {
        fail(err, "coordinator %s said nothing for %.1f seconds", link->address, wait);
        return LINK_LOST;
    }
    if (rc < 0) {
        fail_in(err, "coordinator %s (%s)", link->address, rpc_status_name(status));
        return status_state(status);
    }
    if (step_message_unpack(message, bytes->data, bytes->size, false, err) != 0) {
        fail_in(err, "message of coordinator %s", link->address);
        free(bytes->data);
        return LINK_LOST;
    }
    return LINK_OK;
}

enum link_state link_read(struct link *link, struct step_message *message, struct rpc_bytes *bytes, struct error *err)
{
    for (;;) {
        enum link_state state = link_receive(link, link->silence, message, bytes, err);
        if (state != LINK_OK || message->kind == STEP_STEP || message->kind == STEP_PIECE)
            return state;
        step_message_free(message);
        free(bytes->data);
    }
}

enum link_state link_write(struct link *link, const struct step_message *message, struct error *err)
{
    struct rpc_bytes bytes;
    step_message_pack(message, true, &bytes);
    pthread_mutex_lock(&link->lock);
    int rc = rpc_stream_write(link->stream, bytes.data, bytes.size, err);
    pthread_mutex_unlock(&link->lock);
    free(bytes.data);
    return rc == 0 ? LINK_OK : LINK_LOST;
}

void link_step_began(struct link *link, uint64_t step)
{
    atomic_store(&link->step, step);
}

/* ---- heartbeat ---- */

/* Sleeps until the next heartbeat is due; false when the link is being closed. */
static bool heartbeat_wait(struct link *link)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += link->heartbeat_ms / 1000;
    until.tv_nsec += link->heartbeat_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&link->lock);
    int rc = 0;
    while (!link->closed && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&link->closing, &link->lock, &until);
    bool more = !link->closed;
    pthread_mutex_unlock(&link->lock);
    return more;
}

static void *heartbeat_run(void *arg)
{
    struct link *link = arg;
    while (heartbeat_wait(link)) {
        const struct step_message beat = {.kind = STEP_HEARTBEAT, .heartbeat = atomic_load(&link->step)};
        if (link_write(link, &beat, NULL) != LINK_OK)
            break; /* the reader sees the end of the stream, too */
    }
    return NULL;
}

static int heartbeat_start(struct link *link, int heartbeat_ms, struct error *err)
{
    /* What the coordinator asks for, within reason: neither a flood nor a sleep. */
    link->heartbeat_ms = heartbeat_ms < 50 ? 50 : heartbeat_ms > 10000 ? 10000 : heartbeat_ms;
    /* A coordinator whose threads wait for a core beside a vision tower is late, not dead. */
    link->silence = 10e-3 * link->heartbeat_ms > 5 ? 10e-3 * link->heartbeat_ms : 5;
    int rc = pthread_create(&link->thread, NULL, heartbeat_run, link);
    if (rc != 0)
        return fail(err, "the heartbeat's thread: %s", strerror(rc));
    link->beating = true;
    return 0;
}

static void heartbeat_stop(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->closed = true;
    pthread_cond_broadcast(&link->closing);
    pthread_mutex_unlock(&link->lock);
    if (link->beating)
        pthread_join(link->thread, NULL);
}

/* ---- attach ---- */

static void link_wake(void *context)
{
    rpc_stream_cancel(context);
}

static enum link_state link_welcome(struct link *link, double wait, struct error *err)
{
    struct step_message message;
    struct rpc_bytes bytes;
    enum link_state state = link_receive(link, wait, &message, &bytes, err);
    if (state != LINK_OK)
        return state;
    free(bytes.data);
    if (message.kind != STEP_WELCOME) {
        fail(err, "coordinator %s did not begin with a welcome", link->address);
        state = LINK_REFUSED;
    } else if (heartbeat_start(link, message.heartbeat_ms, err) != 0) {
        state = LINK_LOST;
    }
    step_message_free(&message);
    return state;
}

static enum link_state link_attach(struct link *link, const struct link_options *options, double wait, struct error *err)
{
    const struct rpc_options limits = {.message_limit = LINK_MESSAGE_LIMIT, .security = options->security};
    if (rpc_channel_open(&link->channel, link->address, &limits, err) != 0 ||
        rpc_stream_open(&link->stream, link->channel, ATTACH_PATH, NULL, 0, 0, err) != 0)
        return LINK_LOST;
    stop_watch(link->stop, link_wake, link->stream);
    const struct step_message message = {.kind = STEP_HELLO, .hello = *options->hello};
    /* A refusal may come before the hello has left: the reader knows why, a failed write does not. */
    (void)link_write(link, &message, err);
    return link_welcome(link, wait, err);
}

enum link_state link_open(struct link **link, const struct link_options *options, double wait, struct error *err)
{
    struct link *l = mem_new(1, sizeof *l);
    pthread_condattr_t attributes;
    snprintf(l->address, sizeof l->address, "%s", options->address);
    l->stop = options->stop;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->closing, &attributes);
    pthread_condattr_destroy(&attributes);
    enum link_state state = link_attach(l, options, wait, err);
    if (state == LINK_OK)
        *link = l;
    else
        link_close(l);
    return state;
}

void link_close(struct link *link)
{
    if (!link)
        return;
    if (link->stream) {
        stop_watch(link->stop, NULL, NULL);
        rpc_stream_cancel(link->stream); /* a heartbeat that waits for a slow peer returns */
    }
    heartbeat_stop(link);
    if (link->stream)
        rpc_stream_close(link->stream);
    if (link->channel)
        rpc_channel_close(link->channel);
    pthread_cond_destroy(&link->closing);
    pthread_mutex_destroy(&link->lock);
    free(link);
}
