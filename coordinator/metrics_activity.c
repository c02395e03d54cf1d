/* metrics_activity.c - the metrics as gRPC hands them out */
#include <stdio.h>

#include "coordinator/metrics.h"

static uint64_t sum_of(const uint64_t *counts, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

static void group_activity(const struct metrics_group *from, int place, struct group_activity *group)
{
    *group = (struct group_activity){.group = place,
                                     .ranks = from->ranks,
                                     .running = (int)from->running,
                                     .attached = from->attached > 0,
                                     .steps = histogram_count(&from->step),
                                     .kv_usage = from->kv_usage,
                                     .step_seconds = from->step.sum,
                                     .compute_seconds = from->compute.sum};
    snprintf(group->host, sizeof group->host, "%s", from->host);
    snprintf(group->device, sizeof group->device, "%s", from->device);
}

void metrics_activity(const struct metrics *metrics, struct server_activity *activity)
{
    *activity = (struct server_activity){.uptime = activity->uptime,
                                         .kv_usage = metrics->kv_usage,
                                         .kv_cached = metrics->kv_cached,
                                         .prefix_queries = metrics->prefix_queries,
                                         .prefix_hits = metrics->prefix_hits,
                                         .prompt_tokens = metrics->prompt_tokens,
                                         .generation_tokens = metrics->generation_tokens,
                                         .answered = sum_of(metrics->success, METRICS_REASONS),
                                         .failed = sum_of(metrics->failure, METRICS_STATUSES),
                                         .draft_rounds = metrics->draft_rounds,
                                         .drafted = metrics->acceptance.drafted,
                                         .accepted = metrics->acceptance.accepted};
    while (activity->n_groups < METRICS_GROUPS && metrics->groups[activity->n_groups].used) {
        group_activity(&metrics->groups[activity->n_groups], activity->n_groups, &activity->groups[activity->n_groups]);
        activity->n_groups++;
    }
}
