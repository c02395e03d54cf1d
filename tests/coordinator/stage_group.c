/* stage_group.c - the stage's worker groups: what they keep, what they demand of a step, and what they answer */
#include "tests/coordinator/stage_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/version.h"

/* ---- what comes over the link ---- */

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
    assert_true(step->id > group->last_step);
    group->last_step = step->id;
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

void stage_step_forget(struct stage_group *group)
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

static int blocks_used(const struct stage_group *group)
{
    const int *of = group->stage->layout.blocks;
    int *used = mem_new((size_t)group->last_page + 1, sizeof *used), blocks = 0; /* by name */
    for (int i = 0; i < group->n_sequences; i++)
        for (int kind = 0; kind < KV_KINDS; kind++)
            for (int j = 0; j < group->sequences[i].n_pages; j++)
                used[group->sequences[i].pages[kind][j]] = of[kind];
    for (int i = 0; i < group->n_kept; i++)
        used[group->kept[i].page] = of[step_key_local(group->kept[i].key)];
    for (int i = 1; i <= group->last_page; i++)
        blocks += used[i];
    free(used);
    return blocks;
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

/* The page of local layers beside an adopted one: of the same rows. */
static int local_adopt(const struct stage_group *group, const struct stage_kept *global)
{
    uint64_t key[2];
    step_key_of(key, global->key, true);
    int at = kept_find(group, key);
    assert_true(at >= 0);
    assert_memory_equal(group->kept[at].ids, global->ids, sizeof global->ids);
    return group->kept[at].page;
}

static void pages_adopt(struct stage_group *group, struct stage_sequence *q, const struct step_span *span)
{
    assert_true(!span->n_adopt || (q->n == 0 && span->length == span->n_adopt * STAGE_PAGE));
    const struct kv_layout *layout = &group->stage->layout;
    if (span->n_adopt && layout->blocks[KV_LOCAL])
        q->first_local = kv_layout_first(layout, span->length);
    for (int i = 0; i < span->n_adopt; i++) {
        int at = kept_find(group, span->adopt[i]);
        assert_true(at >= 0);
        const struct stage_kept *kept = &group->kept[at];
        memcpy(q->ids + q->n, kept->ids, sizeof kept->ids);
        memset(q->generated + q->n, 0, STAGE_PAGE);
        q->pages[KV_GLOBAL][q->n_pages] = kept->page;
        q->pages[KV_LOCAL][q->n_pages++] = layout->blocks[KV_LOCAL] && i >= q->first_local ? local_adopt(group, kept) : 0;
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
    for (; q->n_pages < n; q->n_pages++)
        for (int kind = 0; kind < KV_KINDS; kind++)
            q->pages[kind][q->n_pages] = group->stage->layout.blocks[kind] ? ++group->last_page : 0;
    while (q->n_pages > n)
        q->n_pages--;
    for (int i = 0; i < group->n_kept && q->n % STAGE_PAGE; i++)
        for (int kind = 0; kind < KV_KINDS; kind++)
            assert_true(group->kept[i].page != q->pages[kind][n - 1]);
}

/* What no later row sees is gone. */
static void pages_settle(struct stage_group *group, struct stage_sequence *q)
{
    for (int first = kv_layout_first(&group->stage->layout, q->n); q->first_local < first; q->first_local++)
        q->pages[KV_LOCAL][q->first_local] = 0;
}

static void pages_keep(struct stage_group *group, const struct stage_sequence *q, const struct step_span *span)
{
    assert_true(!span->n_keep || !span->generated);
    for (int i = 0; i < span->n_keep; i++) {
        int page = span->keep_pages[i], name = q->pages[step_key_local(span->keep[i])][page];
        assert_in_range(page, span->length / STAGE_PAGE, (span->length + span->n) / STAGE_PAGE - 1);
        assert_true(name && kept_find(group, span->keep[i]) < 0 && group->n_kept < STAGE_KEPT);
        struct stage_kept *kept = &group->kept[group->n_kept++];
        *kept = (struct stage_kept){{span->keep[i][0], span->keep[i][1]}, name, {0}, q->pictured < (page + 1) * STAGE_PAGE};
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

/* Puts the span's rows in. */
static void span_append(struct stage_group *group, const struct step_span *span)
{
    struct stage_sequence *q = sequence_find(group, span->sequence);
    if (!q) {
        assert_true(group->n_sequences < STAGE_SEQUENCES);
        q = &group->sequences[group->n_sequences++];
        q->id = span->sequence;
        q->n = q->n_pages = q->first_local = 0;
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
    assert_true(!q->n || kv_layout_first(&group->stage->layout, q->n) >= q->first_local);
    for (int i = 0; i < span->n; i++) {
        q->ids[q->n] = span->ids[i];
        q->generated[q->n++] = span->generated;
    }
    pages_fit(group, q);
    pages_keep(group, q, span);
}

static struct step_answer span_answer(struct stage_group *group, const struct step_span *span)
{
    struct stage_sequence *q = sequence_find(group, span->sequence);
    struct step_answer answer = {.next = -1};
    int first = q->n - span->drafts; /* of the drafts */
    if (!span->want_token)
        return answer;
    while (answer.accepted < span->drafts && stage_next(q->ids, first + answer.accepted) == q->ids[first + answer.accepted])
        answer.accepted++;
    answer.next = stage_next(q->ids, first + answer.accepted);
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

static void message_put(struct stage_group *group, const struct step_message *message)
{
    stage_event(group->stage,
                &(struct event){.kind = EVENT_HEARD, .number = group->number, .message = copied(message, sizeof *message)});
}

void stage_verdict(struct stage_group *group, const struct step_verdict *verdict)
{
    stage_step_forget(group);
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
        span_append(group, &step->spans[i]);
    int used = blocks_used(group);
    assert_true(used <= group->pages * kv_layout_whole(&group->stage->layout));
    group->most_blocks = used > group->most_blocks ? used : group->most_blocks;
    for (int i = 0; i < step->n_spans; i++) {
        answers[i] = span_answer(group, &step->spans[i]);
        pages_settle(group, sequence_find(group, step->spans[i].sequence));
    }
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
    stage_step_forget(group);
    stage_event(group->stage, &(struct event){.kind = EVENT_LOST, .number = group->number});
    stage_turn(group->stage, 0);
}

struct stage_group *stage_dial(struct stage *stage, int pages, int max_rows)
{
    assert_true(stage->n_groups < STAGE_GROUPS);
    struct stage_group *group = &stage->groups[stage->n_groups++];
    *group = (struct stage_group){
        .stage = stage, .number = (uint64_t)stage->n_groups, .page_positions = STAGE_PAGE, .pages = pages, .max_rows = max_rows};
    struct link link = {.calls = &link_calls, .call = group, .number = group->number, .peer = "stage"};
    stage_event(stage, &(struct event){.kind = EVENT_DIALLED, .link = link});
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
