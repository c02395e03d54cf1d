/* load.c - the loop: send what is due, read what is ready, wait for either */
#include "cli/load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/signals.h"
#include "proto/generate.h"
#include "proto/rpc_flags.h"

enum { CHANNELS = 4 };    /* connections that the streams share: one alone would have them queue behind its window */
#define LOOK_SECONDS 0.05 /* how soon a signal is seen */

struct slot { /* a request that is under way */
    struct load *load;
    struct load_record *record;
    struct rpc_stream *stream;
    bool ready;
    struct slot *next; /* in the queue of those that are ready */
};

struct load {
    const struct load_plan *plan;
    struct rpc_channel *channels[CHANNELS];
    struct slot *slots; /* (count) */
    double *due;        /* (count) of the open loop, or NULL */
    double begin;
    int sent, open, over, most_open;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    struct slot *first, *last; /* that are ready, in order */
};

/* ---- what is ready ---- */

/* On gRPC's thread. */
static void slot_ready(void *user)
{
    struct slot *slot = user;
    struct load *load = slot->load;
    pthread_mutex_lock(&load->mutex);
    if (!slot->ready) {
        slot->ready = true;
        slot->next = NULL;
        *(load->first ? &load->last->next : &load->first) = slot;
        load->last = slot;
        pthread_cond_signal(&load->changed);
    }
    pthread_mutex_unlock(&load->mutex);
}

static struct slot *ready_take(struct load *load)
{
    pthread_mutex_lock(&load->mutex);
    struct slot *slot = load->first;
    if (slot) {
        load->first = slot->next;
        slot->ready = false;
    }
    pthread_mutex_unlock(&load->mutex);
    return slot;
}

static void ready_wait(struct load *load, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(1e9 * seconds);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&load->mutex);
    if (!load->first)
        pthread_cond_timedwait(&load->changed, &load->mutex, &until);
    pthread_mutex_unlock(&load->mutex);
}

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

static void slot_end(struct slot *slot, enum rpc_status status, const char *words)
{
    struct load *load = slot->load;
    slot->record->ended = clock_seconds();
    slot->record->status = status;
    snprintf(slot->record->words, sizeof slot->record->words, "%s", words);
    rpc_stream_close(slot->stream);
    slot->stream = NULL;
    load->open--;
    load->over++;
}

/* Takes all that has come. A slot may be told ready once more than there is something to read. */
static void slot_read(struct slot *slot)
{
    struct error err = {{0}};
    enum rpc_status status = RPC_OK;
    while (slot->stream) {
        struct rpc_bytes message;
        int got = rpc_stream_read(slot->stream, 0, &message, &status, &err);
        if (got == -2)
            return;
        int broken = got == 1 && message_note(slot->record, &message, clock_seconds(), &err);
        free(message.data);
        if (broken)
            slot_end(slot, RPC_DATA_LOSS, err.text);
        else if (got != 1)
            slot_end(slot, status, err.text);
    }
}

static void request_send(struct load *load, int i, double scheduled)
{
    const struct load_plan *plan = load->plan;
    const struct rpc_bytes *input = &plan->inputs[load_choice(plan->seed, i, plan->n_inputs)];
    struct slot *slot = &load->slots[i];
    struct error err;
    load->open++;
    load->most_open = load->open > load->most_open ? load->open : load->most_open;
    slot->record->scheduled = scheduled;
    slot->record->sent = clock_seconds();
    if (rpc_stream_open(&slot->stream, load->channels[i % CHANNELS], GENERATE_PATH, input->data, input->size, plan->timeout, &err))
        slot_end(slot, RPC_RESOURCE_EXHAUSTED, err.text); /* larger than a message may be */
    else
        rpc_stream_watch(slot->stream, slot_ready, slot);
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
        if (!load->due && load->open >= plan->concurrency)
            return LOOK_SECONDS;
        request_send(load, load->sent++, due);
    }
    return LOOK_SECONDS;
}

static int load_loop(struct load *load)
{
    while (load->over < load->plan->count) {
        double wait = requests_send(load);
        if (signals_pending())
            return 1;
        ready_wait(load, wait);
        for (struct slot *slot; (slot = ready_take(load));) {
            slot_read(slot);
            requests_send(load);
        }
    }
    return 0;
}

static int channels_open(struct load *load, struct error *err)
{
    for (int i = 0; i < CHANNELS; i++)
        if (rpc_channel_open_with(&load->channels[i], load->plan->address, load->plan->security, err))
            return -1;
    return 0;
}

static void load_init(struct load *load, struct load_record *records, const struct load_plan *plan)
{
    pthread_condattr_t attributes;
    *load = (struct load){.plan = plan, .slots = mem_new((size_t)plan->count, sizeof *load->slots)};
    pthread_mutex_init(&load->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&load->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = 0; i < plan->count; i++)
        load->slots[i] = (struct slot){.load = load, .record = &records[i]};
    if (plan->rate > 0) {
        load->due = mem_new((size_t)plan->count, sizeof *load->due);
        load_arrivals(load->due, plan->count, plan->rate, plan->seed);
    }
}

int load_run(struct load_record *records, int *most_open, const struct load_plan *plan, struct error *err)
{
    struct load load;
    load_init(&load, records, plan);
    int result = channels_open(&load, err);
    load.begin = clock_seconds();
    if (!result)
        result = load_loop(&load);
    for (int i = 0; i < load.sent; i++)
        rpc_stream_close(load.slots[i].stream);
    for (int i = 0; i < CHANNELS; i++)
        rpc_channel_close(load.channels[i]);
    *most_open = load.most_open;
    pthread_cond_destroy(&load.changed);
    pthread_mutex_destroy(&load.mutex);
    free(load.slots);
    free(load.due);
    return result;
}
