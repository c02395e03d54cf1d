/* watchdog.c - a thread that ends the process when one call takes too long or the parent is gone */
#include "cluster/watchdog.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

struct watchdog {
    struct watchdog_options options;
    pid_t parent;
    double tick; /* seconds between two looks */
    _Atomic(const char *) what;
    _Atomic uint64_t turn; /* odd while a call runs; never the same for two calls */
    pthread_mutex_t lock;
    pthread_cond_t closing;
    bool closed; /* under lock */
    pthread_t thread;
};

static void watchdog_check_parent(const struct watchdog *w)
{
    if (w->options.needs_parent && getppid() != w->parent) {
        log_line(LOG_ERROR, "rank %d: the process that started this rank (pid %ld) is gone: ending", w->options.rank,
                 (long)w->parent);
        _exit(1);
    }
}

/* Sleeps for one tick; true when the watchdog is being closed. */
static bool watchdog_tick(struct watchdog *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)w->tick;
    until.tv_nsec += (long)((w->tick - (double)(time_t)w->tick) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&w->lock);
    if (!w->closed)
        pthread_cond_timedwait(&w->closing, &w->lock, &until);
    bool closed = w->closed;
    pthread_mutex_unlock(&w->lock);
    return closed;
}

static void *watchdog_run(void *arg)
{
    struct watchdog *w = arg;
    uint64_t seen = 0;
    double since = clock_seconds();
    while (!watchdog_tick(w)) {
        watchdog_check_parent(w);
        double now = clock_seconds();
        uint64_t turn = atomic_load(&w->turn);
        if (turn != seen || turn % 2 == 0) {
            seen = turn;
            since = now;
        } else if (now - since > w->options.timeout) {
            log_abort(__FILE__, __LINE__, "rank %d: %s took more than %.1f seconds: a peer is dead or cut off; ending this rank",
                      w->options.rank, atomic_load(&w->what), w->options.timeout);
        }
    }
    return NULL;
}

int watchdog_open(struct watchdog **watchdog, const struct watchdog_options *options, struct error *err)
{
    struct watchdog *w = mem_new(1, sizeof *w);
    w->options = *options;
    w->parent = getppid();
    w->tick = options->timeout / 4 < 0.25 ? options->timeout / 4 : 0.25;
    atomic_init(&w->what, "nothing");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->closing, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&w->lock, NULL);
    int rc = pthread_create(&w->thread, NULL, watchdog_run, w);
    if (rc) {
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->closing);
        free(w);
        return fail(err, "cannot start the watchdog thread: %s", strerror(rc));
    }
    *watchdog = w;
    return 0;
}

void watchdog_close(struct watchdog *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closed = true;
    pthread_cond_signal(&w->closing);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->closing);
    free(w);
}

void watchdog_enter(struct watchdog *w, const char *what)
{
    atomic_store_explicit(&w->what, what, memory_order_relaxed);
    atomic_store_explicit(&w->turn, atomic_load_explicit(&w->turn, memory_order_relaxed) + 1, memory_order_release);
}

void watchdog_leave(struct watchdog *w)
{
    atomic_store_explicit(&w->turn, atomic_load_explicit(&w->turn, memory_order_relaxed) + 1, memory_order_release);
}
