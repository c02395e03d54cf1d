/* metrics_table.c - the metrics. Names are those that dashboards of this field know (vLLM's), where it has the thing. */
#include "coordinator/metrics_table.h"

/* Seconds. vLLM's bounds, and finer ones below them: small models answer in a few milliseconds. */
static const struct scale first_token_scale = {
    24, {.001, .0025, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 320, 640, 2560}};
static const struct scale token_scale = {
    22, {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}};
static const struct scale request_scale = {28, {.001, .005, .01, .025, .05, .1, .2, .3, .5, .8,  1,   1.5, 2,   2.5,
                                                5,    10,   15,  20,   30,  40, 50, 60, 90, 120, 240, 480, 960, 1920}};
static const struct scale step_scale = {17, {.0005, .001, .0025, .005, .01, .025, .05, .075, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}};
static const struct scale rows_scale = {13, {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}};

const char *const metric_reasons[METRICS_REASONS] = {[REASON_STOP] = "stop", [REASON_LENGTH] = "length"};

static const char *const statuses[METRICS_STATUSES] = {
    NULL, /* OK */
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

#define AT(field) .offset = offsetof(struct metrics, field)
#define COUNTER(name, field, help)                                                                                                 \
    {                                                                                                                              \
        name, METRIC_COUNTER, help, AT(field)                                                                                      \
    }
#define GAUGE(name, field, help)                                                                                                   \
    {                                                                                                                              \
        name, METRIC_GAUGE, help, AT(field)                                                                                        \
    }
#define HISTOGRAM(name, field, by, help)                                                                                           \
    {                                                                                                                              \
        name, METRIC_HISTOGRAM, help, AT(field), .scale = &by                                                                      \
    }

const struct metric metric_table[] = {
    GAUGE("num_requests_running", running, "Requests that worker groups work on."),
    GAUGE("num_requests_waiting", waiting, "Requests that are being prepared or wait for a place."),
    GAUGE("kv_cache_usage_perc", kv_usage, "Share of the key/value pages of all groups that requests hold, 0 to 1."),
    GAUGE("kv_cache_cached_perc", kv_cached, "Share that no request holds, but that is kept for prompts to come, 0 to 1."),
    COUNTER("prefix_cache_queries_total", prefix_queries, "Prompt tokens of requests that began on a group, replayed ones again."),
    COUNTER("prefix_cache_hits_total", prefix_hits, "Those of them that the group had from earlier prompts: not computed again."),
    COUNTER("prompt_tokens_total", prompt_tokens, "Prompt tokens of requests that got a first token, those of pictures included."),
    COUNTER("prompt_image_tokens_total", image_tokens, "Picture tokens among them."),
    COUNTER("generation_tokens_total", generation_tokens, "Tokens that requests were answered with."),
    {"request_success_total", METRIC_COUNTER, "Requests that were answered to their end, by what ended them.", AT(success),
     .label = "finished_reason", .names = metric_reasons, .n = METRICS_REASONS},
    {"request_failure_total", METRIC_COUNTER, "Requests that were refused or broken off, by gRPC status.", AT(failure),
     .label = "status", .names = statuses, .n = METRICS_STATUSES},
    HISTOGRAM("time_to_first_token_seconds", first_token, first_token_scale, "From a request's arrival to its first token."),
    HISTOGRAM("inter_token_latency_seconds", inter_token, token_scale,
              "Between two messages with tokens to one client; with speculation one message has several tokens."),
    HISTOGRAM("request_time_per_output_token_seconds", per_token, token_scale, "Mean time per token after the first, per request."),
    HISTOGRAM("e2e_request_latency_seconds", total, request_scale, "From arrival to the last message, of answered requests."),
    HISTOGRAM("request_queue_time_seconds", queue, request_scale, "From arrival to a place on a group, without pictures' time."),
    HISTOGRAM("request_picture_time_seconds", picture, request_scale, "Decoding pictures and running the vision tower."),
    HISTOGRAM("request_prefill_time_seconds", prefill, request_scale, "From a place on a group to the first token."),
    HISTOGRAM("request_decode_time_seconds", decode, request_scale, "From the first token to the last."),
    COUNTER("verification_steps_total", acceptance.steps, "Steps of requests after their first token, with drafts or without."),
    COUNTER("spec_decode_num_drafts_total", draft_rounds, "Those steps that had a draft at least."),
    COUNTER("spec_decode_num_draft_tokens_total", acceptance.drafted, "Draft tokens that were verified."),
    COUNTER("spec_decode_num_accepted_tokens_total", acceptance.accepted, "Draft tokens that were accepted."),
    {"spec_decode_num_accepted_tokens_per_pos_total", METRIC_COUNTER, "Steps that accepted the draft at this position.",
     AT(acceptance.accepted_per_position), .label = "position", .n = ACCEPTANCE_POSITIONS},
    COUNTER("draft_ahead_rows_total", draft_ahead_rows, "Rows of prompts that the drafter read while the target worked."),
    COUNTER("drafter_prefix_cache_queries_total", drafter_prefix_queries, "Rows of prompts that the drafter began to read."),
    COUNTER("drafter_prefix_cache_hits_total", drafter_prefix_hits, "Those of them that it had from earlier prompts."),
    COUNTER("draft_probes_total", draft_probes, "Those that drafted only to learn whether drafts pay (--draft-tokens auto)."),
    COUNTER("drafter_faults_total", drafter_faults, "Requests that lost their drafts to a fault of the drafter, and went on."),
    COUNTER("drafter_refusals_total", drafter_refusals,
            "Times that a request had no drafts because the drafter had no room for it."),
    GAUGE("worker_groups", groups_attached, "Worker groups that are attached."),
    COUNTER("worker_groups_lost_total", groups_lost, "Worker groups that were attached and are gone."),
    COUNTER("requests_replayed_total", requests_replayed, "Requests that were on a lost group and waited for another."),
    COUNTER("num_preemptions_total", preemptions, "Requests that were taken off a group because older ones wanted their pages."),
    {0},
};

#undef AT
#define AT(field) .offset = offsetof(struct metrics_group, field)

const struct metric metric_group_table[] = {
    GAUGE("group_num_requests_running", running, "Requests that this group works on."),
    GAUGE("group_kv_cache_usage_perc", kv_usage, "Share of this group's key/value pages that requests hold, 0 to 1."),
    GAUGE("group_kv_cache_cached_perc", kv_cached, "Share that no request holds, but that is kept for prompts to come, 0 to 1."),
    HISTOGRAM("group_step_seconds", step, step_scale, "From sending a step to its verdict, the network included."),
    HISTOGRAM("group_compute_seconds", compute, step_scale, "Of that, what the group itself measured."),
    HISTOGRAM("group_step_rows", rows, rows_scale, "Rows of a step: prompt, replayed, verified and draft tokens."),
    {0},
};
