/* drafter_propose.c - chains of drafts for a batch of requests (speculative decoding; Leviathan et al. 2023).
 *
 * A request in the drafter is one row of ids: its prompt, the answer's tokens, the drafts. What of it stands in the cache is kept
 * as far as it agrees with the answer; the rest is rolled back. Then, in rounds over all requests at once:
 *   1. each request appends what it lacks: a chunk of the prompt, of the answer, or its newest draft - but for pages of the prompt
 *      that others have computed or are about to;
 *   2. a request that has caught up chooses the next id as the target would, which is its next draft;
 *   3. until each has its k drafts, or its context ends. The last draft is not computed: nobody asks what follows it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "coordinator/drafter_parts.h"

/* ---- begin, end ---- */

static int check_prompt(const struct drafter *drafter, const struct prompt *prompt, const struct prepared_picture *pictures,
                        struct error *err)
{
    if (prompt->n < 1)
        return fail(err, "the prompt has nothing that drafter %s reads", drafter->config.name);
    for (int i = 0; i < prompt->n; i++)
        if (prompt->ids[i] < 0 ||
            (prompt->ids[i] >= drafter->config.vocabulary && prompt->ids[i] != drafter->config.image_id)) /* a picture's rows */
            return fail(err, "prompt token %d: id %d is beyond the %d of drafter %s", i, prompt->ids[i], drafter->config.vocabulary,
                        drafter->config.name);
    for (int i = 0; i < prompt->n_pictures; i++)
        if (!pictures || !pictures[i].drafter)
            return fail(err, "drafter %s has no features of picture %d", drafter->config.name, i);
    return 0;
}

static int check_room(const struct drafter *drafter, const struct draft_sequence *s, struct error *err)
{
    if (s->prompt.n >= s->limit)
        return fail(err, "a prompt of %d tokens fills the %d positions of drafter %s", s->prompt.n, s->limit, drafter->config.name);
    if (draft_blocks(drafter, s->prompt.n + 1) > model_blocks(drafter->model))
        return fail(err, "drafter %s: a prompt of %d tokens needs %lld blocks of %d (--draft-positions)", drafter->config.name,
                    s->prompt.n, (long long)draft_blocks(drafter, s->prompt.n + 1), model_blocks(drafter->model));
    return 0;
}

struct draft_sequence *drafter_begin(struct drafter *drafter, const struct prompt *prompt, const struct prepared_picture *pictures,
                                     int max_positions, struct error *err)
{
    struct draft_sequence *s = mem_new(1, sizeof *s);
    drafter_prompt(&s->prompt, prompt, drafter->kind, &drafter->config);
    int answer = max_positions > prompt->n ? max_positions - prompt->n : 0;
    int context = drafter->config.max_positions;
    s->limit = s->prompt.n < context - answer ? s->prompt.n + answer : context;
    s->pictures = pictures;
    s->first = FIRST_UNKNOWN;
    if (check_prompt(drafter, &s->prompt, pictures, err) != 0 || check_room(drafter, s, err) != 0) {
        prompt_free(&s->prompt);
        free(s);
        return NULL;
    }
    draft_pages_begin(drafter, s);
    return s;
}

void drafter_end(struct drafter *drafter, struct draft_sequence *sequence)
{
    if (!sequence)
        return;
    draft_pages_end(drafter, sequence);
    prompt_free(&sequence->prompt);
    free(sequence->ids);
    free(sequence->positions);
    free(sequence);
}

int drafter_behind(const struct drafter *drafter, const struct draft_sequence *sequence, int n_tokens)
{
    int behind = sequence->prompt.n + n_tokens - 1 - draft_pages_there(drafter, sequence);
    return behind > 0 ? behind : 0;
}

/* ---- one request of a batch ---- */

static int32_t wanted_id(const struct proposal *p, int i)
{
    return i < p->n_tokens ? p->tokens[i] : p->drafts[i - p->n_tokens];
}

/* Positions that must be computed before the next draft is known. */
static int wanted_length(const struct proposal *p)
{
    return p->sequence->prompt.n + p->n_tokens + p->n;
}

static void proposal_fail(struct proposal *p)
{
    p->failed = true;
    p->n = 0;
}

/* Keeps what agrees with the answer; the last wanted row is computed again, for its scores, where all of it is here already. */
static void proposal_begin(struct drafter *drafter, struct proposal *p)
{
    struct draft_sequence *s = p->sequence;
    p->n = p->found = p->caught_up = 0;
    p->failed = p->refused = false;
    p->began = sequence_length(s->sequence) == 0 ? s->prompt.n : 0;
    for (int i = 0; i < p->n_tokens; i++)
        if (p->tokens[i] < 0 || p->tokens[i] >= drafter->config.vocabulary) {
            proposal_fail(p);
            return;
        }
    int have = sequence_length(s->sequence) - s->prompt.n, keep = 0;
    while (keep < have && keep < p->n_tokens && s->ids[keep] == p->tokens[keep])
        keep++;
    if (keep > 0 && keep == p->n_tokens)
        keep--;
    if (!sequence_reaches(drafter->model, s->sequence, s->prompt.n + keep)) {
        proposal_fail(p);
        return;
    }
    if (have > keep)
        sequence_truncate(drafter->model, s->sequence, s->prompt.n + keep);
    int end = s->prompt.n + p->n_tokens + p->k;
    p->found = draft_pages_adopt(drafter, s);
    p->refused = !draft_pages_hold(drafter, s, end < s->limit ? end : s->limit);
    if (!p->refused)
        return;
    p->k = 0;
    if (p->found)
        draft_pages_drop(drafter, s); /* what it cannot go on from is not to be kept from others */
    p->found = 0;
}

/* A draft that the target could not read ends the chain: heads are padded to different sizes. */
static void proposal_add(const struct drafter *drafter, struct proposal *p, int32_t id, const struct draft_weights *weights)
{
    if (p->weights && p->n < p->k)
        p->weights[p->n] = *weights;
    if (id < 0)
        proposal_fail(p); /* scores that are no numbers */
    else if (id >= drafter->target.vocabulary || id >= drafter->config.vocabulary)
        p->k = p->n;
    else
        p->drafts[p->n++] = id;
}

static bool proposal_active(const struct proposal *p)
{
    return !p->failed && p->n < p->k && wanted_length(p) <= p->sequence->limit;
}

/* Behind the prompt alone the draft is remembered: a prompt's last row may be a picture's, whose features are gone. */
static void proposal_recall(const struct drafter *drafter, struct proposal *p)
{
    struct draft_sequence *s = p->sequence;
    if (proposal_active(p) && s->first != FIRST_UNKNOWN && wanted_length(p) == s->prompt.n)
        proposal_add(drafter, p, s->first, &s->first_weights);
}

/* ---- rounds ---- */

struct round {
    struct span *spans;            /* (count) */
    struct span_picture *pictures; /* of all spans */
    struct proposal **owners;      /* (count) of the spans */
    int n_spans, n_pictures, rows;
    int prompt_rows; /* that all rounds together may still compute */
};

static int pictures_of(const struct proposal *proposals, int count)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        n += proposals[i].sequence->prompt.n_pictures;
    return n;
}

static void span_prompt(struct round *round, struct span *span, const struct draft_sequence *s, int from)
{
    span->ids = s->prompt.ids + from;
    span->positions = (const int32_t(*)[3])(s->prompt.positions + from);
    span->pictures = round->pictures + round->n_pictures;
}

/* The parts of the prompt's pictures that are within the span. */
static void span_prompt_pictures(const struct drafter *drafter, struct round *round, struct span *span,
                                 const struct draft_sequence *s, int from)
{
    for (int i = 0; i < s->prompt.n_pictures; i++) {
        const struct prompt_picture *picture = &s->prompt.pictures[i];
        int begin = picture->first > from ? picture->first : from;
        int end = picture->first + picture->count < from + span->n ? picture->first + picture->count : from + span->n;
        if (begin >= end)
            continue;
        round->pictures[round->n_pictures++] = (struct span_picture){
            .first = begin - from,
            .count = end - begin,
            .features = s->pictures[i].drafter + (size_t)(begin - picture->first) * (size_t)drafter->config.d,
        };
        span->n_pictures++;
    }
}

static void answer_grow(struct draft_sequence *s, int n)
{
    if (n <= s->capacity)
        return;
    s->capacity = 2 * n;
    s->ids = mem_grow(s->ids, (size_t)s->capacity, sizeof *s->ids);
    s->positions = mem_grow(s->positions, (size_t)s->capacity, sizeof *s->positions);
}

static void span_answer(struct span *span, const struct proposal *p, int from)
{
    struct draft_sequence *s = p->sequence;
    int first = from - s->prompt.n;
    answer_grow(s, first + span->n);
    for (int i = first; i < first + span->n; i++) {
        s->ids[i] = wanted_id(p, i);
        for (int axis = 0; axis < 3; axis++)
            s->positions[i][axis] = s->prompt.next_position + i;
    }
    span->ids = s->ids + first;
    span->positions = (const int32_t(*)[3])(s->positions + first);
}

/* Rows of the prompt from `from` on, at most `n`, that cut no picture which must be whole; such a picture may go beyond what all
 * rounds together may compute, else it never would, but not beyond the round's room. */
static int span_prompt_rows(const struct draft_sequence *s, int from, int n, int room)
{
    int rows = n > 0 ? prompt_chunk_rows(&s->prompt, from, n) : 0, whole = prompt_whole_rows(&s->prompt, from);
    return rows || n < 1 || whole > room ? rows : whole;
}

/* Whether a span of the round fills the page with which the request would go on, so that it may take it over in the next. */
static bool round_fills(const struct round *round, const struct draft_sequence *s, int page)
{
    int end = (page + 1) * MODEL_PAGE_POSITIONS;
    for (int i = 0; i < round->n_spans && s->keys && end < s->prompt.n; i++) {
        const struct draft_sequence *other = round->owners[i]->sequence;
        int from = sequence_length(other->sequence), to = from + round->spans[i].n;
        if (page < other->n_keys && from < end && to >= end && memcmp(s->keys[page], other->keys[page], sizeof *s->keys) == 0)
            return true;
    }
    return false;
}

/* Appends what the request lacks, as far as the round has room; prompt rows and generated rows are not mixed in a span. */
static void round_add(struct drafter *drafter, struct round *round, struct proposal *p)
{
    struct draft_sequence *s = p->sequence;
    p->found += draft_pages_adopt(drafter, s);
    int from = sequence_length(s->sequence), end = wanted_length(p), room = DRAFTER_ROWS - round->rows;
    bool generated = from >= s->prompt.n;
    if (!generated)
        end = end < s->prompt.n ? end : s->prompt.n;
    int n = end - from < room ? end - from : room;
    assert(end > from);
    if (!generated)
        n = span_prompt_rows(s, from, n < round->prompt_rows ? n : round->prompt_rows, room);
    if (!generated && round->prompt_rows < 1)
        p->k = p->n;
    if (n == 0 || (!generated && round_fills(round, s, from / MODEL_PAGE_POSITIONS)))
        return;
    struct span span = {.sequence = s->sequence, .n = n, .generated = generated, .repetition_penalty = 1};
    /* The prompt's own score is wanted even when the answer has begun: it is remembered. */
    span.n_scored = from + n == end && (end == wanted_length(p) || !generated);
    if (generated) {
        span_answer(&span, p, from);
    } else {
        span_prompt(round, &span, s, from);
        span_prompt_pictures(drafter, round, &span, s, from);
        round->prompt_rows -= n;
    }
    int lacked = s->prompt.n + p->n_tokens - 1 - from;
    p->caught_up += lacked < 0 ? 0 : lacked < n ? lacked : n;
    round->rows += n;
    round->owners[round->n_spans] = p;
    round->spans[round->n_spans++] = span;
}

/* The draft that scored row `row` gives; n_answer: tokens and drafts before it. */
static int32_t draft_choose(struct drafter *drafter, const struct proposal *p, int row, int n_answer, int32_t best,
                            struct draft_weights *weights)
{
    const struct draft_sequence *s = p->sequence;
    weights->n = 0;
    if (!p->sampling || sampling_is_plain(p->sampling, n_answer))
        return best;
    const struct warp_history history = {.prompt = s->prompt.ids, .n_prompt = s->prompt.n, .answer = s->ids, .n_answer = n_answer};
    model_scores_row(drafter->model, row, drafter->row);
    return sampler_draft(drafter->sampler, drafter->row, p->sampling, &history, weights);
}

static void round_take(struct drafter *drafter, struct round *round, const int32_t *best)
{
    for (int i = 0, row = 0; i < round->n_spans; i++) {
        struct proposal *p = round->owners[i];
        struct draft_sequence *s = p->sequence;
        struct draft_weights weights;
        if (!round->spans[i].n_scored)
            continue;
        int32_t id = draft_choose(drafter, p, row, sequence_length(s->sequence) - s->prompt.n, best[row], &weights);
        if (!round->spans[i].generated) {
            s->first = id;
            s->first_weights = weights;
        }
        if (sequence_length(s->sequence) == wanted_length(p))
            proposal_add(drafter, p, id, &weights);
        row++;
    }
}

/* Tokens of the answer are final, but the last of them is computed again where nothing follows it (proposal_begin). */
static void proposal_settle(struct drafter *drafter, const struct proposal *p)
{
    struct sequence *sequence = p->sequence->sequence;
    int final = p->sequence->prompt.n + (p->n_tokens > 0 ? p->n_tokens - 1 : 0), length = sequence_length(sequence);
    sequence_settle(drafter->model, sequence, final < length ? final : length);
}

/* False when nobody lacks anything. */
static bool round_run(struct drafter *drafter, struct round *round, struct proposal *proposals, int count)
{
    int32_t best[DRAFTER_ROWS];
    round->n_spans = round->n_pictures = round->rows = 0;
    for (int i = 0; i < count; i++) {
        proposal_recall(drafter, &proposals[i]);
        if (proposal_active(&proposals[i]))
            round_add(drafter, round, &proposals[i]);
    }
    if (round->n_spans == 0)
        return false;
    if (model_extend(drafter->model, round->spans, round->n_spans, NULL) != 0) {
        for (int i = 0; i < round->n_spans; i++)
            proposal_fail(round->owners[i]);
        return true;
    }
    if (model_scored_rows(drafter->model) > 0)
        model_best(drafter->model, best);
    round_take(drafter, round, best);
    for (int i = 0; i < round->n_spans; i++) {
        if (!round->spans[i].generated)
            draft_pages_keep(drafter, round->owners[i]->sequence, round->spans[i].n);
        proposal_settle(drafter, round->owners[i]);
    }
    return true;
}

int drafter_propose(struct drafter *drafter, struct proposal *proposals, int count, int prompt_rows)
{
    struct round round = {
        .spans = mem_new((size_t)count, sizeof *round.spans),
        .owners = mem_new((size_t)count, sizeof *round.owners),
        .pictures = mem_new((size_t)pictures_of(proposals, count), sizeof *round.pictures),
        .prompt_rows = prompt_rows,
    };
    for (int i = 0; i < count; i++)
        proposal_begin(drafter, &proposals[i]);
    while (round_run(drafter, &round, proposals, count))
        ;
    for (int i = 0; i < count; i++)
        if (sequence_length(proposals[i].sequence->sequence) == 0)
            proposals[i].began = 0;
    free(round.spans);
    free(round.owners);
    free(round.pictures);
    return prompt_rows - round.prompt_rows;
}
