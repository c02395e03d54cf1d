/* stop.c - a thread that waits for SIGTERM and SIGINT; no code runs in signal handlers */
#include "worker/stop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

struct stop {
    sigset_t signals;
    pthread_t thread;
    atomic_bool asked, closed;
    pthread_mutex_t lock;
    void (*wake)(void *context); /* under lock, like context */
    void *context;
};

/* True when a signal came, false when the stop is being closed. */
static bool stop_wait(struct stop *stop)
{
    while (!atomic_load(&stop->closed)) {
        const struct timespec look = {.tv_nsec = 100000000};
        if (sigtimedwait(&stop->signals, NULL, &look) > 0)
            return true;
    }
    return false;
}

static void *stop_run(void *arg)
{
    struct stop *stop = arg;
    if (!stop_wait(stop))
        return NULL;
    log_line(LOG_INFO, "asked to end");
    pthread_mutex_lock(&stop->lock);
    atomic_store(&stop->asked, true);
    if (stop->wake)
        stop->wake(stop->context);
    pthread_mutex_unlock(&stop->lock);
    double until = clock_seconds() + 0.5;
    while (!atomic_load(&stop->closed)) {
        if (clock_seconds() > until)
            _exit(0);
        clock_sleep(0.02);
    }
    return NULL;
}

int stop_open(struct stop **stop, struct error *err)
{
    struct stop *s = mem_new(1, sizeof *s);
    sigemptyset(&s->signals);
    sigaddset(&s->signals, SIGTERM);
    sigaddset(&s->signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &s->signals, NULL);
    pthread_mutex_init(&s->lock, NULL);
    int rc = pthread_create(&s->thread, NULL, stop_run, s);
    if (rc != 0) {
        pthread_mutex_destroy(&s->lock);
        free(s);
        return fail(err, "the thread that waits for signals: %s", strerror(rc));
    }
    *stop = s;
    return 0;
}

void stop_close(struct stop *stop)
{
    if (!stop)
        return;
    atomic_store(&stop->closed, true);
    pthread_join(stop->thread, NULL);
    pthread_mutex_destroy(&stop->lock);
    free(stop);
}

bool stop_asked(const struct stop *stop)
{
    return atomic_load(&stop->asked);
}

void stop_watch(struct stop *stop, void (*wake)(void *context), void *context)
{
    pthread_mutex_lock(&stop->lock);
    stop->wake = wake;
    stop->context = context;
    if (wake && atomic_load(&stop->asked))
        wake(context);
    pthread_mutex_unlock(&stop->lock);
}
