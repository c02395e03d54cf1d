/* load.c - the loop: send what is due, read what is ready, wait for either (proto/flight.h) */
#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/flight.h"
#include "proto/generate.h"

#define LOOK_SECONDS 0.05 /* how soon a signal is seen */

struct load {
    const struct load_plan *plan;
    struct load_record *records; /* (count) */
    struct flight *flight;
    double *due; /* (count) of the open loop, or NULL */
    double begin;
    int sent, over, most_open;
};

/* ---- one request ---- */

static void tokens_note(struct load_record *record, int n, double now)
{
    if (record->tokens) {
        if ((record->n_gaps & (record->n_gaps - 1)) == 0) /* full: 0, 1, 2, 4, ... */
            record->gaps = mem_grow(record->gaps, record->n_gaps ? 2 * (size_t)record->n_gaps : 1, sizeof *record->gaps);
        record->gaps[record->n_gaps++] = now - record->last;
    } else {
        record->first = now;
    }
    record->last = now;
    record->tokens += n;
}

static void finished_note(struct load_record *record, const struct generate_response *response)
{
    const struct generate_speculation *s = &response->speculation;
    record->acceptance = (struct acceptance){.steps = s->steps, .drafted = s->drafted, .accepted = s->accepted};
    memcpy(record->acceptance.accepted_per_position, s->accepted_per_position, sizeof s->accepted_per_position);
}

static int message_note(struct load_record *record, const struct rpc_bytes *message, double now, struct error *err)
{
    struct generate_response response;
    if (generate_response_unpack(&response, message->data, message->size, err))
        return -1;
    if (response.event == GENERATE_PROMPT)
        record->prompt_tokens = response.usage.prompt_tokens;
    else if (response.event == GENERATE_FINISHED)
        finished_note(record, &response);
    else if (response.n_ids)
        tokens_note(record, response.n_ids, now);
    generate_response_free(&response);
    return 0;
}

static void record_end(struct load *load, struct load_record *record, enum rpc_status status, const char *words)
{
    record->ended = clock_seconds();
    record->status = status;
    snprintf(record->words, sizeof record->words, "%s", words);
    load->over++;
}

static void event_note(struct load *load, struct flight_event *event)
{
    struct error err;
    if (event->over) {
        record_end(load, event->user, event->status, event->words.text);
    } else if (message_note(event->user, &event->message, clock_seconds(), &err)) {
        flight_drop(load->flight, event->call);
        record_end(load, event->user, RPC_DATA_LOSS, err.text);
    }
    free(event->message.data);
}

static void request_send(struct load *load, int i, double scheduled)
{
    const struct load_plan *plan = load->plan;
    const struct rpc_bytes *input = &plan->inputs[load_choice(plan->seed, i, plan->n_inputs)];
    struct load_record *record = &load->records[i];
    struct error err;
    record->scheduled = scheduled;
    record->sent = clock_seconds();
    if (flight_send(load->flight, GENERATE_PATH, input, plan->timeout, record, &err))
        record_end(load, record, RPC_RESOURCE_EXHAUSTED, err.text); /* larger than a message may be */
    int open = flight_under_way(load->flight);
    load->most_open = open > load->most_open ? open : load->most_open;
}

/* ---- the loop ---- */

/* Sends what is due; returns the seconds until the next is. */
static double requests_send(struct load *load)
{
    const struct load_plan *plan = load->plan;
    while (load->sent < plan->count) {
        double now = clock_seconds(), due = load->due ? load->begin + load->due[load->sent] : now;
        if (load->due && due > now)
            return due - now < LOOK_SECONDS ? due - now : LOOK_SECONDS;
        if (!load->due && flight_under_way(load->flight) >= plan->concurrency)
            return LOOK_SECONDS;
        request_send(load, load->sent++, due);
    }
    return LOOK_SECONDS;
}

static int load_loop(struct load *load)
{
    struct flight_event event;
    while (load->over < load->plan->count) {
        double wait = requests_send(load);
        if (signals_pending())
            return 1;
        for (bool some = flight_next(load->flight, wait, &event); some; some = flight_next(load->flight, 0, &event)) {
            event_note(load, &event);
            requests_send(load);
        }
    }
    return 0;
}

int load_run(struct load_record *records, int *most_open, const struct load_plan *plan, struct error *err)
{
    struct load load = {.plan = plan, .records = records};
    if (plan->rate > 0) {
        load.due = mem_new((size_t)plan->count, sizeof *load.due);
        load_arrivals(load.due, plan->count, plan->rate, plan->seed);
    }
    int result = flight_open(&load.flight, plan->address, plan->security, err);
    load.begin = clock_seconds();
    if (!result)
        result = load_loop(&load);
    flight_close(load.flight);
    *most_open = load.most_open;
    free(load.due);
    return result;
}
