/* scheduler.h - the one thread that owns all requests and groups. It takes events, places requests on groups, builds steps and
 * hands tokens to clients; everything else in the coordinator only posts events to its mailbox.
 *
 * Reading order: scheduler.c (the loop), admission.c (from arrival to a place on a group, and the end), stepping.c (groups: hello,
 * steps, verdicts, loss). plan.h and progress.h are the sums behind a step and its verdict. */
#ifndef COORDINATOR_SCHEDULER_H
#define COORDINATOR_SCHEDULER_H

#include "coordinator/draft_source.h"
#include "coordinator/mailbox.h"
#include "coordinator/metrics.h"
#include "model/tokenizer.h"

struct scheduler;

/* What the scheduler asks of the program around it; every function runs on the scheduler's thread and must not block. */
struct scheduler_hooks {
    void *context;
    void (*prepare)(void *context, struct preparation *job);
    /* A small request without a client that goes the whole way: the warm-up. */
    struct request *(*warm_up)(void *context, struct preparation **job);
    /* The state, in every turn. READY: a warm-up generation has passed, a group is attached, nothing stalls. */
    void (*health)(void *context, const struct health_info *info, double now);
    /* A group with a name was attached, or is no longer. */
    void (*group)(void *context, const char *name, bool attached);
    void (*drained)(void *context); /* after EVENT_DRAIN: nothing runs any more */
};

struct scheduler_options {
    struct identity identity;
    int max_positions;         /* of a request: prompt and answer */
    int max_requests;          /* on groups at once */
    int max_waiting;           /* being prepared or queued */
    double wait_seconds;       /* from arrival to a place on a group */
    double group_wait_seconds; /* of that, while no group is attached at all */
    double step_seconds;
    double stall_ms;   /* pace.h */
    bool prefix_cache; /* prefix.h */
    size_t message_limit;
    const struct tokenizer *tokenizer;
    struct draft_source drafts;
    struct scheduler_hooks hooks;
};

struct scheduler *scheduler_new(const struct scheduler_options *options);
void scheduler_free(struct scheduler *scheduler);

/* Takes events and turns until EVENT_EXIT has come. */
void scheduler_run(struct scheduler *scheduler, struct mailbox *mailbox);

/* One event; owns and frees it. */
void scheduler_handle(struct scheduler *scheduler, struct event *event);
/* What time and the events so far ask for: timeouts, placement, steps. To be called after events and every SCHEDULER_TICK. */
void scheduler_turn(struct scheduler *scheduler, double now);
#define SCHEDULER_TICK 0.1   /* seconds: how late a deadline or a silent group is noticed */
enum { STALL_SECONDS = 30 }; /* requests wait and no step has been answered for so long: NOT_READY */

/* For EVENT_ASKED. */
void scheduler_server_info(const struct scheduler *scheduler, struct server_info *info); /* what it knows of it */
void scheduler_load(const struct scheduler *scheduler, struct load_info *info);
void scheduler_metrics(const struct scheduler *scheduler, struct metrics *metrics); /* all, the present state, too */
/* 1 = aborted; 0 = it had already finished; -1 = never heard of it. */
int scheduler_abort(struct scheduler *scheduler, const char *request_id);

#endif
