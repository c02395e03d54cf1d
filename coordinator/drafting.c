/* drafting.c - draft lengths, proposals, and what they teach */
#include "coordinator/drafting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

static const double AHEAD_SHARE = 0.5; /* of the group's time */
enum {
    QUIET_LONG = 64, /* steps without drafts after which a request's place in the drafter may be another's */
    MEMORY = 1024    /* drafts after which what they added to a step counts e times less */
};

/* ---- how many ---- */

/* Drafts worth asking for: the target's own token follows them, and nothing may follow max_tokens. Nobody is taken off for the sake
 * of drafts: they take what pages are free. */
static int drafts_possible(const struct group *group, const struct request *r)
{
    int most = r->draft_tokens == DRAFT_TOKENS_AUTO ? DRAFT_TOKENS_MAX : r->draft_tokens;
    int left = r->max_tokens - r->n_tokens - 1, fit = group_reach(group, r) - r->computed - 1;
    if (r->undrafted || left < 0)
        return 0;
    most = most < left ? most : left;
    return most < fit ? most : fit;
}

/* Where it cannot begin in the drafter, it never will. */
static bool draft_begin(struct drafting *drafting, struct request *r, struct drafting_counts *counts)
{
    if (r->draft)
        return true;
    struct error err = {{0}};
    r->draft =
        drafting->source->begin(drafting->source->context, &r->prepared.prompt, r->prepared.pictures, request_positions(r), &err);
    if (r->draft)
        return true;
    counts->refusals++;
    r->undrafted = true;
    snprintf(r->inactive, sizeof r->inactive, "%.*s", (int)sizeof r->inactive - 1, err.text);
    return false;
}

/* A request begins in the drafter with its first draft; or before, so that it is known what the drafter has of its prompt, where
 * that decides about drafts. Not where it had none for long: its place may have been given to another. */
static bool begins_before(const struct group *group, const struct request *r)
{
    return r->draft_tokens == DRAFT_TOKENS_AUTO && r->quiet <= QUIET_LONG && drafts_possible(group, r) > 0;
}

static struct draft_candidate candidate(struct drafting *drafting, const struct group *group, struct request *r,
                                        struct drafting_counts *counts)
{
    const struct draft_source *source = drafting->source;
    bool begun = r->draft || (begins_before(group, r) && draft_begin(drafting, r, counts));
    return (struct draft_candidate){
        .record = &r->draft_record,
        .pinned = r->draft_tokens != DRAFT_TOKENS_AUTO,
        .most = drafts_possible(group, r),
        .left = r->max_tokens - r->n_tokens,
        .behind = begun ? source->behind(source->context, r->draft, r->n_tokens) : r->prepared.prompt.n + r->n_tokens - 1,
    };
}

static double beside_draft(const struct group *group)
{
    double ms = group->beside_drafts.ms / (group->beside_drafts.drafts + 1);
    return ms > 0 ? ms : 0;
}

int drafting_lengths(struct drafting *drafting, struct group *group, struct flight_span *spans, int n, int room,
                     struct drafting_counts *counts)
{
    struct draft_candidate *candidates = mem_new((size_t)n, sizeof *candidates);
    const struct draft_costs costs = {.target = &group->pace.run,
                                      .round = &drafting->pace.run,
                                      .beside = &group->beside,
                                      .beside_draft = beside_draft(group),
                                      .catch_up_row = drafting->pace.prompt_row_ms};
    int cut = n;
    for (int i = 0; i < n; i++)
        candidates[i] = candidate(drafting, group, spans[i].request, counts);
    draft_length_choose(&group->draft_length, &drafting->record, &costs, candidates, n);
    for (int i = 0; i < n; i++) {
        struct request *r = spans[i].request;
        int k = candidates[i].k, fit = group_reach(group, r) - r->computed - 1;
        k = k < fit ? k : fit;
        if (k > room) {
            cut = cut < i ? cut : i;
            k = room;
        }
        if (k < 1 || !draft_begin(drafting, r, counts))
            continue;
        group_hold(group, r, r->computed + 1 + k);
        counts->probes += candidates[i].probed;
        spans[i].drafts = k;
        spans[i].rows = 1 + k;
        room -= k;
    }
    free(candidates);
    return cut;
}

/* ---- the drafter ---- */

struct asked {
    struct proposal *proposals;
    int count, drafts, rounds;
};

static void asked_make(struct asked *asked, struct flight_span *spans, int n)
{
    *asked = (struct asked){.proposals = mem_new((size_t)n, sizeof *asked->proposals)};
    for (int i = 0; i < n; i++) {
        struct request *r = spans[i].request;
        r->n_drafts = 0;
        if (!spans[i].drafts)
            continue;
        asked->proposals[asked->count++] = (struct proposal){.sequence = r->draft,
                                                             .tokens = r->tokens,
                                                             .n_tokens = r->n_tokens,
                                                             .k = spans[i].drafts,
                                                             .drafts = r->drafts,
                                                             .sampling = &r->sampling,
                                                             .weights = sampling_rejects(&r->sampling) ? r->draft_weights : NULL};
        asked->drafts += spans[i].drafts;
        asked->rounds = asked->rounds > spans[i].drafts ? asked->rounds : spans[i].drafts;
    }
}

/* Within the time that the drafter's prompts may take; learns from the time that it took. A row or so that a request lacks because
 * all of its drafts were accepted is part of any round; more than that is catching up. */
static double propose(struct drafting *drafting, struct asked *asked)
{
    int rows = (asked->drafts + asked->rounds - 1) / asked->rounds;
    int most = pace_prompt_rows(&drafting->pace, asked->rounds, rows, drafting->stall_ms);
    double began = clock_seconds();
    drafting->source->propose(drafting->source->context, asked->proposals, asked->count, most);
    double ms = 1e3 * (clock_seconds() - began);
    int caught_up = 0;
    for (int i = 0; i < asked->count; i++)
        caught_up += asked->proposals[i].caught_up;
    pace_learn(&drafting->pace, asked->rounds, rows, caught_up > asked->count ? caught_up : 0, ms);
    return ms;
}

static void draft_end(const struct drafting *drafting, struct request *r)
{
    drafting->source->end(drafting->source->context, r->draft);
    r->draft = NULL;
}

static void draft_fail(const struct drafting *drafting, struct request *r, struct drafting_counts *counts)
{
    counts->faults++;
    draft_end(drafting, r);
    r->undrafted = true;
    snprintf(r->inactive, sizeof r->inactive, "the drafter failed after %d tokens", r->n_tokens);
}

static void prompt_count(const struct request *r, const struct proposal *proposal, struct drafting_counts *counts)
{
    if (r->internal)
        return;
    counts->prompt_rows += proposal->began;
    counts->found += proposal->found;
}

static void proposal_take(const struct drafting *drafting, struct flight_span *span, const struct proposal *proposal,
                          struct drafting_counts *counts)
{
    struct request *r = span->request;
    span->drafts = r->n_drafts = proposal->n;
    span->rows = 1 + span->drafts;
    counts->refusals += proposal->refused;
    prompt_count(r, proposal, counts);
    if (proposal->failed) {
        draft_fail(drafting, r, counts);
    } else if (span->drafts) {
        r->inactive[0] = 0;
    } else if (proposal->refused && !r->acceptance.drafted) {
        snprintf(r->inactive, sizeof r->inactive, "the drafter's cache was full (--draft-positions)");
    }
}

/* Somebody found no room in the drafter: the request that has gone without drafts for the longest time makes some. */
static void room_make(const struct drafting *drafting, struct flight_span *spans, int n)
{
    struct request *idle = NULL;
    for (int i = 0; i < n; i++) {
        struct request *r = spans[i].request;
        if (r->draft && r->quiet > QUIET_LONG && (!idle || r->quiet > idle->quiet))
            idle = r;
    }
    if (idle)
        draft_end(drafting, idle);
}

double drafting_ask(struct drafting *drafting, struct flight_span *spans, int n, struct drafting_counts *counts)
{
    struct asked asked;
    asked_make(&asked, spans, n);
    double ms = asked.count ? propose(drafting, &asked) : 0;
    int refusals = counts->refusals;
    for (int i = 0, at = 0; i < n; i++)
        if (spans[i].drafts)
            proposal_take(drafting, &spans[i], &asked.proposals[at++], counts);
    if (counts->refusals > refusals)
        room_make(drafting, spans, n);
    free(asked.proposals);
    return ms;
}

/* ---- while the group works ---- */

/* Rows of prompts that the drafter reads in AHEAD_SHARE of the time that the step is likely to take. */
static int ahead_rows(const struct drafting *drafting, const struct group *group)
{
    int generated = 0, prompt = 0;
    for (int i = 0; i < group->flight.n_spans; i++)
        *(group->flight.spans[i].kind == SPAN_PROMPT ? &prompt : &generated) += group->flight.spans[i].rows;
    double ms = AHEAD_SHARE * pace_ms(&group->pace, 1, generated, prompt), row_ms = drafting->pace.prompt_row_ms;
    ms = ms < drafting->stall_ms ? ms : drafting->stall_ms; /* other groups wait, too */
    if (!(row_ms > 0))
        return ms > 0 ? PACE_FIRST_ROWS : 0;
    return ms >= PACE_LEAST_ROWS * row_ms ? (int)(ms / row_ms) : 0;
}

static bool reads_ahead(struct drafting *drafting, const struct group *group, const struct flight_span *span,
                        struct drafting_counts *counts)
{
    struct request *r = span->request;
    if (r->n_tokens || (r->draft_tokens == DRAFT_TOKENS_AUTO && group->draft_length.quiet))
        return false;
    return drafts_possible(group, r) > 0 && draft_begin(drafting, r, counts) &&
           drafting->source->behind(drafting->source->context, r->draft, 0) > 0;
}

void drafting_ahead(struct drafting *drafting, const struct group *group, struct drafting_counts *counts)
{
    const struct flight *flight = &group->flight;
    int rows = ahead_rows(drafting, group), count = 0, read;
    if (!rows)
        return;
    struct proposal *proposals = mem_new((size_t)flight->n_spans, sizeof *proposals);
    struct request **readers = mem_new((size_t)flight->n_spans, sizeof(struct request *));
    for (int i = 0; i < flight->n_spans; i++)
        if (reads_ahead(drafting, group, &flight->spans[i], counts)) {
            struct request *r = readers[count] = flight->spans[i].request;
            proposals[count++] = (struct proposal){.sequence = r->draft, .k = 1, .drafts = r->drafts, .sampling = &r->sampling};
        }
    double began = clock_seconds();
    read = count ? drafting->source->propose(drafting->source->context, proposals, count, rows) : 0;
    pace_learn(&drafting->pace, 0, 0, read, 1e3 * (clock_seconds() - began));
    counts->ahead += read;
    for (int i = 0; i < count; i++) {
        prompt_count(readers[i], &proposals[i], counts);
        if (proposals[i].failed)
            draft_fail(drafting, readers[i], counts);
    }
    free(proposals);
    free(readers);
}

void drafting_beside(struct group *group, int requests, int drafts, double ms)
{
    if (!drafts) {
        cost_curve_learn(&group->beside, requests, ms > 0 ? ms : 0);
        return;
    }
    double without = cost_curve_at(&group->beside, requests), added = ms - without, keep = exp(-(double)drafts / MEMORY);
    added = added < without ? added : without; /* another process had the core */
    group->beside_drafts.ms = group->beside_drafts.ms * keep + added;
    group->beside_drafts.drafts = group->beside_drafts.drafts * keep + drafts;
}

void drafting_learn(struct drafting *drafting, const struct flight_span *span, int accepted)
{
    struct request *r = span->request;
    draft_record_learn(&r->draft_record, &drafting->record, r->quiet, span->drafts, accepted);
    r->quiet = span->drafts ? 0 : r->quiet + 1;
}
