/* test_drafting.c - who gets how many drafts in a step, what the drafter is asked for, and what becomes of those that it fails; the
 * drafter is one that notes what it is told */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/drafting.h"

enum { REQUESTS = 3, PAGE = 16, PROMPT = 400 };

struct draft_sequence {
    int behind;
};

struct table { /* a group, requests in its step, and the drafter */
    struct group *group;
    struct request requests[REQUESTS];
    struct flight_span spans[REQUESTS];
    struct drafting drafting;
    struct drafting_counts counts;
    struct draft_source source;
    struct draft_sequence sequences[REQUESTS];
    struct proposal asked[REQUESTS];
    int n_asked, prompt_rows, begun, ended, positions;
    const struct prepared_picture *pictures; /* of the request that began last */
    int has;                                 /* rows of any prompt */
    struct draft_sequence *last_ended;
    bool fails, refuses;
};

static struct draft_sequence *source_begin(void *context, const struct prompt *prompt, const struct prepared_picture *pictures,
                                           int max_positions, struct error *err)
{
    struct table *t = context;
    (void)err;
    t->pictures = pictures;
    t->positions = max_positions;
    t->sequences[t->begun] = (struct draft_sequence){.behind = prompt->n - t->has};
    return &t->sequences[t->begun++];
}

static void source_end(void *context, struct draft_sequence *sequence)
{
    struct table *t = context;
    t->last_ended = sequence;
    t->ended++;
}

static int source_behind(void *context, const struct draft_sequence *sequence, int n_tokens)
{
    (void)context;
    (void)n_tokens;
    return sequence->behind;
}

static int source_propose(void *context, struct proposal *proposals, int count, int prompt_rows)
{
    struct table *t = context;
    t->n_asked = count;
    t->prompt_rows = prompt_rows;
    for (int i = 0; i < count; i++) {
        proposals[i].failed = t->fails;
        proposals[i].refused = t->refuses;
        proposals[i].n = t->fails || t->refuses ? 0 : proposals[i].k;
        proposals[i].began = PROMPT;
        proposals[i].found = t->has;
        t->asked[i] = proposals[i];
    }
    return 0;
}

static void nothing(void *call)
{
    (void)call;
}

/* Requests whose prompts are computed and whose answers have a token, on a group with plenty of room. */
static void table_set(struct table *t)
{
    static const struct link_calls calls = {.drop = nothing};
    *t = (struct table){.group = group_new(&(struct link){.calls = &calls}, 0)};
    t->source = (struct draft_source){t, "text", source_begin, source_end, source_behind, source_propose};
    t->drafting = (struct drafting){.source = &t->source, .stall_ms = 50};
    t->group->layout = (struct kv_layout){.page_positions = PAGE, .block_layers = 1, .blocks = {1, 0}};
    t->group->hello = (struct step_hello){.pages = 1000, .page_positions = PAGE, .max_rows = 64};
    t->group->blocks_free = 1000;
    for (int i = 0; i < REQUESTS; i++) {
        t->requests[i] = (struct request){.prepared.prompt.n = PROMPT,
                                          .computed = PROMPT,
                                          .blocks = PROMPT / PAGE + 1,
                                          .n_tokens = 1,
                                          .max_tokens = 40,
                                          .draft_tokens = 4,
                                          .sampling.repetition_penalty = 1};
        t->spans[i] = (struct flight_span){.request = &t->requests[i], .kind = SPAN_VERIFY, .rows = 1};
    }
}

static void table_clear(struct table *t)
{
    group_free(t->group);
}

/* A target of 20 ms a step and a drafter of 1 ms a round, whatever their rows are; a draft is accepted nine times of ten. */
static void prices_set(struct table *t)
{
    t->drafting.record = (struct draft_record){.tried = 1e6, .accepted = 9e5};
    t->drafting.pace.prompt_row_ms = 1;
    t->group->draft_length.begun = true;
    for (int i = 0; i < 4; i++)
        for (int rows = 1; rows <= 64; rows++) {
            cost_curve_learn(&t->group->pace.run, rows, 20);
            cost_curve_learn(&t->drafting.pace.run, rows, 1);
        }
}

/* ---- how many ---- */

static void the_first_that_the_rows_cut_short_is_named(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    assert_int_equal(drafting_lengths(&t.drafting, t.group, t.spans, REQUESTS, 6, &t.counts), 1);
    const int drafts[] = {4, 2, 0};
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(t.spans[i].drafts, drafts[i]);
        assert_int_equal(t.spans[i].rows, 1 + drafts[i]);
    }
    assert_int_equal(t.begun, 2); /* nobody begins for nothing */
    table_clear(&t);

    table_set(&t);
    assert_int_equal(drafting_lengths(&t.drafting, t.group, t.spans, REQUESTS, 12, &t.counts), REQUESTS);
    table_clear(&t);
}

/* A page full of known rows, and none behind it: the step is not foreseen to bring drafts either. */
static void what_has_no_room_is_not_foreseen(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    prices_set(&t);
    t.requests[0].computed = t.requests[0].prepared.prompt.n = PAGE - 1;
    t.requests[0].blocks = 1;
    t.group->blocks_free = 0;
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    assert_int_equal(t.spans[0].drafts, 0);
    assert_true(t.group->draft_length.forecast.tokens == 1);
    table_clear(&t);
}

/* The drafter has 400 rows to read before it drafts: worth it for a long answer alone. */
static void an_answer_near_its_end_does_not_begin_with_drafts(void **state)
{
    (void)state;
    const int max_tokens[] = {4, 2000};
    for (int i = 0; i < 2; i++) {
        struct table t;
        table_set(&t);
        prices_set(&t);
        t.requests[0].draft_tokens = DRAFT_TOKENS_AUTO;
        t.requests[0].max_tokens = max_tokens[i];
        drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
        assert_int_equal(t.spans[0].drafts > 0, i);
        table_clear(&t);
    }
}

/* Unless it has read most of them for others. */
static void what_the_drafter_has_of_a_prompt_need_not_pay(void **state)
{
    (void)state;
    for (int has = 0; has < PROMPT; has += PROMPT - 20) {
        struct table t;
        table_set(&t);
        prices_set(&t);
        t.has = has;
        t.requests[0].draft_tokens = DRAFT_TOKENS_AUTO;
        t.requests[0].max_tokens = 4;
        drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
        assert_int_equal(t.spans[0].drafts > 0, has > 0);
        table_clear(&t);
    }
}

/* Whose place may have become another's: to begin again at every step would be for nothing, and take the place of room_make's
 * choice. */
static void who_is_quiet_for_long_begins_with_its_drafts(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    prices_set(&t);
    t.requests[0].draft_tokens = DRAFT_TOKENS_AUTO;
    t.requests[0].max_tokens = 4;
    t.requests[0].quiet = 65;
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    assert_int_equal(t.begun, 0);
    t.requests[0].quiet = 64;
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    assert_int_equal(t.begun, 1);
    table_clear(&t);
}

/* Steps without drafts tell what a step takes; those with drafts, what each of these adds. */
static void what_steps_take_beside_is_learned_by_requests_and_drafts(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    drafting_beside(t.group, 1, 0, -1); /* clocks are not that exact */
    assert_true(t.group->beside.bins[0].ms == 0 && t.group->beside.bins[0].count == 1);
    drafting_beside(t.group, 2, 0, 0.5);
    t.group->beside.bins[0] = (struct cost_bin){0};
    assert_true(t.group->beside.bins[1].ms == 0.5);
    drafting_beside(t.group, 1, 16, 0.75);
    assert_true(t.group->beside_drafts.ms == 0.25 && t.group->beside_drafts.drafts == 16);
    t.group->beside_drafts.ms = t.group->beside_drafts.drafts = 0;
    drafting_beside(t.group, 1, 16, 100); /* another process had the core */
    assert_true(t.group->beside_drafts.ms == 0.5 && t.group->beside.bins[0].count == 0);
    drafting_beside(t.group, 1, 1024, 0.25);
    assert_true(t.group->beside_drafts.ms < 0 && t.group->beside_drafts.drafts < 1024 + 16 / 2);
    table_clear(&t);
}

static void what_drafts_add_is_a_part_of_their_price(void **state)
{
    (void)state;
    for (int dear = 0; dear < 2; dear++) {
        struct table t;
        table_set(&t);
        prices_set(&t);
        t.has = PROMPT;
        t.group->beside_drafts.ms = dear ? 1e6 : -1e6;
        t.group->beside_drafts.drafts = 1e4;
        t.requests[0].draft_tokens = DRAFT_TOKENS_AUTO;
        for (int i = 0; i < 20; i++) {
            t.spans[0].drafts = 0;
            drafting_lengths(&t.drafting, t.group, t.spans, 1, 60, &t.counts);
        }
        assert_true(dear ? t.spans[0].drafts == 0 : t.spans[0].drafts > 4);
        table_clear(&t);
    }
}

static void the_drafter_gets_the_pictures(void **state)
{
    (void)state;
    struct table t;
    struct prompt_picture place = {.first = 2, .count = 4};
    struct prepared_picture picture = {.rows = 4};
    table_set(&t);
    struct prepared *prepared = &t.requests[0].prepared;
    prepared->prompt.pictures = &place;
    prepared->pictures = &picture;
    prepared->prompt.n_pictures = prepared->n_pictures = 1;
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    assert_ptr_equal(t.pictures, &picture);
    assert_int_equal(t.positions, request_positions(&t.requests[0]));
    table_clear(&t);
}

/* ---- proposals ---- */

static void only_drafts_that_are_verified_by_chance_bring_what_they_were_drawn_from(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    t.requests[0].sampling.temperature = t.requests[1].sampling.temperature = 1;
    t.requests[0].sampling.mode = SAMPLING_REJECTION;
    t.requests[1].sampling.mode = SAMPLING_COUPLED;
    drafting_lengths(&t.drafting, t.group, t.spans, REQUESTS, 60, &t.counts);
    drafting_ask(&t.drafting, t.spans, REQUESTS, &t.counts);
    assert_int_equal(t.n_asked, 3);
    assert_ptr_equal(t.asked[0].weights, t.requests[0].draft_weights);
    assert_true(!t.asked[1].weights && !t.asked[2].weights);
    for (int i = 0; i < REQUESTS; i++)
        assert_true(t.asked[i].sampling == &t.requests[i].sampling && t.asked[i].k == 4 && t.requests[i].n_drafts == 4);
    table_clear(&t);
}

static void what_was_found_is_counted_but_for_the_warm_up(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    t.has = 128;
    t.requests[1].internal = true;
    drafting_lengths(&t.drafting, t.group, t.spans, REQUESTS, 60, &t.counts);
    drafting_ask(&t.drafting, t.spans, REQUESTS, &t.counts);
    assert_int_equal(t.counts.prompt_rows, 2 * PROMPT);
    assert_int_equal(t.counts.found, 2 * 128);
    table_clear(&t);
}

/* Its room in the drafter is wanted by others long before its answer ends. */
static void a_sequence_that_failed_ends_at_once(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    t.fails = true;
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    drafting_ask(&t.drafting, t.spans, 1, &t.counts);
    assert_int_equal(t.ended, 1);
    assert_int_equal(t.counts.faults, 1);
    assert_true(!t.requests[0].draft && t.spans[0].drafts == 0 && t.spans[0].rows == 1 && t.requests[0].n_drafts == 0);
    drafting_lengths(&t.drafting, t.group, t.spans, 1, 63, &t.counts);
    assert_true(t.spans[0].drafts == 0 && t.begun == 1);
    table_clear(&t);
}

/* What the three requests have gone without drafts for, and who loses its place when the first is refused. */
static void the_request_that_has_been_quiet_longest_makes_room(void **state)
{
    (void)state;
    const struct {
        int quiet[REQUESTS];
        bool refuses;
        int ended; /* request; -1 = none */
    } rows[] = {{{0, 65, 90}, true, 2}, {{0, 90, 65}, true, 1}, {{0, 64, 64}, true, -1}, {{0, 90, 65}, false, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct table t;
        table_set(&t);
        drafting_lengths(&t.drafting, t.group, t.spans, REQUESTS, 60, &t.counts);
        for (int j = 0; j < REQUESTS; j++) {
            t.requests[j].quiet = rows[i].quiet[j];
            t.spans[j].drafts = j ? 0 : 4;
        }
        t.refuses = rows[i].refuses;
        drafting_ask(&t.drafting, t.spans, REQUESTS, &t.counts);
        assert_int_equal(t.n_asked, 1);
        assert_int_equal(t.ended, rows[i].ended >= 0);
        for (int j = 0; j < REQUESTS; j++)
            assert_int_equal(t.requests[j].draft == NULL, j == rows[i].ended);
        table_clear(&t);
    }
}

static void a_request_is_quiet_from_its_last_drafts_on(void **state)
{
    (void)state;
    struct table t;
    table_set(&t);
    const int drafts[] = {0, 0, 3, 0}, quiet[] = {1, 2, 0, 1};
    for (int i = 0; i < 4; i++) {
        t.spans[0].drafts = drafts[i];
        drafting_learn(&t.drafting, &t.spans[0], 0);
        assert_int_equal(t.requests[0].quiet, quiet[i]);
    }
    table_clear(&t);
}

/* ---- while the group works ---- */

/* A step of a prompt chunk of 60 rows, 100 ms each; the drafter reads a row in 1 ms. Returns the rows that it was asked to read. */
static int rows_ahead(int draft_tokens, bool quiet)
{
    struct table t;
    table_set(&t);
    t.group->pace.prompt_row_ms = 100;
    t.drafting.pace.prompt_row_ms = 1;
    t.group->draft_length.quiet = quiet;
    t.requests[0].n_tokens = t.requests[0].computed = 0;
    t.requests[0].draft_tokens = draft_tokens;
    t.spans[0] = (struct flight_span){.request = &t.requests[0], .kind = SPAN_PROMPT, .rows = 60};
    t.group->flight.spans = t.spans;
    t.group->flight.n_spans = 1;
    drafting_ahead(&t.drafting, t.group, &t.counts);
    t.group->flight.spans = NULL;
    int rows = t.prompt_rows;
    table_clear(&t);
    return rows;
}

/* Not longer than other groups may wait for the drafter, and not for drafts that do not pay. */
static void what_is_read_ahead_has_its_bound_and_its_use(void **state)
{
    (void)state;
    assert_int_equal(rows_ahead(4, false), 50);
    assert_int_equal(rows_ahead(4, true), 50);
    assert_int_equal(rows_ahead(DRAFT_TOKENS_AUTO, false), 50);
    assert_int_equal(rows_ahead(DRAFT_TOKENS_AUTO, true), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_that_the_rows_cut_short_is_named),
        cmocka_unit_test(what_has_no_room_is_not_foreseen),
        cmocka_unit_test(an_answer_near_its_end_does_not_begin_with_drafts),
        cmocka_unit_test(what_the_drafter_has_of_a_prompt_need_not_pay),
        cmocka_unit_test(who_is_quiet_for_long_begins_with_its_drafts),
        cmocka_unit_test(what_steps_take_beside_is_learned_by_requests_and_drafts),
        cmocka_unit_test(what_drafts_add_is_a_part_of_their_price),
        cmocka_unit_test(the_drafter_gets_the_pictures),
        cmocka_unit_test(only_drafts_that_are_verified_by_chance_bring_what_they_were_drawn_from),
        cmocka_unit_test(what_was_found_is_counted_but_for_the_warm_up),
        cmocka_unit_test(a_sequence_that_failed_ends_at_once),
        cmocka_unit_test(the_request_that_has_been_quiet_longest_makes_room),
        cmocka_unit_test(a_request_is_quiet_from_its_last_drafts_on),
        cmocka_unit_test(what_is_read_ahead_has_its_bound_and_its_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
