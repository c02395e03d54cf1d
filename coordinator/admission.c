/* admission.c - requests from arrival to a place on a group, and their end */
#include "coordinator/scheduler_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "coordinator/paging.h"
#include "coordinator/placement.h"
#include "coordinator/prefix.h"
#include "coordinator/report.h"

int admission_count(const struct scheduler *s, bool running)
{
    int n = 0;
    for (int i = 0; i < s->n_requests; i++) {
        const struct request *r = s->requests[i];
        if (!r->internal && r->state != REQUEST_ENDED && (r->state == REQUEST_RUNNING) == running)
            n++;
    }
    return n;
}

static struct request *request_find(const struct scheduler *s, uint64_t number)
{
    for (int i = 0; i < s->n_requests; i++)
        if (s->requests[i]->number == number && s->requests[i]->state != REQUEST_ENDED)
            return s->requests[i];
    return NULL;
}

static void finished_remember(struct scheduler *s, const char *id)
{
    snprintf(s->finished[s->n_finished++ % FINISHED_REMEMBERED], sizeof *s->finished, "%s", id);
    s->n_finished %= FINISHED_REMEMBERED;
}

static void warm_up_ended(struct scheduler *s, enum rpc_status status, const char *message)
{
    if (s->warm_up != WARM_UP_RUNNING)
        return;
    if (status == RPC_OK) {
        s->warm_up = WARM_UP_PASSED;
        return;
    }
    s->warm_up = WARM_UP_DUE;
    snprintf(s->warm_up_failure, sizeof s->warm_up_failure, "the warm-up generation failed: %s", message);
    log_line(LOG_WARNING, "%s", s->warm_up_failure);
}

/* Ends one output: its group, its drafts, its state. */
static void output_end(struct scheduler *s, struct request *request, enum rpc_status status, const char *message)
{
    const struct draft_source *drafts = &s->options.drafts;
    if (request->job)
        atomic_store(&request->job->abandoned, true);
    request->job = NULL;
    if (request->group)
        group_leave(request->group, request);
    if (request->draft)
        drafts->end(drafts->context, request->draft);
    request->draft = NULL;
    request_apply(request, REQUEST_END);
    report_end(request, status, message, s->now);
}

void request_end(struct scheduler *s, struct request *request, enum rpc_status status, const char *message)
{
    output_end(s, request, status, message);
    metrics_end(&s->metrics, request, status, s->now); /* a failure is the whole call's: the outputs below end by it */
    for (struct request *other; status != RPC_OK && (other = request_find(s, request->number));)
        output_end(s, other, status, message);
    if (request_find(s, request->number))
        return; /* other outputs of the call go on */
    stream_end(request, status, message);
    if (request->internal)
        warm_up_ended(s, status, message);
    else
        finished_remember(s, request->id);
}

void admission_sweep(struct scheduler *s)
{
    int kept = 0;
    for (int i = 0; i < s->n_requests; i++) {
        if (s->requests[i]->state == REQUEST_ENDED)
            request_free(s->requests[i]);
        else
            s->requests[kept++] = s->requests[i];
    }
    s->n_requests = kept;
}

/* Why a request cannot be taken: RPC_OK and no text when it can. */
static enum rpc_status arrival_check(const struct scheduler *s, const struct request *request, struct error *err)
{
    int outputs = 0;
    for (const struct request *output = request; output; output = output->next_output)
        outputs++;
    if (s->draining) {
        fail(err, "the service is stopping");
        return RPC_UNAVAILABLE;
    }
    for (int i = 0; i < s->n_requests && !request->internal; i++) {
        const struct request *other = s->requests[i];
        if (other->state != REQUEST_ENDED && !other->internal && strcmp(other->id, request->id) == 0) {
            fail(err, "request_id: a request \"%s\" is running; leave the field empty or choose another", request->id);
            return RPC_ALREADY_EXISTS;
        }
    }
    int waiting = admission_count(s, false);
    if (waiting + outputs > s->options.max_waiting && !request->internal) {
        fail(err,
             "no room for %d more: %d requests are waiting (--max-waiting %d), %d are running (--max-requests %d); try again later",
             outputs, waiting, s->options.max_waiting, admission_count(s, true), s->options.max_requests);
        return RPC_RESOURCE_EXHAUSTED;
    }
    return RPC_OK;
}

void admission_arrived(struct scheduler *s, struct request *request, struct preparation *job)
{
    struct error err;
    enum rpc_status status = arrival_check(s, request, &err);
    if (status != RPC_OK) {
        stream_end(request, status, err.text);
        metrics_end(&s->metrics, request, status, s->now);
    }
    for (struct request *next; request; request = next) {
        next = request->next_output;
        request->next_output = NULL;
        if (status != RPC_OK) {
            report_end(request, status, err.text, s->now);
            request_free(request);
            continue;
        }
        s->requests = mem_grow(s->requests, (size_t)s->n_requests + 1, sizeof(struct request *));
        s->requests[s->n_requests++] = request;
        request->job = job;
    }
    if (status == RPC_OK)
        s->options.hooks.prepare(s->options.hooks.context, job);
    else
        preparation_free(job);
}

/* Settles max_tokens against the context. */
static int answer_size(const struct scheduler *s, struct request *request, struct error *err)
{
    int prompt = request->prepared.prompt.n, context = s->options.max_positions, room = context - prompt;
    if (room < 1)
        return fail(err, "the prompt of %d tokens (%d of pictures) leaves no room for an answer in the context of %d positions",
                    prompt, request->prepared.image_tokens, context);
    if (request->max_tokens > room)
        return fail(err, "stopping.max_tokens: %d tokens after a prompt of %d do not fit the context of %d positions: at most %d",
                    request->max_tokens, prompt, context, room);
    if (request->max_tokens == 0)
        request->max_tokens = room < MAX_TOKENS_DEFAULT ? room : MAX_TOKENS_DEFAULT;
    if (request->min_tokens > request->max_tokens)
        return fail(err, "stopping.min_tokens: %d is above the %d tokens that the answer may have (stopping.max_tokens)",
                    request->min_tokens, request->max_tokens);
    return 0;
}

static void prepared_take(struct scheduler *s, struct request *request, const struct preparation *job, double now)
{
    struct error err;
    request->job = NULL;
    prepared_copy(&request->prepared, &job->prepared);
    if (answer_size(s, request, &err) != 0) {
        request_end(s, request, RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    request->tokens = mem_new((size_t)request->max_tokens, sizeof *request->tokens);
    request->queued = now;
    request_apply(request, REQUEST_PREPARED);
    if (request->output == 0)
        stream_prompt(request);
}

void admission_prepared(struct scheduler *s, struct preparation *job, double now)
{
    for (int i = 0; i < s->n_requests; i++) {
        struct request *request = s->requests[i];
        if (request->number != job->number || request->state == REQUEST_ENDED)
            continue;
        if (job->status != RPC_OK)
            request_end(s, request, job->status, job->error.text);
        else
            prepared_take(s, request, job, now);
    }
    preparation_free(job);
}

void admission_closed(struct scheduler *s, uint64_t number, double now)
{
    struct request *request = request_find(s, number);
    if (!request)
        return;
    if (now >= request->deadline)
        request_end(s, request, RPC_DEADLINE_EXCEEDED, "the deadline has passed");
    else
        request_end(s, request, RPC_CANCELLED, "the client has cancelled");
}

static void page_keys(const struct scheduler *s, struct request *request, const struct group *group)
{
    if (s->options.prefix_cache)
        prefix_keys(request, group->hello.page_positions, &s->page_secret);
}

/* What a group that has taken no steps is measured by: another one's pace, or NULL. */
static const struct pace *pace_known(const struct scheduler *s)
{
    for (int i = 0; i < s->n_groups; i++)
        if (s->groups[i]->attached && placement_knows(&s->groups[i]->pace))
            return &s->groups[i]->pace;
    return NULL;
}

/* Of the attached groups that admit the request the one that it burdens least; *largest: positions that the largest could ever
 * hold. */
static struct group *group_choose(const struct scheduler *s, struct request *request, int64_t *largest)
{
    struct group *best = NULL;
    double least = 0;
    *largest = 0;
    for (int i = 0; i < s->n_groups; i++) {
        struct group *group = s->groups[i];
        if (!group->attached)
            continue;
        *largest = group_most(group) > *largest ? group_most(group) : *largest;
        page_keys(s, request, group);
        if (!paging_admits(group, s->requests, s->n_requests, request))
            continue;
        double burden = placement_burden(group, pace_known(s), s->requests, s->n_requests, request);
        if (best && burden >= least)
            continue;
        best = group;
        least = burden;
    }
    return best;
}

static void request_place(struct scheduler *s, struct request *request, struct group *group, double now)
{
    page_keys(s, request, group);
    group_enter(group, request, ++s->last_sequence);
    request_apply(request, REQUEST_PLACED);
    if (!request->placed)
        request->placed = now;
}

void admission_place(struct scheduler *s, double now)
{
    int running = admission_count(s, true);
    for (int i = 0; i < s->n_requests && stepping_attached(s) > 0; i++) {
        struct request *request = s->requests[i];
        if (request->state != REQUEST_QUEUED)
            continue;
        if (running >= s->options.max_requests && !request->internal)
            break;
        int64_t largest;
        int positions = request_positions(request);
        struct group *group = group_choose(s, request, &largest);
        if (group) {
            request_place(s, request, group, now);
            running += !request->internal;
        } else if (positions > largest) {
            char text[256];
            snprintf(text, sizeof text,
                     "prompt of %d and answer of up to %d tokens need %d positions; the largest worker group holds %lld "
                     "(--kv-positions)",
                     request->prepared.prompt.n, request->max_tokens, positions, (long long)largest);
            request_end(s, request, RPC_RESOURCE_EXHAUSTED, text);
        } else {
            break; /* first come, first served: a smaller request behind must not overtake */
        }
    }
}

/* Whether a request waited for any group at all for too long. */
static bool waits_in_vain(const struct scheduler *s, const struct request *request, double now)
{
    if (request->state != REQUEST_QUEUED || !s->no_group_since)
        return false;
    double since = request->queued > s->no_group_since ? request->queued : s->no_group_since;
    return now - since > s->options.group_wait_seconds;
}

/* Whether a request waited for its first place for too long; what had one may wait for another as long as it takes. */
static bool waits_too_long(const struct scheduler *s, const struct request *request, double now)
{
    return !request->internal && !request->placed && now - request->arrived > s->options.wait_seconds;
}

void admission_timeouts(struct scheduler *s, double now)
{
    for (int i = 0; i < s->n_requests; i++) {
        struct request *request = s->requests[i];
        if (request->state == REQUEST_ENDED)
            continue;
        char text[128];
        if (now >= request->deadline) {
            request_end(s, request, RPC_DEADLINE_EXCEEDED, "the deadline has passed");
        } else if (waits_in_vain(s, request, now)) {
            snprintf(text, sizeof text, "no worker group attached for %g s (--group-wait-seconds)", s->options.group_wait_seconds);
            request_end(s, request, RPC_UNAVAILABLE, text);
        } else if (waits_too_long(s, request, now)) {
            snprintf(text, sizeof text, "no place for it within %g s (--max-wait-seconds); try again later",
                     s->options.wait_seconds);
            request_end(s, request, RPC_RESOURCE_EXHAUSTED, text);
        } else if (stream_is_behind(request)) {
            snprintf(text, sizeof text, "the client reads too slowly: more than %d bytes wait for it", STREAM_BACKLOG);
            request_end(s, request, RPC_RESOURCE_EXHAUSTED, text);
        }
    }
}
