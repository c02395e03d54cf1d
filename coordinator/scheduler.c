/* scheduler.c - the loop, and what it tells about itself */
#include "coordinator/scheduler_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define WARM_UP_AGAIN 5.0 /* seconds after a warm-up that failed */

struct scheduler *scheduler_new(const struct scheduler_options *options)
{
    struct scheduler *s = mem_new(1, sizeof *s);
    s->options = *options;
    s->no_group_since = s->progress = s->now = clock_seconds();
    metrics_init(&s->metrics);
    page_secret_draw(&s->page_secret);
    s->drafting = (struct drafting){.source = &s->options.drafts, .stall_ms = options->stall_ms};
    return s;
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n_requests; i++)
        if (s->requests[i]->state != REQUEST_ENDED)
            request_end(s, s->requests[i], RPC_UNAVAILABLE, "the service has stopped");
    admission_sweep(s);
    stepping_close(s);
    free(s->requests);
    free(s->groups);
    free(s);
}

static void stop(struct scheduler *s)
{
    s->draining = s->stopped = true;
    for (int i = 0; i < s->n_requests; i++)
        if (s->requests[i]->state != REQUEST_ENDED)
            request_end(s, s->requests[i], RPC_UNAVAILABLE, "the service is stopping, and its drain is over (--drain-seconds)");
    stepping_close(s);
}

void scheduler_handle(struct scheduler *s, struct event *event)
{
    double now = s->now = event->at;
    switch (event->kind) {
    case EVENT_ARRIVED:
        admission_arrived(s, event->request, event->job);
        break;
    case EVENT_REFUSED:
        s->metrics.failure[event->status]++;
        break;
    case EVENT_CLOSED:
        admission_closed(s, event->number, now);
        break;
    case EVENT_PREPARED:
        admission_prepared(s, event->job, now);
        break;
    case EVENT_DIALLED:
        stepping_dialled(s, &event->link, now);
        break;
    case EVENT_HEARD:
        stepping_heard(s, event->number, event->message, now);
        step_message_free(event->message);
        free(event->message);
        break;
    case EVENT_LOST:
        stepping_lost(s, event->number, now);
        break;
    case EVENT_ASKED:
        event->ask(s, event->arg);
        break;
    case EVENT_DRAIN:
        s->draining = true;
        break;
    case EVENT_STOP:
        stop(s);
        break;
    case EVENT_EXIT:
        s->exit = true;
        break;
    }
    free(event);
}

/* A group is there and no generation has passed yet: send one through. */
static void warm_up(struct scheduler *s, double now)
{
    if (s->warm_up != WARM_UP_DUE || s->draining || now < s->warm_up_not_before || !stepping_attached(s))
        return;
    s->warm_up = WARM_UP_RUNNING;
    s->warm_up_not_before = now + WARM_UP_AGAIN;
    struct preparation *job;
    struct request *request = s->options.hooks.warm_up(s->options.hooks.context, &job);
    request->internal = true;
    admission_arrived(s, request, job);
}

/* Groups finish their last step, which lets the last sequences go, too: a group that is dismissed amid a step takes it for a loss.
 */
static void drain(struct scheduler *s)
{
    if (!s->draining || s->drained || s->n_requests > 0 || stepping_in_flight(s))
        return;
    s->drained = true;
    s->options.hooks.drained(s->options.hooks.context);
}

/* Requests wait for a group, or for its answer, and none comes. */
static bool stalls(struct scheduler *s, double now)
{
    bool waits = false;
    for (int i = 0; i < s->n_requests && !waits; i++)
        waits = s->requests[i]->state == REQUEST_QUEUED || s->requests[i]->state == REQUEST_RUNNING;
    if (!waits)
        s->progress = now;
    return now - s->progress > STALL_SECONDS;
}

static void health_find(struct scheduler *s, struct health_info *info, double now)
{
    const char *state = "READY";
    bool stalled = stalls(s, now);
    info->reason[0] = 0;
    if (s->draining) {
        state = "DRAINING";
        snprintf(info->reason, sizeof info->reason, "the service is stopping; %d requests are left", s->n_requests);
    } else if (s->warm_up != WARM_UP_PASSED) {
        state = "STARTING";
        snprintf(info->reason, sizeof info->reason, "%s",
                 s->warm_up_failure[0]   ? s->warm_up_failure
                 : !stepping_attached(s) ? "no worker group has attached yet"
                                         : "the warm-up generation has not passed yet");
    } else if (!stepping_attached(s)) {
        state = "NOT_READY";
        snprintf(info->reason, sizeof info->reason, "no worker group is attached");
    } else if (stalled) {
        state = "NOT_READY";
        snprintf(info->reason, sizeof info->reason, "requests wait, and no worker group has answered for %.0f s",
                 now - s->progress);
    }
    snprintf(info->state, sizeof info->state, "%s", state);
}

/* Before the steps are built, which may take a while: drafts. */
static void health_tell(struct scheduler *s, double now)
{
    struct health_info info;
    health_find(s, &info, now);
    s->options.hooks.health(s->options.hooks.context, &info, now);
}

void scheduler_turn(struct scheduler *s, double now)
{
    s->now = now;
    stepping_timeouts(s, now);
    admission_timeouts(s, now);
    warm_up(s, now);
    admission_place(s, now);
    admission_sweep(s);
    health_tell(s, now);
    stepping_send(s, now);
    drain(s);
}

void scheduler_run(struct scheduler *s, struct mailbox *mailbox)
{
    while (!s->exit) {
        for (struct event *event = mailbox_take(mailbox, SCHEDULER_TICK), *next; event; event = next) {
            next = event->next;
            scheduler_handle(s, event);
        }
        scheduler_turn(s, clock_seconds());
    }
}

void scheduler_load(const struct scheduler *s, struct load_info *info)
{
    *info = (struct load_info){.running = admission_count(s, true),
                               .max_running = s->options.max_requests,
                               .waiting = admission_count(s, false),
                               .max_waiting = s->options.max_waiting};
    for (int i = 0; i < s->n_groups; i++) {
        const struct group *group = s->groups[i];
        if (!group->attached)
            continue;
        info->kv_positions += (int64_t)group->hello.pages * group->hello.page_positions;
        info->kv_positions_reserved += group_positions(group, group_blocks_all(group) - group_room(group));
        info->kv_positions_cached += group_positions(group, page_cache_idle(group->cache));
    }
}

void scheduler_metrics(const struct scheduler *s, struct metrics *metrics)
{
    double blocks = 0, used = 0, cached = 0;
    *metrics = s->metrics;
    metrics->running = admission_count(s, true);
    metrics->waiting = admission_count(s, false);
    metrics->groups_attached = stepping_attached(s);
    for (int i = 0; i < s->n_groups; i++) {
        const struct group *group = s->groups[i];
        if (!group->attached)
            continue;
        double all = group_blocks_all(group), held = all - group_room(group), idle = page_cache_idle(group->cache);
        blocks += all;
        used += held;
        cached += idle;
        if (group->place < 0)
            continue;
        metrics->groups[group->place].kv_usage = held / all;
        metrics->groups[group->place].kv_cached = idle / all;
        for (int j = 0; j < s->n_requests; j++)
            metrics->groups[group->place].running += s->requests[j]->group == group;
    }
    metrics->kv_usage = blocks > 0 ? used / blocks : 0;
    metrics->kv_cached = blocks > 0 ? cached / blocks : 0;
}

void scheduler_server_info(const struct scheduler *s, struct server_info *info)
{
    const int listed = (int)(sizeof info->group_devices / sizeof *info->group_devices);
    info->running = admission_count(s, true);
    info->waiting = admission_count(s, false);
    info->preemptions = s->metrics.preemptions;
    struct metrics *metrics = mem_new(1, sizeof *metrics);
    scheduler_metrics(s, metrics);
    metrics_activity(metrics, &info->activity);
    free(metrics);
    for (int i = 0; i < s->n_groups; i++) {
        const struct step_hello *hello = &s->groups[i]->hello;
        if (!s->groups[i]->attached)
            continue;
        if (info->groups < listed)
            snprintf(info->group_devices[info->groups], sizeof *info->group_devices, "%s", hello->device);
        info->ranks_per_group = info->groups ? info->ranks_per_group : hello->ranks;
        info->kv_positions += (int64_t)hello->pages * hello->page_positions;
        info->groups++;
    }
}

static void outputs_cancel(struct scheduler *s, uint64_t number)
{
    for (int i = 0; i < s->n_requests; i++)
        if (s->requests[i]->number == number && s->requests[i]->state != REQUEST_ENDED)
            stream_finish(s->requests[i], "cancelled", "", s->options.drafts.kind, clock_seconds());
}

int scheduler_abort(struct scheduler *s, const char *request_id)
{
    for (int i = 0; i < s->n_requests; i++) {
        struct request *request = s->requests[i];
        if (request->state != REQUEST_ENDED && !request->internal && strcmp(request->id, request_id) == 0) {
            outputs_cancel(s, request->number);
            request_end(s, request, RPC_CANCELLED, "aborted");
            return 1;
        }
    }
    for (int i = 0; i < FINISHED_REMEMBERED; i++)
        if (s->finished[i][0] && strcmp(s->finished[i], request_id) == 0)
            return 0;
    return -1;
}
