/* plan.c - builds steps */
#include "coordinator/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/prefix.h"

static bool request_verifies(const struct request *r)
{
    return r->n_tokens > 0 && r->computed == request_known(r);
}

static enum span_kind request_kind(const struct request *r)
{
    return r->computed < r->prepared.prompt.n ? SPAN_PROMPT : request_verifies(r) ? SPAN_VERIFY : SPAN_REPLAY;
}

static void span_choose(struct plan *plan, struct request *r, enum span_kind kind, int rows)
{
    plan->spans[plan->step.n_spans++] = (struct flight_span){.request = r, .kind = kind, .rows = rows};
}

/* Verifications, from the request whose turn it is on: first a row for each, then drafts; returns the rows that are left. */
static int verifications_choose(struct plan *plan, struct group *group, struct request *const *running, int n,
                                struct drafting *drafting)
{
    int room = group->hello.max_rows - group->owed_rows, start = group->first < n ? group->first : 0;
    group->first = 0;
    for (int i = 0; i < n; i++) {
        int at = (start + i) % n;
        if (!request_verifies(running[at]))
            continue;
        if (!room) {
            group->first = at;
            break;
        }
        span_choose(plan, running[at], SPAN_VERIFY, 1);
        room--;
    }
    int count = plan->step.n_spans, cut = drafting_lengths(drafting, group, plan->spans, count, room, &plan->drafting);
    for (int i = 0; i < n && cut < count && room; i++)
        if (running[i] == plan->spans[cut].request)
            group->first = i;
    plan->drafting_ms = drafting_ask(drafting, plan->spans, count, &plan->drafting);
    for (int i = 0; i < count; i++)
        room -= plan->spans[i].drafts;
    return room;
}

struct chunk { /* a prompt or a replay that wants rows */
    struct request *request;
    enum span_kind kind;
    int left;
    bool owed; /* the group's */
};

static int chunk_order(const void *a, const void *b)
{
    const struct chunk *x = a, *y = b;
    if (x->owed != y->owed)
        return x->owed ? -1 : 1;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->request->number < y->request->number ? -1 : 1;
}

static int chunks_collect(struct chunk *chunks, struct group *group, struct request *const *running, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        struct request *r = running[i];
        prefix_adopt(group, r);
        if (prefix_waits(group, r, running, i))
            continue;
        enum span_kind kind = request_kind(r);
        int end = kind == SPAN_PROMPT ? r->prepared.prompt.n : request_known(r);
        if (kind != SPAN_VERIFY)
            chunks[count++] = (struct chunk){r, kind, end - r->computed, group->owed == r->number};
    }
    return count;
}

/* Its share, or less, so that no picture is cut that must be whole; where such a picture is next, that picture, if `most` rows hold
 * it. */
static int chunk_rows(const struct chunk *chunk, int share, int most)
{
    const struct prompt *prompt = &chunk->request->prepared.prompt;
    int computed = chunk->request->computed, rows = chunk->left < share ? chunk->left : share;
    if (chunk->kind != SPAN_PROMPT)
        return rows;
    rows = prompt_chunk_rows(prompt, computed, rows);
    if (rows)
        return rows;
    return prompt_whole_rows(prompt, computed) <= most ? prompt_whole_rows(prompt, computed) : 0;
}

enum { PROMPTS_SHARE = 4 }; /* this part of a step's rows is kept for prompts while any wait, however many answers run */

/* The oldest request that got nothing is the first in the next step, which keeps rows for its picture. */
static void chunk_owe(struct group *group, const struct chunk *chunk)
{
    const struct request *r = chunk->request;
    if (group->owed && group->owed <= r->number)
        return;
    group->owed = r->number;
    group->owed_rows = prompt_whole_rows(&r->prepared.prompt, r->computed);
}

/* Keeps rows of the next step for the `left` ones that still wait, but no more than the pace will allow beside as many answers. */
static void share_keep(struct group *group, int left, double stall_ms)
{
    int share = group->hello.max_rows / PROMPTS_SHARE;
    int paced = pace_prompt_rows(&group->pace, 1, group->hello.max_rows - share, stall_ms);
    share = share < paced ? share : paced;
    share = share < left ? share : left;
    if (group->owed_rows < share)
        group->owed_rows = share;
}

/* Prompts and replays in the room that is left: each gets the same share, and what one does not need goes to the others. One
 * picture that must be whole may go beyond the room, within the `most` rows that the step holds. Returns the rows that still wait.
 */
static int chunks_choose(struct plan *plan, struct group *group, struct request *const *running, int n, int room, int most)
{
    struct chunk *chunks = mem_new((size_t)n, sizeof *chunks);
    int count = chunks_collect(chunks, group, running, n), left = 0;
    bool beyond = false;
    qsort(chunks, (size_t)count, sizeof *chunks, chunk_order);
    group->owed = 0;
    group->owed_rows = 0;
    for (int i = 0; i < count; i++) {
        int others = count - i, share = (room + others - 1) / others;
        int rows = room > 0 ? chunk_rows(&chunks[i], share, beyond ? room : most) : 0;
        left += chunks[i].left - rows;
        if (!rows) {
            chunk_owe(group, &chunks[i]);
            continue;
        }
        span_choose(plan, chunks[i].request, chunks[i].kind, rows);
        beyond = beyond || rows > room;
        most -= rows;
        room -= rows < share ? rows : share;
        room = room < most ? room : most;
    }
    free(chunks);
    return left;
}

/* Rows for prompts: all that is left, or beside answers what does not stall them. */
static int chunks_room(const struct plan *plan, const struct group *group, double stall_ms, int room)
{
    int answers = 0;
    for (int i = 0; i < plan->step.n_spans; i++)
        answers += plan->spans[i].rows;
    int most = answers ? pace_prompt_rows(&group->pace, 1, answers, stall_ms) : room;
    return most < room ? most : room;
}

static bool positions_count_up(const int32_t (*positions)[3], int n)
{
    for (int i = 0; i < n; i++)
        for (int axis = 0; axis < 3; axis++)
            if (positions[i][axis] != positions[0][0] + i)
                return false;
    return true;
}

/* The pictures of which rows [first, first + n) of the prompt hold tokens. */
static void pictures_fill(struct step_span *span, const struct request *r, int first, int n)
{
    const struct prompt *prompt = &r->prepared.prompt;
    span->pictures = mem_new((size_t)prompt->n_pictures, sizeof *span->pictures);
    for (int i = 0; i < prompt->n_pictures; i++) {
        const struct prompt_picture *p = &prompt->pictures[i];
        int from = p->first > first ? p->first : first;
        int to = p->first + p->count < first + n ? p->first + p->count : first + n;
        if (from >= to)
            continue;
        struct step_picture *rows = &span->pictures[span->n_pictures++];
        *rows = (struct step_picture){.first = from - first, .picture_row = from - p->first, .count = to - from};
        memcpy(rows->hash, r->prepared.pictures[i].hash, sizeof rows->hash);
    }
}

static void prompt_fill(struct step_span *span, const struct request *r)
{
    const struct prompt *prompt = &r->prepared.prompt;
    memcpy(span->ids, prompt->ids + r->computed, (size_t)span->n * sizeof *span->ids);
    span->position = prompt->positions[r->computed][0];
    if (!positions_count_up((const int32_t(*)[3])prompt->positions + r->computed, span->n))
        span->positions = prompt->positions + r->computed;
    pictures_fill(span, r, r->computed, span->n);
}

/* Tokens of the answer from the first that is not computed on, then drafts. */
static void answer_fill(struct step_span *span, struct request *r)
{
    int from = r->computed - r->prepared.prompt.n, tokens = span->n - span->drafts;
    memcpy(span->ids, r->tokens + from, (size_t)tokens * sizeof *span->ids);
    memcpy(span->ids + tokens, r->drafts, (size_t)span->drafts * sizeof *span->ids);
    span->position = r->prepared.prompt.next_position + from;
    span->generated = true;
    span->weights = span->drafts && sampling_rejects(&r->sampling) ? r->draft_weights : NULL;
}

static void span_fill(struct step_span *span, struct flight_span *chosen, struct group *group)
{
    struct request *r = chosen->request;
    *span = (struct step_span){.sequence = r->sequence,
                               .n = chosen->rows,
                               .ids = mem_new((size_t)chosen->rows, sizeof *span->ids),
                               .length = r->computed,
                               .drafts = chosen->drafts,
                               .sampling = r->sampling};
    if (chosen->kind == SPAN_PROMPT)
        prompt_fill(span, r);
    else
        answer_fill(span, r);
    chosen->begins = !r->begun;
    prefix_fill(group, r, span);
    bool last_chunk = r->computed + chosen->rows == r->prepared.prompt.n;
    chosen->want_token = chosen->kind == SPAN_VERIFY || (last_chunk && r->n_tokens == 0);
    span->want_token = chosen->want_token;
    span->answered = chosen->want_token ? r->n_tokens : 0;
    if (r->n_tokens >= r->sampling.banned_until)
        span->sampling.n_banned = 0; /* the plain way to a token is the faster one */
}

/* running: those of requests that the group may compute; a suspect alone. */
static int running_collect(struct request **running, const struct group *group, struct request *const *requests, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (requests[i]->state != REQUEST_RUNNING || requests[i]->group != group)
            continue;
        running[count++] = requests[i];
        if (requests[i]->losses >= LOSSES_SUSPECT) {
            running[0] = requests[i];
            return 1;
        }
    }
    return count;
}

void plan_make(struct plan *plan, struct group *group, struct request *const *requests, int n, struct drafting *drafting)
{
    struct request **running = mem_new((size_t)n, sizeof(struct request *));
    int count = group->refused ? 0 : running_collect(running, group, requests, n);
    group->refused = false;
    *plan = (struct plan){.spans = mem_new((size_t)count, sizeof *plan->spans)};
    int room = group->owed_rows + verifications_choose(plan, group, running, count, drafting);
    int left = chunks_choose(plan, group, running, count, chunks_room(plan, group, drafting->stall_ms, room), room);
    share_keep(group, left, drafting->stall_ms);
    free(running);

    struct step *step = &plan->step;
    step->spans = mem_new((size_t)step->n_spans, sizeof *step->spans);
    for (int i = 0; i < step->n_spans; i++)
        span_fill(&step->spans[i], &plan->spans[i], group);
    step->release = group->release;
    step->n_release = group->n_release;
    group->release = NULL;
    group->n_release = 0;
    step->forget = group->forget;
    step->n_forget = group->n_forget;
    group->forget = NULL;
    group->n_forget = 0;
}

void plan_free(struct plan *plan)
{
    for (int i = 0; i < plan->step.n_spans; i++) {
        free(plan->step.spans[i].ids);
        free(plan->step.spans[i].pictures);
        free(plan->step.spans[i].adopt);
        free(plan->step.spans[i].keep);
        free(plan->step.spans[i].keep_pages);
    }
    free(plan->step.spans);
}
