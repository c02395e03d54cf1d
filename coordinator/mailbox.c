/* mailbox.c - a list behind a lock */
#include "coordinator/mailbox.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct event *first, **end;
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *mailbox = mem_new(1, sizeof *mailbox);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&mailbox->lock, NULL);
    pthread_cond_init(&mailbox->filled, &attributes);
    pthread_condattr_destroy(&attributes);
    mailbox->end = &mailbox->first;
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (!mailbox)
        return;
    pthread_cond_destroy(&mailbox->filled);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_post(struct mailbox *mailbox, const struct event *event)
{
    struct event *copy = mem_new(1, sizeof *copy);
    *copy = *event;
    copy->next = NULL;
    copy->at = clock_seconds();
    pthread_mutex_lock(&mailbox->lock);
    *mailbox->end = copy;
    mailbox->end = &copy->next;
    pthread_cond_signal(&mailbox->filled);
    pthread_mutex_unlock(&mailbox->lock);
}

static struct timespec time_after(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    long long ns = t.tv_nsec + (long long)(seconds * 1e9);
    t.tv_sec += (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

struct event *mailbox_take(struct mailbox *mailbox, double seconds)
{
    struct timespec until = time_after(seconds);
    pthread_mutex_lock(&mailbox->lock);
    while (!mailbox->first)
        if (pthread_cond_timedwait(&mailbox->filled, &mailbox->lock, &until) != 0)
            break;
    struct event *events = mailbox->first;
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
    pthread_mutex_unlock(&mailbox->lock);
    return events;
}
