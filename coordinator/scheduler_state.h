/* scheduler_state.h - what scheduler.c, admission.c and stepping.c share; nobody else includes it */
#ifndef COORDINATOR_SCHEDULER_STATE_H
#define COORDINATOR_SCHEDULER_STATE_H

#include "coordinator/metrics.h"
#include "coordinator/page_key.h"
#include "coordinator/plan.h"
#include "coordinator/progress.h"
#include "coordinator/scheduler.h"
#include "coordinator/stream.h"

enum { FINISHED_REMEMBERED = 256 }; /* ids of ended requests, for Abort */

enum warm_up { WARM_UP_DUE, WARM_UP_RUNNING, WARM_UP_PASSED };

struct scheduler {
    struct scheduler_options options;
    struct request **requests; /* in order of arrival */
    int n_requests;
    struct group **groups;
    int n_groups;
    uint64_t last_sequence, last_step;
    struct drafting drafting;
    struct page_secret page_secret;
    double no_group_since; /* 0 while a group is attached */
    double progress;       /* when a group last attached or answered, or nothing waited for it */
    enum warm_up warm_up;
    double warm_up_not_before;
    char warm_up_failure[256];
    bool draining, drained, stopped, exit;
    double now; /* of the event or the turn in hand */
    struct metrics metrics;
    char finished[FINISHED_REMEMBERED][128];
    int n_finished;
};

/* admission.c */
void admission_arrived(struct scheduler *s, struct request *request, struct preparation *job);
void admission_prepared(struct scheduler *s, struct preparation *job, double now);
void admission_closed(struct scheduler *s, uint64_t number, double now);
/* Ends a request; unless it is RPC_OK, all outputs of its call; status and message for its client. They are freed at the end of the
 * turn. */
void request_end(struct scheduler *s, struct request *request, enum rpc_status status, const char *message);
void admission_place(struct scheduler *s, double now);
void admission_timeouts(struct scheduler *s, double now);
void admission_sweep(struct scheduler *s);
/* Warm-up has no place in counts. running: on a group; else being prepared or queued. */
int admission_count(const struct scheduler *s, bool running);

/* stepping.c */
void stepping_dialled(struct scheduler *s, const struct link *link, double now);
void stepping_heard(struct scheduler *s, uint64_t number, struct step_message *message, double now);
void stepping_lost(struct scheduler *s, uint64_t number, double now);
void stepping_timeouts(struct scheduler *s, double now);
void stepping_send(struct scheduler *s, double now);
int stepping_attached(const struct scheduler *s);
bool stepping_in_flight(const struct scheduler *s);
void stepping_close(struct scheduler *s);

#endif
