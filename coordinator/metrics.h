/* metrics.h - what the service counts. One struct, which the scheduler's thread owns: counting is a plain increment, and everybody
 * else sees a copy that this thread made (scheduler_metrics).
 *
 * To add a metric: a field here, a row in metrics_table.c, a line in docs/operations.md (a test compares the two), and the
 * increment where it happens. */
#ifndef COORDINATOR_METRICS_H
#define COORDINATOR_METRICS_H

#include <stdbool.h>

#include "coordinator/group.h"
#include "coordinator/progress.h"

enum {
    METRICS_BOUNDS = 28,              /* the most that a scale has */
    METRICS_GROUPS = ACTIVITY_GROUPS, /* worker groups with lines of their own; more than `massv up` starts */
    METRICS_STATUSES = 17             /* gRPC codes */
};

/* Upper bounds of a histogram's buckets, rising. */
struct scale {
    int n;
    double bounds[METRICS_BOUNDS];
};

struct histogram {
    const struct scale *scale;
    uint64_t counts[METRICS_BOUNDS + 1]; /* observations above the bound before and up to bound i; the last: above all bounds */
    double sum;
};

void histogram_add(struct histogram *histogram, double value);
uint64_t histogram_count(const struct histogram *histogram);

enum metrics_reason { REASON_STOP, REASON_LENGTH, METRICS_REASONS };

/* One place for a worker group. It keeps its counts when its group is lost, and another takes it. */
struct metrics_group {
    bool used; /* had a group ever */
    char host[64], device[96];
    int ranks;
    double attached; /* 1 or 0 */
    double running, kv_usage, kv_cached;
    struct histogram step, compute, rows;
};

struct metrics {
    /* Requests; the warm-up is none. */
    uint64_t prompt_tokens, image_tokens, generation_tokens;
    uint64_t prefix_queries, prefix_hits; /* prompt tokens of requests that began on a group, and those that it had already */
    uint64_t success[METRICS_REASONS], failure[METRICS_STATUSES];
    struct histogram first_token, inter_token, per_token, total, queue, picture, prefill, decode;
    /* Speculation: verification steps of requests, and rounds of those with a draft at least. */
    struct acceptance acceptance;
    uint64_t draft_rounds, draft_probes, draft_ahead_rows, drafter_faults, drafter_refusals;
    uint64_t drafter_prefix_queries, drafter_prefix_hits; /* rows of prompts that the drafter began; those that it had already */
    /* Worker groups. */
    uint64_t groups_lost, requests_replayed;
    uint64_t preemptions; /* requests taken off a group because older ones wanted their pages */
    struct metrics_group groups[METRICS_GROUPS];
    /* The present state: filled in for the copy. */
    double running, waiting, kv_usage, kv_cached, groups_attached;
};

void metrics_init(struct metrics *metrics);

/* The first rows of a request are on the way to a group: counts the pages' tokens that it needs no rows for. */
void metrics_begin(struct metrics *metrics, const struct request *request);
/* New tokens of a request have come from a span; the request has them already. */
void metrics_progress(struct metrics *metrics, const struct request *request, const struct flight_span *span,
                      const struct progress *progress, double now);
/* A request has ended; refused ones, too. */
void metrics_end(struct metrics *metrics, const struct request *request, enum rpc_status status, double now);

/* A group has attached: its place, or -1 when all are taken. And it was lost. */
int metrics_attach(struct metrics *metrics, const struct step_hello *hello);
void metrics_detach(struct metrics *metrics, int place);
/* What GetServerInfo says of them; uptime is the caller's. */
void metrics_activity(const struct metrics *metrics, struct server_activity *activity);
/* Its step, still in flight, was answered. */
void metrics_step(struct metrics *metrics, const struct group *group, const struct step_verdict *verdict, double now);

#endif
