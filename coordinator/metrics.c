/* metrics.c - counting */
#include "coordinator/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/metrics_table.h"
#include "coordinator/stream.h"

void histogram_add(struct histogram *histogram, double value)
{
    const struct scale *scale = histogram->scale;
    int i = 0;
    while (i < scale->n && value > scale->bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += value;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;
    for (int i = 0; i <= histogram->scale->n; i++)
        count += histogram->counts[i];
    return count;
}

static void histogram_init(void *base, const struct metric *metric)
{
    if (metric->type == METRIC_HISTOGRAM)
        ((struct histogram *)(void *)((char *)base + metric->offset))->scale = metric->scale;
}

void metrics_init(struct metrics *metrics)
{
    *metrics = (struct metrics){0};
    for (const struct metric *metric = metric_table; metric->name; metric++)
        histogram_init(metrics, metric);
    for (int i = 0; i < METRICS_GROUPS; i++)
        for (const struct metric *metric = metric_group_table; metric->name; metric++)
            histogram_init(&metrics->groups[i], metric);
}

void metrics_begin(struct metrics *metrics, const struct request *request)
{
    if (request->internal || !request->page_positions)
        return;
    metrics->prefix_queries += (uint64_t)request->prepared.prompt.n;
    metrics->prefix_hits += (uint64_t)(request->adopted * request->page_positions);
}

void metrics_progress(struct metrics *metrics, const struct request *request, const struct flight_span *span,
                      const struct progress *progress, double now)
{
    if (request->internal)
        return;
    if (span->kind == SPAN_VERIFY) {
        acceptance_step(&metrics->acceptance, span->drafts, progress->accepted);
        metrics->draft_rounds += span->drafts > 0;
    }
    if (!progress->n)
        return;
    metrics->generation_tokens += (uint64_t)progress->n;
    if (request->first_token) {
        histogram_add(&metrics->inter_token, now - request->last_token);
        return;
    }
    metrics->prompt_tokens += (uint64_t)request->prepared.prompt.n;
    metrics->image_tokens += (uint64_t)request->prepared.image_tokens;
    histogram_add(&metrics->first_token, now - request->arrived);
}

static void success(struct metrics *metrics, const struct request *request, double now)
{
    const double s = 1e-3; /* from ms */
    struct generate_timing timing = stream_timing(request, now);
    int reason = 0;
    while (reason < METRICS_REASONS && strcmp(metric_reasons[reason], request->reason) != 0)
        reason++;
    assert(reason < METRICS_REASONS);
    metrics->success[reason]++;
    histogram_add(&metrics->total, timing.total * s);
    histogram_add(&metrics->queue, timing.queue * s);
    histogram_add(&metrics->prefill, timing.prefill * s);
    histogram_add(&metrics->decode, timing.decode * s);
    if (request->prepared.n_pictures)
        histogram_add(&metrics->picture, timing.image * s);
    if (request->n_tokens > 1)
        histogram_add(&metrics->per_token, timing.decode * s / (request->n_tokens - 1));
}

void metrics_end(struct metrics *metrics, const struct request *request, enum rpc_status status, double now)
{
    if (request->internal)
        return;
    if (status == RPC_OK)
        success(metrics, request, now);
    else
        metrics->failure[status]++;
}

/* ---- worker groups ---- */

int metrics_attach(struct metrics *metrics, const struct step_hello *hello)
{
    for (int i = 0; i < METRICS_GROUPS; i++) {
        struct metrics_group *place = &metrics->groups[i];
        if (place->attached > 0)
            continue;
        place->used = true;
        place->attached = 1;
        place->ranks = hello->ranks;
        snprintf(place->host, sizeof place->host, "%s", hello->host);
        snprintf(place->device, sizeof place->device, "%s", hello->device);
        return i;
    }
    return -1;
}

void metrics_detach(struct metrics *metrics, int place)
{
    metrics->groups_lost++;
    if (place >= 0)
        metrics->groups[place].attached = 0;
}

void metrics_step(struct metrics *metrics, const struct group *group, const struct step_verdict *verdict, double now)
{
    if (group->place < 0)
        return;
    struct metrics_group *place = &metrics->groups[group->place];
    double rows = 0;
    for (int i = 0; i < group->flight.n_spans; i++)
        rows += group->flight.spans[i].rows;
    if (rows <= 0) /* it only let sequences go */
        return;
    histogram_add(&place->step, now - group->flight.since);
    histogram_add(&place->compute, verdict->compute_ms * 1e-3);
    histogram_add(&place->rows, rows);
}
