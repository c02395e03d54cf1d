/* health.c - the last known state behind a lock, and those who watch it.
 *
 * A watch begins, and a change is made known, under the same lock: none falls between the first answer and the subscription. */
#include "coordinator/health.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "proto/health.h"

/* "" is the process: it serves while it answers at all, until it drains. The others are ready or not, all of them together. */
static const char *const services[] = {"", "massv.v1.Inference", "massv.v1.Control", "inference.GRPCInferenceService"};
enum { N_SERVICES = sizeof services / sizeof *services, NO_SERVICE = -1 };

enum { WATCH_BACKLOG = 1024 }; /* bytes: some hundred changes that a watcher has not read */

struct watcher { /* what a Watch call knows of itself */
    struct health *health;
    struct rpc_call *call;
    int service;
    enum health_status last; /* that it was sent */
    struct watcher *next;
};

struct health {
    pthread_mutex_t mutex; /* of what follows */
    struct health_info info;
    double said; /* when */
    bool closed;
    struct watcher *watchers;
};

struct health *health_new(void)
{
    struct health *health = mem_new(1, sizeof *health);
    pthread_mutex_init(&health->mutex, NULL);
    health->said = clock_seconds();
    health->info = (struct health_info){"STARTING", "no worker group has attached yet"};
    return health;
}

void health_free(struct health *health)
{
    if (!health)
        return;
    pthread_mutex_destroy(&health->mutex);
    free(health);
}

/* ---- what is so; the mutex is held ---- */

static void info_now(const struct health *health, double now, struct health_info *info)
{
    *info = health->info;
    if (now - health->said <= HEALTH_SILENCE_SECONDS || strcmp(info->state, "READY") != 0)
        return;
    *info = (struct health_info){"NOT_READY", ""};
    snprintf(info->reason, sizeof info->reason, "the scheduler has not said anything for %.0f s", now - health->said);
}

static enum health_status status_of(int service, const struct health_info *info)
{
    bool serves;
    if (service == NO_SERVICE)
        return HEALTH_SERVICE_UNKNOWN;
    if (service == 0)
        serves = strcmp(info->state, "DRAINING") != 0;
    else
        serves = strcmp(info->state, "READY") == 0;
    return serves ? HEALTH_SERVING : HEALTH_NOT_SERVING;
}

static void status_send(struct rpc_call *call, enum health_status status)
{
    struct rpc_bytes bytes;
    health_status_pack(status, &bytes);
    rpc_call_send(call, bytes.data, bytes.size); /* -1: it has ended, and `closed` is under way */
    free(bytes.data);
}

static void watcher_tell(struct watcher *watcher, const struct health_info *info)
{
    enum health_status status = status_of(watcher->service, info);
    if (status == watcher->last)
        return;
    watcher->last = status;
    if (rpc_call_backlog(watcher->call) > WATCH_BACKLOG)
        rpc_call_abort(watcher->call, RPC_RESOURCE_EXHAUSTED, "the client does not read what it watches");
    else
        status_send(watcher->call, status);
}

static void watchers_tell(struct health *health, double now)
{
    struct health_info info;
    info_now(health, now, &info);
    for (struct watcher *watcher = health->watchers; watcher; watcher = watcher->next)
        watcher_tell(watcher, &info);
}

/* ---- what is said and asked ---- */

void health_say(struct health *health, const struct health_info *info, double now)
{
    pthread_mutex_lock(&health->mutex);
    health->info = *info;
    health->said = now;
    watchers_tell(health, now);
    pthread_mutex_unlock(&health->mutex);
}

void health_look(struct health *health, double now)
{
    pthread_mutex_lock(&health->mutex);
    watchers_tell(health, now);
    pthread_mutex_unlock(&health->mutex);
}

void health_get(struct health *health, double now, struct health_info *info)
{
    pthread_mutex_lock(&health->mutex);
    info_now(health, now, info);
    pthread_mutex_unlock(&health->mutex);
}

static void watch_end(struct rpc_call *call)
{
    rpc_call_finish(call, RPC_UNAVAILABLE, "the service is stopping");
}

void health_close(struct health *health)
{
    pthread_mutex_lock(&health->mutex);
    health->closed = true;
    for (struct watcher *watcher = health->watchers; watcher; watcher = watcher->next)
        watch_end(watcher->call);
    pthread_mutex_unlock(&health->mutex);
}

/* ---- the methods ---- */

static int service_find(const char *name)
{
    for (int i = 0; i < N_SERVICES; i++)
        if (strcmp(services[i], name) == 0)
            return i;
    return NO_SERVICE;
}

static void check_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    char name[HEALTH_SERVICE_MAX + 1];
    struct error err;
    struct health_info info;
    if (health_check_unpack(name, data, size, &err) != 0) {
        rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    int service = service_find(name);
    if (service == NO_SERVICE) {
        fail(&err, "service: \"%s\" is not here; List tells which are", name);
        rpc_call_finish(call, RPC_NOT_FOUND, err.text);
        return;
    }
    health_get(context, clock_seconds(), &info);
    status_send(call, status_of(service, &info));
    rpc_call_finish(call, RPC_OK, "");
}

static void list_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    struct health_entry entries[N_SERVICES];
    struct health_info info;
    struct rpc_bytes bytes;
    health_get(context, clock_seconds(), &info);
    for (int i = 0; i < N_SERVICES; i++)
        entries[i] = (struct health_entry){services[i], status_of(i, &info)};
    health_list_pack(entries, N_SERVICES, &bytes);
    rpc_call_send(call, bytes.data, bytes.size);
    rpc_call_finish(call, RPC_OK, "");
    free(bytes.data);
}

static void watch_begin(struct health *health, struct watcher *watcher)
{
    struct health_info info;
    pthread_mutex_lock(&health->mutex);
    watcher->next = health->watchers;
    health->watchers = watcher;
    info_now(health, clock_seconds(), &info);
    watcher_tell(watcher, &info);
    if (health->closed)
        watch_end(watcher->call);
    pthread_mutex_unlock(&health->mutex);
}

static void watch_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    char name[HEALTH_SERVICE_MAX + 1];
    struct error err;
    if (health_check_unpack(name, data, size, &err) != 0) {
        rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    struct watcher *watcher = mem_new(1, sizeof *watcher);
    *watcher = (struct watcher){.health = context, .call = call, .service = service_find(name), .last = HEALTH_UNKNOWN};
    rpc_call_set(call, watcher);
    watch_begin(context, watcher);
}

static void watch_closed(struct rpc_call *call, bool cancelled)
{
    (void)cancelled;
    struct watcher *watcher = rpc_call_get(call);
    if (!watcher)
        return;
    pthread_mutex_lock(&watcher->health->mutex);
    struct watcher **link = &watcher->health->watchers;
    while (*link != watcher)
        link = &(*link)->next;
    *link = watcher->next;
    pthread_mutex_unlock(&watcher->health->mutex);
    free(watcher);
}

const struct rpc_method health_methods[] = {
    {HEALTH_V1_CHECK_PATH, RPC_UNARY, check_start, NULL, NULL, NULL},
    {HEALTH_V1_LIST_PATH, RPC_UNARY, list_start, NULL, NULL, NULL},
    {HEALTH_V1_WATCH_PATH, RPC_SERVER_STREAM, watch_start, NULL, NULL, watch_closed},
    {0},
};
