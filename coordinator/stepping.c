/* stepping.c - worker groups: who may attach, steps to them, verdicts from them, and what happens when one is lost */
#include "coordinator/scheduler_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "coordinator/paging.h"
#include "coordinator/plan.h"
#include "coordinator/prefix.h"

int stepping_attached(const struct scheduler *s)
{
    int n = 0;
    for (int i = 0; i < s->n_groups; i++)
        n += s->groups[i]->attached;
    return n;
}

bool stepping_in_flight(const struct scheduler *s)
{
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i]->flight.id)
            return true;
    return false;
}

static struct group *group_find(const struct scheduler *s, uint64_t number)
{
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i]->link.number == number)
            return s->groups[i];
    return NULL;
}

void stepping_dialled(struct scheduler *s, const struct link *link, double now)
{
    s->groups = mem_grow(s->groups, (size_t)s->n_groups + 1, sizeof(struct group *));
    s->groups[s->n_groups++] = group_new(link, now);
    if (s->stopped)
        stepping_close(s);
}

/* Its requests wait in their old order for another group, or for this one to come back. */
static void requests_requeue(struct scheduler *s, struct group *group)
{
    for (int i = 0; i < s->n_requests; i++) {
        struct request *request = s->requests[i];
        if (request->group != group)
            continue;
        request->losses += request->in_flight;
        group_leave(group, request);
        request_apply(request, REQUEST_GROUP_LOST);
        s->metrics.requests_replayed += !request->internal;
        if (request->losses >= LOSSES_MAX)
            request_end(s, request, RPC_UNAVAILABLE, "six worker groups in a row were lost in a step of this request");
    }
}

static void group_tell(const struct scheduler *s, const struct group *group, bool attached)
{
    if (group->hello.group[0])
        s->options.hooks.group(s->options.hooks.context, group->hello.group, attached);
}

static void group_remove(struct scheduler *s, struct group *group, enum rpc_status status, const char *why, double now)
{
    bool attached = group->attached;
    if (attached) {
        metrics_detach(&s->metrics, group->place);
        group_tell(s, group, false);
    }
    log_line(LOG_WARNING, "worker group %s (%s): %s", group->hello.host[0] ? group->hello.host : "?", group->link.peer, why);
    requests_requeue(s, group);
    group_finish(group, status, why);
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i] == group)
            s->groups[i] = s->groups[--s->n_groups];
    group_free(group);
    if (attached && !stepping_attached(s))
        s->no_group_since = now;
}

void stepping_lost(struct scheduler *s, uint64_t number, double now)
{
    struct group *group = group_find(s, number);
    if (group)
        group_remove(s, group, RPC_CANCELLED, "its stream has ended", now);
}

static void hello_take(struct scheduler *s, struct group *group, const struct step_hello *hello, double now)
{
    struct error err;
    group->hello = *hello;
    if (group_check(&s->options.identity, hello, &err) != 0) {
        group_remove(s, group, RPC_FAILED_PRECONDITION, err.text, now);
        return;
    }
    group->attached = true;
    group->place = metrics_attach(&s->metrics, hello);
    group->layout = s->options.identity.layout;
    group->layout.page_positions = hello->page_positions;
    group->blocks_free = group_blocks_all(group);
    s->no_group_since = 0;
    s->progress = now;
    log_line(LOG_INFO, "worker group on %s attached: %d ranks, %d positions (up to %d of one sequence), %s", hello->host,
             hello->ranks, hello->pages * hello->page_positions, group_most(group), hello->device);
    struct step_message welcome = {.kind = STEP_WELCOME, .heartbeat_ms = GROUP_BEAT_MS};
    group->link.calls->send(group->link.call, &welcome);
    group_tell(s, group, true);
}

/* A span's answer to its request and on to the client. */
static void answer_deliver(struct scheduler *s, const struct flight_span *span, const struct step_answer *answer, double now)
{
    struct request *request = span->request;
    struct progress progress;
    struct error err;
    request->in_flight = false;
    if (span->kind == SPAN_VERIFY)
        drafting_learn(&s->drafting, span, answer->accepted);
    if (progress_take(&progress, span, answer, s->options.tokenizer, &err) != 0) {
        request_end(s, request, RPC_INTERNAL, err.text);
        return;
    }
    metrics_progress(&s->metrics, request, span, &progress, now);
    if (!progress.n)
        return;
    request->losses = 0;
    if (!request->first_token)
        request->first_token = now;
    request->last_token = now;
    stream_delta(request, s->options.tokenizer, &progress);
    if ((request->reason = progress.reason)) {
        stream_finish(request, progress.reason, progress.match, s->options.drafts.kind, now);
        request_end(s, request, RPC_OK, "");
    }
    progress_free(&progress);
}

static void flight_land(struct flight *flight)
{
    free(flight->spans);
    free(flight->release);
    free(flight->forget);
    *flight = (struct flight){0};
}

/* The step changed nothing on the group: what it computed ends, what it let go is let go with the next one. */
static void flight_refused(struct scheduler *s, struct group *group, const char *why)
{
    struct flight *flight = &group->flight;
    char text[384];
    snprintf(text, sizeof text, "the worker group refused the step: %s", why);
    log_line(LOG_ERROR, "step %llu: %s", (unsigned long long)flight->id, text);
    for (int i = 0; i < flight->n_spans; i++)
        if (flight->spans[i].request)
            request_end(s, flight->spans[i].request, RPC_INTERNAL, text);
    group_refused(group);
}

/* What verifications took, and brought, without what the group computed of prompts beside them. */
static void verifications_learn(struct group *group, const struct step_verdict *verdict, int rows, int prompt_rows, double now)
{
    const struct flight *flight = &group->flight;
    int requests = 0, drafts = 0, tokens = 0;
    for (int i = 0; i < flight->n_spans; i++)
        if (flight->spans[i].kind == SPAN_VERIFY) {
            requests++;
            drafts += flight->spans[i].drafts;
            tokens += 1 + verdict->answers[i].accepted;
        }
    double compute = verdict->compute_ms, beside = 1e3 * (now - flight->begun) - flight->drafting_ms - compute;
    if (!prompt_rows && group->draft_length.forecast.steady)
        drafting_beside(group, requests, drafts, beside);
    if (prompt_rows && compute > pace_ms(&group->pace, 1, rows, 0))
        compute = pace_ms(&group->pace, 1, rows, 0);
    const struct draft_outcome outcome = {tokens, beside + flight->drafting_ms + compute, prompt_rows};
    draft_length_learn(&group->draft_length, &outcome);
}

static void pace_take(struct group *group, const struct step_verdict *verdict, double now)
{
    int rows[3] = {0};
    for (int i = 0; i < group->flight.n_spans; i++)
        rows[group->flight.spans[i].kind] += group->flight.spans[i].rows;
    pace_learn(&group->pace, 1, rows[SPAN_REPLAY] + rows[SPAN_VERIFY], rows[SPAN_PROMPT], verdict->compute_ms);
    if (rows[SPAN_VERIFY] && !rows[SPAN_REPLAY])
        verifications_learn(group, verdict, rows[SPAN_VERIFY], rows[SPAN_PROMPT], now);
}

static void answers_deliver(struct scheduler *s, struct group *group, const struct step_verdict *verdict, double now)
{
    pace_take(group, verdict, now);
    page_cache_land(group->cache, true);
    for (int i = 0; i < group->flight.n_spans; i++)
        if (group->flight.spans[i].request) {
            prefix_begun(group, group->flight.spans[i].request);
            answer_deliver(s, &group->flight.spans[i], &verdict->answers[i], now);
        }
}

static void verdict_take(struct scheduler *s, struct group *group, const struct step_verdict *verdict, double now)
{
    struct error err;
    if (progress_check(&group->flight, verdict, s->options.identity.vocabulary, &err) != 0) {
        group_remove(s, group, RPC_INVALID_ARGUMENT, err.text, now);
        return;
    }
    s->progress = now;
    metrics_step(&s->metrics, group, verdict, now);
    if (verdict->error[0] && !group->flight.n_spans) {
        snprintf(err.text, sizeof err.text, "it refuses to let go of what it was told to: %s", verdict->error);
        group_remove(s, group, RPC_ABORTED, err.text, now); /* else it would, step by step; it comes back with nothing */
        return;
    }
    if (verdict->error[0])
        flight_refused(s, group, verdict->error);
    else
        answers_deliver(s, group, verdict, now);
    flight_land(&group->flight);
    group->landed = now;
}

void stepping_heard(struct scheduler *s, uint64_t number, struct step_message *message, double now)
{
    struct group *group = group_find(s, number);
    if (!group)
        return;
    group->heard = now;
    if ((message->kind == STEP_HELLO) == group->attached)
        group_remove(s, group, RPC_INVALID_ARGUMENT, "the first message, and no other, must be a hello", now);
    else if (message->kind == STEP_HELLO)
        hello_take(s, group, &message->hello, now);
    else if (message->kind == STEP_VERDICT)
        verdict_take(s, group, &message->verdict, now);
}

void stepping_timeouts(struct scheduler *s, double now)
{
    for (int i = s->n_groups - 1; i >= 0; i--) {
        const char *fault = group_fault(s->groups[i], s->options.step_seconds, now);
        if (fault)
            group_remove(s, s->groups[i], RPC_ABORTED, fault, now);
    }
}

/* Features travel ahead of the step whose rows need them. */
static void pictures_send(struct scheduler *s, struct group *group, const struct plan *plan)
{
    for (int i = 0; i < plan->step.n_spans; i++) {
        const struct request *request = plan->spans[i].request;
        const struct step_span *span = &plan->step.spans[i];
        for (int j = 0; j < span->n_pictures; j++)
            for (int k = 0; k < request->prepared.n_pictures; k++)
                if (memcmp(request->prepared.pictures[k].hash, span->pictures[j].hash, sizeof span->pictures[j].hash) == 0)
                    group_picture_send(group, request, k, s->options.identity.feature_width, s->options.message_limit);
    }
}

static void drafting_count(struct metrics *metrics, const struct drafting_counts *counts)
{
    metrics->drafter_faults += (uint64_t)counts->faults;
    metrics->drafter_refusals += (uint64_t)counts->refusals;
    metrics->draft_probes += (uint64_t)counts->probes;
    metrics->draft_ahead_rows += (uint64_t)counts->ahead;
    metrics->drafter_prefix_queries += (uint64_t)counts->prompt_rows;
    metrics->drafter_prefix_hits += (uint64_t)counts->found;
}

static void step_send(struct scheduler *s, struct group *group, double now)
{
    struct plan plan;
    s->metrics.preemptions += (uint64_t)paging_secure(group, s->requests, s->n_requests);
    plan_make(&plan, group, s->requests, s->n_requests, &s->drafting);
    drafting_count(&s->metrics, &plan.drafting);
    if (plan.step.n_spans == 0 && plan.step.n_release == 0 && plan.step.n_forget == 0) {
        group->landed = 0;
        free(plan.spans);
        plan_free(&plan);
        return;
    }
    plan.step.id = ++s->last_step;
    pictures_send(s, group, &plan);
    struct step_message message = {.kind = STEP_STEP, .step = plan.step};
    group->link.calls->send(group->link.call, &message);
    group->flight = (struct flight){.id = plan.step.id,
                                    .since = now,
                                    .begun = group->landed > 0 ? group->landed : now,
                                    .drafting_ms = plan.drafting_ms,
                                    .spans = plan.spans,
                                    .n_spans = plan.step.n_spans,
                                    .release = plan.step.release,
                                    .n_release = plan.step.n_release,
                                    .forget = plan.step.forget,
                                    .n_forget = plan.step.n_forget};
    for (int i = 0; i < plan.step.n_spans; i++) {
        plan.spans[i].request->in_flight = true;
        if (plan.spans[i].begins)
            metrics_begin(&s->metrics, plan.spans[i].request);
    }
    plan_free(&plan);
}

/* Steps for all groups that wait; then, while they work, what the drafter can do ahead. */
void stepping_send(struct scheduler *s, double now)
{
    for (int i = 0; i < s->n_groups; i++) {
        struct group *group = s->groups[i];
        if (group->attached && !group->flight.id) {
            group_pictures_forget(group);
            step_send(s, group, now);
        }
    }
    struct drafting_counts counts = {0};
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i]->flight.id && s->groups[i]->flight.since == now)
            drafting_ahead(&s->drafting, s->groups[i], &counts);
    drafting_count(&s->metrics, &counts);
}

void stepping_close(struct scheduler *s)
{
    for (int i = 0; i < s->n_groups; i++) {
        group_finish(s->groups[i], RPC_OK, "the coordinator has stopped");
        group_free(s->groups[i]);
    }
    s->n_groups = 0;
}
