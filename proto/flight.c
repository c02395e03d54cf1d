/* flight.c - many calls at once: a queue of those that have something to read */
#include "proto/flight.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "proto/rpc_flags.h"

enum { CHANNELS = 4 }; /* connections that the calls share: one alone would have them queue behind its window */

struct flight_call {
    struct flight *flight;
    struct rpc_stream *stream;
    void *user;
    struct flight_call *before, *after; /* among all that are under way */
    bool ready;                         /* in the queue; under the mutex, like `next` */
    struct flight_call *next;
};

struct flight {
    struct rpc_channel *channels[CHANNELS];
    struct flight_call *calls;
    int under_way;
    unsigned sent;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    struct flight_call *first, *last; /* that are ready, in order */
};

/* ---- the queue ---- */

/* On gRPC's thread. */
static void call_ready(void *user)
{
    struct flight_call *call = user;
    struct flight *flight = call->flight;
    pthread_mutex_lock(&flight->mutex);
    if (!call->ready) {
        call->ready = true;
        call->next = NULL;
        *(flight->first ? &flight->last->next : &flight->first) = call;
        flight->last = call;
        pthread_cond_signal(&flight->changed);
    }
    pthread_mutex_unlock(&flight->mutex);
}

static struct flight_call *ready_take(struct flight *flight)
{
    pthread_mutex_lock(&flight->mutex);
    struct flight_call *call = flight->first;
    if (call) {
        flight->first = call->next;
        call->ready = false;
    }
    pthread_mutex_unlock(&flight->mutex);
    return call;
}

/* Out of the queue, wherever it stands there. */
static void ready_remove(struct flight *flight, struct flight_call *call)
{
    pthread_mutex_lock(&flight->mutex);
    struct flight_call **at = &flight->first, *before = NULL;
    while (*at && *at != call)
        at = &(before = *at)->next;
    if (*at) {
        *at = call->next;
        if (flight->last == call)
            flight->last = before;
    }
    call->ready = false;
    pthread_mutex_unlock(&flight->mutex);
}

static void ready_wait(struct flight *flight, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)(1e9 * (seconds - (double)(time_t)seconds));
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&flight->mutex);
    int late = 0;
    while (!flight->first && !late)
        late = pthread_cond_timedwait(&flight->changed, &flight->mutex, &until);
    pthread_mutex_unlock(&flight->mutex);
}

/* ---- calls ---- */

int flight_send(struct flight *flight, const char *path, const struct rpc_bytes *request, double timeout, void *user,
                struct error *err)
{
    struct rpc_channel *channel = flight->channels[flight->sent % CHANNELS];
    struct rpc_stream *stream;
    if (rpc_stream_open(&stream, channel, path, request->data, request->size, timeout, err))
        return -1;
    struct flight_call *call = mem_new(1, sizeof *call);
    *call = (struct flight_call){.flight = flight, .stream = stream, .user = user, .after = flight->calls};
    if (call->after)
        call->after->before = call;
    flight->calls = call;
    flight->under_way++;
    flight->sent++;
    rpc_stream_watch(stream, call_ready, call);
    return 0;
}

void flight_drop(struct flight *flight, struct flight_call *call)
{
    rpc_stream_close(call->stream); /* from here on nobody tells it ready */
    ready_remove(flight, call);
    *(call->before ? &call->before->after : &flight->calls) = call->after;
    if (call->after)
        call->after->before = call->before;
    flight->under_way--;
    free(call);
}

int flight_under_way(const struct flight *flight)
{
    return flight->under_way;
}

/* One message, or the end: behind each message the stream tells again. false: it was told once more than there is to read. */
static bool call_read(struct flight *flight, struct flight_call *call, struct flight_event *event)
{
    *event = (struct flight_event){.call = call, .user = call->user};
    int got = rpc_stream_read(call->stream, 0, &event->message, &event->status, &event->words);
    event->over = got == 0 || got == -1;
    if (event->over)
        flight_drop(flight, call);
    return got != -2;
}

bool flight_next(struct flight *flight, double wait, struct flight_event *event)
{
    for (int looks = 0; looks < 2; looks++) {
        struct flight_call *call;
        while ((call = ready_take(flight)))
            if (call_read(flight, call, event))
                return true;
        if (!looks && wait > 0)
            ready_wait(flight, wait);
    }
    return false;
}

int flight_open(struct flight **out, const char *address, const struct rpc_security_files *security, struct error *err)
{
    struct flight *flight = mem_new(1, sizeof *flight);
    pthread_condattr_t attributes;
    pthread_mutex_init(&flight->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&flight->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = 0; i < CHANNELS; i++)
        if (rpc_channel_open_with(&flight->channels[i], address, security, err)) {
            flight_close(flight);
            return -1;
        }
    *out = flight;
    return 0;
}

void flight_close(struct flight *flight)
{
    if (!flight)
        return;
    while (flight->calls)
        flight_drop(flight, flight->calls);
    for (int i = 0; i < CHANNELS; i++)
        rpc_channel_close(flight->channels[i]);
    pthread_cond_destroy(&flight->changed);
    pthread_mutex_destroy(&flight->mutex);
    free(flight);
}
