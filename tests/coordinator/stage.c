/* stage.c - the scheduler's surroundings, without processes, models or threads */
#include "tests/coordinator/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "coordinator/shared_picture.h"

struct draft_sequence {
    const struct prompt *prompt;
    int n; /* tokens that it has followed */
};

/* ---- the target ---- */

static int32_t target_next(const int32_t *ids, int n)
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
        answer[i] = ids[question->prompt + i] = target_next(ids, question->prompt + i);
}

/* ---- the drafter ---- */

static struct draft_sequence *draft_begin(void *context, const struct prompt *prompt, float *const *features, int max_positions,
                                          struct error *err)
{
    struct stage *stage = context;
    (void)features;
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
    memcpy(ids + p->sequence->prompt->n, p->tokens, (size_t)p->n_tokens * sizeof *ids);
    for (p->n = 0; p->n < p->k; p->n++, n++) {
        ids[n] = target_next(ids, n);
        if (p->n >= stage->right)
            ids[n] = (ids[n] + 1) % STAGE_VOCABULARY;
        p->drafts[p->n] = ids[n];
    }
}

static int draft_behind(void *context, const struct draft_sequence *sequence, int n_tokens)
{
    (void)context;
    return sequence->n < n_tokens - 1 ? n_tokens - 1 - sequence->n : 0;
}

static int draft_propose(void *context, struct proposal *proposals, int count, int prompt_rows)
{
    struct stage *stage = context;
    (void)prompt_rows;
    for (int i = 0; i < count; i++) {
        proposals[i].failed = stage->draft_fails;
        if (!stage->draft_fails)
            draft_one(stage, &proposals[i]);
        proposals[i].sequence->n = proposals[i].n_tokens;
        if (proposals[i].n > stage->most_drafts)
            stage->most_drafts = proposals[i].n;
    }
    return 0;
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

/* ---- groups ---- */

static struct stage_sequence *sequence_find(struct stage_group *group, uint64_t id)
{
    for (int i = 0; i < group->n_sequences; i++)
        if (group->sequences[i].id == id)
            return &group->sequences[i];
    return NULL;
}

static void *copied(const void *from, size_t size)
{
    void *copy = from ? mem_new(1, size) : NULL;
    if (copy)
        memcpy(copy, from, size);
    return copy;
}

static void step_keep(struct stage_group *group, const struct step *step)
{
    assert_int_equal(group->step.id, 0); /* one step in flight */
    group->step = *step;
    group->step.release = copied(step->release, (size_t)step->n_release * sizeof *step->release);
    group->step.spans = copied(step->spans, (size_t)step->n_spans * sizeof *step->spans);
    group->step.forget = copied(step->forget, (size_t)step->n_forget * sizeof *step->forget);
    for (int i = 0; i < step->n_spans; i++) {
        struct step_span *span = &group->step.spans[i];
        span->ids = copied(span->ids, (size_t)span->n * sizeof *span->ids);
        span->positions = copied(span->positions, (size_t)span->n * sizeof *span->positions);
        span->pictures = copied(span->pictures, (size_t)span->n_pictures * sizeof *span->pictures);
        span->adopt = copied(span->adopt, (size_t)span->n_adopt * sizeof *span->adopt);
        span->keep = copied(span->keep, (size_t)span->n_keep * sizeof *span->keep);
        span->keep_pages = copied(span->keep_pages, (size_t)span->n_keep * sizeof *span->keep_pages);
    }
}

static void step_forget(struct stage_group *group)
{
    for (int i = 0; i < group->step.n_spans; i++) {
        free(group->step.spans[i].ids);
        free(group->step.spans[i].positions);
        free(group->step.spans[i].pictures);
        free(group->step.spans[i].adopt);
        free(group->step.spans[i].keep);
        free(group->step.spans[i].keep_pages);
    }
    free(group->step.spans);
    free(group->step.release);
    free(group->step.forget);
    group->step = (struct step){0};
}

static int picture_find(const struct stage_group *group, uint64_t hash)
{
    for (int i = 0; i < group->n_pictures; i++)
        if (group->pictures[i].hash == hash)
            return i;
    return -1;
}

static void piece_keep(struct stage_group *group, const struct step_piece *piece)
{
    int at = picture_find(group, piece->hash[0]);
    if (piece->forget) {
        assert_true(at >= 0);
        group->pictures[at] = group->pictures[--group->n_pictures];
        group->forgets++;
        return;
    }
    assert_int_equal(piece->width, STAGE_WIDTH);
    if (at < 0) {
        at = group->n_pictures++;
        group->pictures[at].hash = piece->hash[0];
        group->pictures[at].here = 0;
    }
    assert_int_equal(group->pictures[at].here, piece->first);
    assert_true(piece->features[0] == (float)(piece->first * STAGE_WIDTH));
    group->pictures[at].here += piece->n;
    group->pieces++;
}

static void link_send(void *call, const struct step_message *message)
{
    struct stage_group *group = call;
    assert_false(group->dropped);
    if (message->kind == STEP_WELCOME)
        group->welcomed = true;
    else if (message->kind == STEP_STEP)
        step_keep(group, &message->step);
    else if (message->kind == STEP_PIECE)
        piece_keep(group, &message->piece);
}

static void link_finish(void *call, enum rpc_status status, const char *message)
{
    struct stage_group *group = call;
    group->finished = true;
    group->status = status;
    snprintf(group->message, sizeof group->message, "%s", message);
}

static void link_drop(void *call)
{
    struct stage_group *group = call;
    assert_false(group->dropped);
    group->dropped = true;
}

static const struct link_calls link_calls = {link_send, link_finish, link_drop};

/* ---- pages ---- */

static int pages_used(const struct stage_group *group)
{
    bool *used = mem_new((size_t)group->last_page + 1, sizeof *used);
    int pages = 0;
    for (int i = 0; i < group->n_sequences; i++)
        for (int j = 0; j < group->sequences[i].n_pages; j++)
            used[group->sequences[i].pages[j]] = true;
    for (int i = 0; i < group->n_kept; i++)
        used[group->kept[i].page] = true;
    for (int i = 0; i <= group->last_page; i++)
        pages += used[i];
    free(used);
    return pages;
}

static int kept_find(const struct stage_group *group, const uint64_t key[2])
{
    for (int i = 0; i < group->n_kept; i++)
        if (memcmp(group->kept[i].key, key, sizeof group->kept[i].key) == 0)
            return i;
    return -1;
}

static void pages_forget(struct stage_group *group, const struct step *step)
{
    for (int i = 0; i < step->n_forget; i++) {
        int at = kept_find(group, step->forget[i]);
        assert_true(at >= 0);
        group->kept[at] = group->kept[--group->n_kept];
    }
    group->forgotten += step->n_forget;
}

static void pages_adopt(struct stage_group *group, struct stage_sequence *q, const struct step_span *span)
{
    assert_true(!span->n_adopt || (q->n == 0 && span->length == span->n_adopt * STAGE_PAGE));
    for (int i = 0; i < span->n_adopt; i++) {
        int at = kept_find(group, span->adopt[i]);
        assert_true(at >= 0);
        const struct stage_kept *kept = &group->kept[at];
        memcpy(q->ids + q->n, kept->ids, sizeof kept->ids);
        memset(q->generated + q->n, 0, STAGE_PAGE);
        q->pages[q->n_pages++] = kept->page;
        if (kept->pictured && q->pictured > q->n)
            q->pictured = q->n;
        q->n += STAGE_PAGE;
    }
    group->adopted += span->n_adopt;
}

/* Pages that are shared have all their rows; none of them is cut. */
static void pages_fit(struct stage_group *group, struct stage_sequence *q)
{
    int n = (q->n + STAGE_PAGE - 1) / STAGE_PAGE;
    while (q->n_pages < n)
        q->pages[q->n_pages++] = ++group->last_page;
    while (q->n_pages > n)
        q->n_pages--;
    for (int i = 0; i < group->n_kept; i++)
        assert_true(q->n % STAGE_PAGE == 0 || group->kept[i].page != q->pages[n - 1]);
}

static void pages_keep(struct stage_group *group, const struct stage_sequence *q, const struct step_span *span)
{
    assert_true(!span->n_keep || !span->generated);
    for (int i = 0; i < span->n_keep; i++) {
        int page = span->keep_pages[i];
        assert_in_range(page, span->length / STAGE_PAGE, (span->length + span->n) / STAGE_PAGE - 1);
        assert_true(kept_find(group, span->keep[i]) < 0 && group->n_kept < STAGE_KEPT);
        struct stage_kept *kept = &group->kept[group->n_kept++];
        *kept =
            (struct stage_kept){{span->keep[i][0], span->keep[i][1]}, q->pages[page], {0}, q->pictured < (page + 1) * STAGE_PAGE};
        memcpy(kept->ids, q->ids + page * STAGE_PAGE, sizeof kept->ids);
    }
}

/* ---- spans ---- */

/* Columns of picture rows stand in the third axis of their positions (picture_put). */
static void span_pictures_check(const struct stage_group *group, const struct step_span *span)
{
    for (int i = 0; i < span->n_pictures; i++) {
        const struct step_picture *picture = &span->pictures[i];
        int at = picture_find(group, picture->hash[0]);
        assert_true(at >= 0 && picture->picture_row + picture->count <= group->pictures[at].here);
        assert_true(picture->first >= 0 && picture->first + picture->count <= span->n);
        assert_true(!group->stage->whole || picture->count == group->stage->whole);
        for (int row = 0; row < picture->count; row++)
            assert_int_equal(span->positions[picture->first + row][2], 1000 + picture->picture_row + row);
    }
    for (int row = 0, n = 0; span->positions && row < span->n; row++) {
        for (int i = 0; i < span->n_pictures; i++)
            n += row == span->pictures[i].first ? span->pictures[i].count : 0;
        assert_int_equal(span->positions[row][2] >= 1000, n-- > 0); /* every picture row has its features */
        n = n < 0 ? 0 : n;
    }
}

static void span_positions_check(const struct stage_sequence *sequence, const struct step_span *span)
{
    if (span->generated)
        assert_int_equal(span->position, span->length - (sequence->pictured < STAGE_TOKENS ? STAGE_LAG : 0));
    else if (!span->positions)
        assert_int_equal(span->position, span->length);
    else
        assert_int_equal(span->positions[0][0], span->position);
}

static struct step_answer span_answer(struct stage_group *group, const struct step_span *span)
{
    struct stage_sequence *q = sequence_find(group, span->sequence);
    if (!q) {
        assert_true(group->n_sequences < STAGE_SEQUENCES);
        q = &group->sequences[group->n_sequences++];
        q->id = span->sequence;
        q->n = q->n_pages = 0;
        q->pictured = STAGE_TOKENS;
    }
    pages_adopt(group, q, span);
    assert_true(span->n > 0 && span->length <= q->n && span->length + span->n <= STAGE_TOKENS);
    assert_true(span->drafts < span->n && (!span->drafts || (span->generated && span->want_token)));
    if (span->n_pictures > 0 && q->pictured > span->length)
        q->pictured = span->length + span->pictures[0].first;
    span_positions_check(q, span);
    span_pictures_check(group, span);
    q->n = span->length;
    int first = q->n + span->n - span->drafts; /* of the drafts */
    for (int i = 0; i < span->n; i++) {
        q->ids[q->n] = span->ids[i];
        q->generated[q->n++] = span->generated;
    }
    pages_fit(group, q);
    pages_keep(group, q, span);
    struct step_answer answer = {.next = -1};
    if (!span->want_token)
        return answer;
    while (answer.accepted < span->drafts && target_next(q->ids, first + answer.accepted) == q->ids[first + answer.accepted])
        answer.accepted++;
    answer.next = target_next(q->ids, first + answer.accepted);
    q->n = first + answer.accepted;
    pages_fit(group, q);
    return answer;
}

static void statistics_take(struct stage_group *group)
{
    int rows = 0, prompts = 0, answers = 0;
    for (int i = 0; i < group->step.n_spans; i++) {
        rows += group->step.spans[i].n;
        bool verified = group->step.spans[i].generated && group->step.spans[i].want_token;
        prompts += group->step.spans[i].generated ? 0 : group->step.spans[i].n;
        answers += verified;
        assert_true(!verified || answers == i + 1); /* answers first */
    }
    assert_true(rows <= group->max_rows);
    group->steps++;
    group->prompt_rows += prompts;
    group->prompt_rows_beside_answers += prompts && answers;
    group->step_ms = group->row_ms > 0 ? 1 + group->row_ms * prompts : 0;
    if (answers && prompts > group->most_prompt_rows_beside_answers)
        group->most_prompt_rows_beside_answers = prompts;
    if (group->step.n_spans > group->most_spans)
        group->most_spans = group->step.n_spans;
}

static void event_put(struct stage *stage, const struct event *event)
{
    struct event *copy = copied(event, sizeof *event);
    copy->at = stage->now;
    scheduler_handle(stage->scheduler, copy);
}

static void message_put(struct stage_group *group, const struct step_message *message)
{
    event_put(group->stage,
              &(struct event){.kind = EVENT_HEARD, .number = group->number, .message = copied(message, sizeof *message)});
}

void stage_verdict(struct stage_group *group, const struct step_verdict *verdict)
{
    step_forget(group);
    message_put(group, &(struct step_message){.kind = STEP_VERDICT, .verdict = *verdict});
    stage_turn(group->stage, 0);
}

void stage_answer(struct stage_group *group)
{
    struct step_answer answers[STAGE_SEQUENCES];
    const struct step *step = &group->step;
    assert_true(step->id != 0);
    pages_forget(group, step);
    for (int i = 0; i < step->n_release; i++) {
        struct stage_sequence *q = sequence_find(group, step->release[i]);
        if (q)
            *q = group->sequences[--group->n_sequences];
    }
    statistics_take(group);
    for (int i = 0; i < step->n_spans; i++)
        answers[i] = span_answer(group, &step->spans[i]);
    assert_true(pages_used(group) <= group->pages);
    stage_verdict(group, &(struct step_verdict){
                             .step = step->id, .answers = answers, .n_answers = step->n_spans, .compute_ms = group->step_ms});
}

void stage_refuse(struct stage_group *group)
{
    stage_verdict(group, &(struct step_verdict){.step = group->step.id, .error = "the stage will not have it"});
}

void stage_beat(struct stage_group *group)
{
    message_put(group, &(struct step_message){.kind = STEP_HEARTBEAT});
}

void stage_lose(struct stage_group *group)
{
    step_forget(group);
    event_put(group->stage, &(struct event){.kind = EVENT_LOST, .number = group->number});
    stage_turn(group->stage, 0);
}

struct stage_group *stage_dial(struct stage *stage, int pages, int max_rows)
{
    assert_true(stage->n_groups < STAGE_GROUPS);
    struct stage_group *group = &stage->groups[stage->n_groups++];
    *group = (struct stage_group){
        .stage = stage, .number = (uint64_t)stage->n_groups, .page_positions = STAGE_PAGE, .pages = pages, .max_rows = max_rows};
    struct link link = {.calls = &link_calls, .call = group, .number = group->number, .peer = "stage"};
    event_put(stage, &(struct event){.kind = EVENT_DIALLED, .link = link});
    return group;
}

struct step_hello stage_hello_of(const struct stage_group *group)
{
    return (struct step_hello){.protocol = STEP_PROTOCOL,
                               .version = MASSV_VERSION,
                               .model_hash = {1, 2},
                               .model = "target",
                               .ranks = 1,
                               .pages = group->pages,
                               .page_positions = group->page_positions,
                               .max_rows = group->max_rows,
                               .host = "stage",
                               .device = "paper"};
}

void stage_hello(struct stage_group *group, const struct step_hello *hello)
{
    message_put(group, &(struct step_message){.kind = STEP_HELLO, .hello = *hello});
    stage_turn(group->stage, 0);
}

struct stage_group *stage_attach(struct stage *stage, int pages, int max_rows)
{
    struct stage_group *group = stage_dial(stage, pages, max_rows);
    struct step_hello hello = stage_hello_of(group);
    stage_hello(group, &hello);
    return group;
}

/* ---- the program around ---- */

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
    o.identity = (struct identity){"target", {1, 2}, STAGE_WIDTH, STAGE_VOCABULARY};
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
    o.hooks = (struct scheduler_hooks){stage, hook_prepare, hook_warm_up, hook_health, hook_drained};
    stage->scheduler = scheduler_new(&o);
}

void stage_close(struct stage *stage)
{
    while (stage->jobs) {
        struct preparation *job = stage->jobs;
        stage->jobs = job->next;
        preparation_free(job);
    }
    scheduler_free(stage->scheduler);
    for (int i = 0; i < stage->n_clients; i++)
        assert_true(stage->clients[i].ended && stage->clients[i].drops == stage->clients[i].outputs);
    for (int i = 0; i < stage->n_groups; i++) {
        assert_true(stage->groups[i].dropped);
        step_forget(&stage->groups[i]);
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
    event_put(stage, &(struct event){.kind = EVENT_ARRIVED, .request = first, .job = job});
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
        event_put(stage, &(struct event){.kind = EVENT_PREPARED, .job = job});
    }
    stage_turn(stage, 0);
}

void stage_cancel(struct stage *stage, struct stage_client *client)
{
    event_put(stage, &(struct event){.kind = EVENT_CLOSED, .number = client->number});
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
