/* stage.c - the scheduler's surroundings, without processes, models or threads: target, drafter, clients and the program around;
 * the worker groups stand in stage_group.c */
#include "tests/coordinator/stage_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/shared_picture.h"

struct draft_sequence {
    const struct prompt *prompt;
    int n;    /* tokens that it has followed */
    int read; /* rows of the prompt */
};

/* ---- the target ---- */

int32_t stage_next(const int32_t *ids, int n)
{
    uint32_t sum = 17;
    for (int i = 0; i < n; i++)
        sum = sum * 31 + (uint32_t)ids[i] + 7;
    return (int32_t)((sum >> 8) % STAGE_VOCABULARY);
}

static int32_t prompt_id(const struct stage_question *question, int i)
{
    return (question->seed * 29 + i * 13) % STAGE_VOCABULARY;
}

void stage_expect(const struct stage_question *question, int32_t *answer, int n)
{
    int32_t ids[STAGE_TOKENS];
    for (int i = 0; i < question->prompt; i++)
        ids[i] = prompt_id(question, i);
    for (int i = 0; i < n; i++)
        answer[i] = ids[question->prompt + i] = stage_next(ids, question->prompt + i);
}

/* ---- the drafter ---- */

static struct draft_sequence *draft_begin(void *context, const struct prompt *prompt, const struct prepared_picture *pictures,
                                          int max_positions, struct error *err)
{
    struct stage *stage = context;
    (void)pictures;
    (void)max_positions;
    if (stage->draft_refuses) {
        fail(err, "the drafter's cache is full");
        return NULL;
    }
    struct draft_sequence *sequence = mem_new(1, sizeof *sequence);
    sequence->prompt = prompt;
    stage->draft_sequences++;
    return sequence;
}

static void draft_end(void *context, struct draft_sequence *sequence)
{
    struct stage *stage = context;
    stage->draft_sequences--;
    free(sequence);
}

static void draft_one(const struct stage *stage, struct proposal *p)
{
    int32_t ids[STAGE_TOKENS];
    int n = p->sequence->prompt->n + p->n_tokens;
    memcpy(ids, p->sequence->prompt->ids, (size_t)p->sequence->prompt->n * sizeof *ids);
    if (p->n_tokens) /* NULL before the answer begins */
        memcpy(ids + p->sequence->prompt->n, p->tokens, (size_t)p->n_tokens * sizeof *ids);
    for (p->n = 0; p->n < p->k; p->n++, n++) {
        ids[n] = stage_next(ids, n);
        if (p->n >= stage->right)
            ids[n] = (ids[n] + 1) % STAGE_VOCABULARY;
        p->drafts[p->n] = ids[n];
    }
}

static int draft_behind(void *context, const struct draft_sequence *sequence, int n_tokens)
{
    (void)context;
    return sequence->prompt->n - sequence->read + (sequence->n < n_tokens - 1 ? n_tokens - 1 - sequence->n : 0);
}

/* As much of the prompt as may be read; whether that is all. */
static bool draft_read(struct stage *stage, const struct proposal *proposal, int *prompt_rows)
{
    struct draft_sequence *sequence = proposal->sequence;
    int left = sequence->prompt->n - sequence->read, rows = left < *prompt_rows ? left : *prompt_rows;
    sequence->read += rows;
    *prompt_rows -= rows;
    *(proposal->n_tokens ? &stage->read_late : &stage->read_ahead) += rows;
    return rows == left;
}

static int draft_propose(void *context, struct proposal *proposals, int count, int prompt_rows)
{
    struct stage *stage = context;
    int rows = prompt_rows;
    for (int i = 0; i < count; i++) {
        int behind = draft_behind(context, proposals[i].sequence, proposals[i].n_tokens);
        bool whole = draft_read(stage, &proposals[i], &prompt_rows);
        proposals[i].failed = stage->draft_fails;
        if (!stage->draft_fails && whole)
            draft_one(stage, &proposals[i]);
        proposals[i].sequence->n = proposals[i].n_tokens;
        proposals[i].caught_up = behind - draft_behind(context, proposals[i].sequence, proposals[i].n_tokens);
        if (proposals[i].n > stage->most_drafts)
            stage->most_drafts = proposals[i].n;
    }
    return rows - prompt_rows;
}

/* ---- clients ---- */

static void delta_take(struct stage_client *client, const struct generate_response *response)
{
    char joined[4096] = "";
    assert_true(client->prompt_tokens > 0 && !client->finished);
    for (int i = 0; i < response->n_ids; i++) {
        client->accepted[client->n] = response->accepted[i];
        client->ids[client->n++] = response->ids[i];
        strcat(joined, response->token_texts[i]);
    }
    assert_string_equal(joined, response->text);
    strcat(client->text, response->text);
    snprintf(client->rejected, sizeof client->rejected, "%s", response->rejected_text);
    client->deltas++;
}

static void client_send(void *call, const struct generate_response *response)
{
    struct stage_client *first = call, *client = first + response->output;
    assert_true(first->drops < first->outputs && !client->ended && response->output < first->outputs);
    if (response->event == GENERATE_PROMPT) {
        assert_int_equal(first->prompt_tokens, 0); /* once for the call */
        for (int i = 0; i < first->outputs; i++)
            first[i].prompt_tokens = response->usage.prompt_tokens;
    } else if (response->event == GENERATE_TOKEN) {
        delta_take(client, response);
    } else {
        assert_false(client->finished);
        client->finished = true;
        snprintf(client->reason, sizeof client->reason, "%s", response->reason);
        snprintf(client->match, sizeof client->match, "%s", response->stop_match ? response->stop_match : "");
        snprintf(client->inactive, sizeof client->inactive, "%s", response->speculation.inactive);
        client->speculation = response->speculation;
        client->usage = response->usage;
        const struct generate_timing *t = &response->timing;
        assert_true(t->queue >= 0 && t->prefill >= 0 && t->decode >= 0 && t->first_token <= t->total);
    }
}

static size_t client_backlog(void *call)
{
    return ((struct stage_client *)call)->backlog;
}

static void client_finish(void *call, enum rpc_status status, const char *message)
{
    struct stage_client *client = call;
    assert_true(client->drops < client->outputs);
    if (client->ended)
        return; /* the first of several counts (rpc.h) */
    for (int i = 0; i < client->outputs; i++) {
        client[i].ended = true;
        client[i].status = status;
        snprintf(client[i].message, sizeof client[i].message, "%s", message);
    }
}

static void client_drop(void *call)
{
    struct stage_client *client = call;
    assert_true(client->drops++ < client->outputs);
    assert_true(client->ended || client->drops < client->outputs);
}

static const struct client_calls client_calls = {client_send, client_backlog, client_finish, client_drop};

/* ---- the program around ---- */

void stage_event(struct stage *stage, const struct event *event)
{
    struct event *copy = mem_new(1, sizeof *copy);
    *copy = *event;
    copy->at = stage->now;
    scheduler_handle(stage->scheduler, copy);
}

static void hook_prepare(void *context, struct preparation *job)
{
    struct stage *stage = context;
    job->next = stage->jobs;
    stage->jobs = job;
}

static struct request *hook_warm_up(void *context, struct preparation **job)
{
    struct stage *stage = context;
    struct request *request = mem_new(1, sizeof *request);
    *job = preparation_new();
    request->number = (*job)->number = 1000 + (uint64_t)stage->n_warm_ups++;
    (*job)->asked.n_ids = 5; /* tokens, as in stage_ask */
    request->max_tokens = 2;
    request->sampling.repetition_penalty = 1;
    request->arrived = stage->now;
    request->deadline = stage->now + 100;
    return request;
}

static void hook_health(void *context, const struct health_info *info, double now)
{
    struct stage *stage = context;
    assert_true(now == stage->now);
    stage->health = *info;
}

static void hook_group(void *context, const char *name, bool attached)
{
    struct stage *stage = context;
    snprintf(stage->group_told, sizeof stage->group_told, "%s %s", name, attached ? "attached" : "lost");
}

static void hook_drained(void *context)
{
    ((struct stage *)context)->drained++;
}

void stage_open(struct stage *stage, const struct scheduler_options *options)
{
    struct error err;
    *stage = (struct stage){.now = clock_seconds(), .right = 2};
    if (tokenizer_open(&stage->tokenizer, "tests/golden/qwen2-tiny", &err) != 0)
        fail_msg("%s", err.text);
    struct scheduler_options o = options ? *options : (struct scheduler_options){0};
    const struct kv_layout layout = o.identity.layout, one_kind = {.block_layers = 1, .blocks = {1, 0}};
    o.identity = (struct identity){"target", {1, 2}, STAGE_WIDTH, STAGE_VOCABULARY, layout.block_layers ? layout : one_kind};
    stage->layout = o.identity.layout;
    stage->layout.page_positions = STAGE_PAGE;
    o.max_requests = o.max_requests ? o.max_requests : 32;
    o.max_waiting = o.max_waiting ? o.max_waiting : 32;
    o.max_positions = o.max_positions ? o.max_positions : 512;
    o.wait_seconds = o.wait_seconds > 0 ? o.wait_seconds : 600;
    o.group_wait_seconds = o.group_wait_seconds > 0 ? o.group_wait_seconds : 60;
    o.step_seconds = o.step_seconds > 0 ? o.step_seconds : 10;
    o.stall_ms = o.stall_ms > 0 ? o.stall_ms : 50;
    o.message_limit = o.message_limit ? o.message_limit : 64 << 20;
    o.tokenizer = stage->tokenizer;
    o.drafts = (struct draft_source){stage, "text", draft_begin, draft_end, draft_behind, draft_propose};
    o.hooks = (struct scheduler_hooks){stage, hook_prepare, hook_warm_up, hook_health, hook_group, hook_drained};
    stage->scheduler = scheduler_new(&o);
}

void stage_close(struct stage *stage)
{
    scheduler_free(stage->scheduler);
    while (stage->jobs) { /* which its requests point into */
        struct preparation *job = stage->jobs;
        stage->jobs = job->next;
        preparation_free(job);
    }
    for (int i = 0; i < stage->n_clients; i++)
        assert_true(stage->clients[i].ended && stage->clients[i].drops == stage->clients[i].outputs);
    for (int i = 0; i < stage->n_groups; i++) {
        assert_true(stage->groups[i].dropped);
        stage_step_forget(&stage->groups[i]);
    }
    assert_int_equal(stage->draft_sequences, 0);
    tokenizer_close(stage->tokenizer);
}

static struct request *output_make(struct stage *stage, const struct stage_question *question, struct stage_client *client)
{
    struct request *request = mem_new(1, sizeof *request);
    request->number = client->number;
    snprintf(request->id, sizeof request->id, "%s", question->id ? question->id : "");
    if (!question->id)
        snprintf(request->id, sizeof request->id, "request-%d", (int)client->number);
    request->client = (struct client){.calls = &client_calls, .call = client};
    request->max_tokens = question->max_tokens;
    request->draft_tokens = question->k;
    request->sampling.repetition_penalty = 1;
    request->show_drafts = true;
    request->arrived = stage->now;
    request->deadline = stage->now + (question->seconds > 0 ? question->seconds : 1e6);
    request->stop_ids = mem_new(1, sizeof *request->stop_ids);
    request->stop_ids[0] = question->stop;
    request->n_stop_ids = question->stop != 0;
    request->min_tokens = question->min_tokens;
    if (question->stop_string)
        request->text.stops = stop_strings_new((char *[]){question->stop_string}, 1);
    return request;
}

struct stage_client *stage_ask(struct stage *stage, const struct stage_question *question)
{
    struct stage_client *client = &stage->clients[stage->n_clients];
    struct preparation *job = preparation_new();
    struct request *first = NULL;
    client->outputs = question->outputs ? question->outputs : 1;
    client->number = job->number = (uint64_t)stage->n_clients + 1;
    stage->n_clients += client->outputs;
    assert_true(stage->n_clients <= STAGE_CLIENTS);
    for (int i = client->outputs; i-- > 0;) {
        struct request *request = output_make(stage, question, client);
        request->output = i;
        request->next_output = first;
        first = request;
    }
    /* What the preparing thread of the stage makes a prompt of. */
    job->asked.n_ids = question->prompt;
    job->asked.max_tokens = question->seed;
    job->asked.n_stop_ids = question->picture;
    stage_event(stage, &(struct event){.kind = EVENT_ARRIVED, .request = first, .job = job});
    return client;
}

static void picture_put(const struct stage *stage, struct prepared *prepared, int tokens, int seed)
{
    struct prompt *prompt = &prepared->prompt;
    prompt->pictures_whole = stage->whole > 0;
    int first = prompt->n / 2 - tokens / 2;
    prompt->n_pictures = prepared->n_pictures = 1;
    prompt->pictures = mem_new(1, sizeof *prompt->pictures);
    prompt->pictures[0] = (struct prompt_picture){.first = first, .count = tokens, .lines = 1, .columns = tokens};
    for (int i = 0; i < tokens; i++) {
        prompt->positions[first + i][0] = first;
        prompt->positions[first + i][2] = 1000 + i; /* span_pictures_check knows rows by it */
    }
    prompt->next_position -= STAGE_LAG;
    prepared->pictures = mem_new(1, sizeof *prepared->pictures);
    const uint64_t hash[2] = {(uint64_t)(500 + seed), 0};
    struct shared_picture *shared = shared_picture_new(hash);
    shared->target = mem_new((size_t)tokens * STAGE_WIDTH, sizeof(float));
    prepared->image_tokens = tokens;
    prepared->pictures[0] = (struct prepared_picture){{hash[0], hash[1]}, tokens, shared->target, NULL, shared};
    for (int i = 0; i < tokens * STAGE_WIDTH; i++)
        prepared->pictures[0].target[i] = (float)i;
}

static void prompt_put(const struct stage *stage, struct preparation *job)
{
    const struct stage_question question = {.prompt = job->asked.n_ids, .seed = job->asked.max_tokens};
    struct prompt *prompt = &job->prepared.prompt;
    *prompt = (struct prompt){.n = question.prompt,
                              .ids = mem_new((size_t)question.prompt, sizeof *prompt->ids),
                              .positions = mem_new((size_t)question.prompt, sizeof *prompt->positions),
                              .next_position = question.prompt};
    for (int i = 0; i < question.prompt; i++) {
        prompt->ids[i] = prompt_id(&question, i);
        for (int axis = 0; axis < 3; axis++)
            prompt->positions[i][axis] = i;
    }
    if (job->asked.n_stop_ids)
        picture_put(stage, &job->prepared, job->asked.n_stop_ids, question.seed);
    job->asked.n_ids = job->asked.n_stop_ids = 0;
}

void stage_prepare(struct stage *stage, const char *fault)
{
    while (stage->jobs) {
        struct preparation **last = &stage->jobs;
        while ((*last)->next)
            last = &(*last)->next;
        struct preparation *job = *last;
        *last = NULL;
        job->status = fault ? RPC_INVALID_ARGUMENT : RPC_OK;
        if (fault)
            snprintf(job->error.text, sizeof job->error.text, "%s", fault);
        else
            prompt_put(stage, job);
        stage_event(stage, &(struct event){.kind = EVENT_PREPARED, .job = job});
    }
    stage_turn(stage, 0);
}

void stage_cancel(struct stage *stage, struct stage_client *client)
{
    stage_event(stage, &(struct event){.kind = EVENT_CLOSED, .number = client->number});
}

void stage_turn(struct stage *stage, double seconds)
{
    stage->now += seconds;
    scheduler_turn(stage->scheduler, stage->now);
}

int stage_run(struct stage *stage)
{
    int steps = 0;
    for (bool any = true; any;) {
        any = false;
        stage_prepare(stage, NULL);
        for (int i = 0; i < stage->n_groups; i++) {
            if (!stage->groups[i].step.id)
                continue;
            stage_answer(&stage->groups[i]);
            any = true;
            assert_true(++steps < 10000);
        }
    }
    return steps;
}

void stage_check_answer(const struct stage_client *client, const struct stage_question *question, int n)
{
    int32_t expected[STAGE_TOKENS];
    stage_expect(question, expected, n);
    assert_int_equal(client->n, n);
    assert_memory_equal(client->ids, expected, (size_t)n * sizeof *expected);
    assert_true(client->finished && client->ended);
    assert_int_equal(client->status, RPC_OK);
    assert_int_equal(client->usage.completion_tokens, n);
}
