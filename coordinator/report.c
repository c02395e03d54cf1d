/* report.c - ends of requests as log lines */
#include "coordinator/report.h"

#include <stdio.h>

#include "base/log.h"
#include "coordinator/stream.h"

enum { FIELDS = 24 };

struct report {
    struct log_field fields[FIELDS];
    int n;
};

static void add_text(struct report *report, const char *key, const char *text)
{
    if (text && *text)
        report->fields[report->n++] = (struct log_field){.key = key, .text = text};
}

static void add_number(struct report *report, const char *key, double number)
{
    report->fields[report->n++] = (struct log_field){.key = key, .number = number};
}

/* Microseconds are enough. */
static void add_ms(struct report *report, const char *key, double ms)
{
    add_number(report, key, (double)(long long)(ms * 1e3 + 0.5) / 1e3);
}

static void add_origin(struct report *report, const struct origin *origin)
{
    add_text(report, "peer", origin->peer);
    add_text(report, "trace_id", origin->trace.id);
    add_text(report, "span_id", origin->trace.span);
}

static void add_speculation(struct report *report, const struct request *request)
{
    const struct acceptance *a = &request->acceptance;
    add_number(report, "steps", (double)a->steps);
    if (request->draft_tokens) {
        add_number(report, "drafted", (double)a->drafted);
        add_number(report, "accepted", (double)a->accepted);
        add_number(report, "mean_acceptance_length", (double)(long long)(acceptance_mean_length(a) * 1e3 + 0.5) / 1e3);
    }
    add_text(report, "no_drafts_because", request->inactive);
}

static void add_timing(struct report *report, const struct request *request, double now)
{
    struct generate_timing timing = stream_timing(request, now);
    add_ms(report, "queue_ms", timing.queue);
    if (request->prepared.n_pictures)
        add_ms(report, "image_ms", timing.image);
    add_ms(report, "prefill_ms", timing.prefill);
    add_ms(report, "first_token_ms", timing.first_token);
    add_ms(report, "decode_ms", timing.decode);
    add_ms(report, "total_ms", timing.total);
}

static void message_put(enum log_level level, const struct report *report, enum rpc_status status, const char *message)
{
    char text[1200];
    snprintf(text, sizeof text, status == RPC_OK ? "request answered" : "request failed: %s", message);
    log_event(level, report->fields, report->n, text);
}

void report_end(const struct request *request, enum rpc_status status, const char *message, double now)
{
    struct report report = {.n = 0};
    add_text(&report, "request_id", request->id);
    if (request->output)
        add_number(&report, "output", request->output);
    add_origin(&report, &request->client.origin);
    add_text(&report, "status", rpc_status_name(status));
    add_text(&report, "reason", request->reason);
    add_number(&report, "prompt_tokens", request->prepared.prompt.n);
    if (request->prepared.n_pictures)
        add_number(&report, "image_tokens", request->prepared.image_tokens);
    if (request->page_positions)
        add_number(&report, "cached_tokens", request->cached_tokens);
    add_number(&report, "completion_tokens", request->n_tokens);
    add_speculation(&report, request);
    add_timing(&report, request, now);
    message_put(request->internal ? LOG_DEBUG : LOG_INFO, &report, status, message);
}

void report_refusal(const struct origin *origin, const char *id, enum rpc_status status, const char *message)
{
    struct report report = {.n = 0};
    add_text(&report, "request_id", id);
    add_origin(&report, origin);
    add_text(&report, "status", rpc_status_name(status));
    message_put(LOG_INFO, &report, status, message);
}
