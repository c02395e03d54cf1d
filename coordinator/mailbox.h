/* mailbox.h - what the other threads tell the scheduler's thread: a queue of events in order of arrival */
#ifndef COORDINATOR_MAILBOX_H
#define COORDINATOR_MAILBOX_H

#include "coordinator/group.h"
#include "coordinator/preparation.h"
#include "coordinator/request.h"

struct scheduler;

enum event_kind {
    EVENT_ARRIVED,  /* request (all outputs of a call, by next_output), job */
    EVENT_REFUSED,  /* status: of a request that did not become one */
    EVENT_CLOSED,   /* number: its client's call has ended */
    EVENT_PREPARED, /* job */
    EVENT_DIALLED,  /* link */
    EVENT_HEARD,    /* number of a link, message */
    EVENT_LOST,     /* number of a link: its stream has ended */
    EVENT_ASKED,    /* ask: runs on the scheduler's thread */
    EVENT_DRAIN,    /* take no more requests */
    EVENT_STOP,     /* end what runs, dismiss the groups; from now on everything is refused */
    EVENT_EXIT      /* the last event: ends the thread */
};

struct event { /* the receiver owns what it points to */
    enum event_kind kind;
    double at; /* clock_seconds when it was posted */
    uint64_t number;
    enum rpc_status status;
    struct request *request;
    struct preparation *job;
    struct link link;
    struct step_message *message; /* from malloc */
    void (*ask)(struct scheduler *scheduler, void *arg);
    void *arg;
    struct event *next;
};

struct mailbox;
struct mailbox *mailbox_new(void);
void mailbox_free(struct mailbox *mailbox); /* empty, or its events leak */

void mailbox_post(struct mailbox *mailbox, const struct event *event); /* copied */
/* All events so far, first to last (NULL: none within the seconds); each is freed by the caller. */
struct event *mailbox_take(struct mailbox *mailbox, double seconds);

#endif
