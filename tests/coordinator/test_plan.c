/* test_plan.c - what stands in a step: who shares its rows how, what is kept for the next one, and what a span tells of its request
 */
#include "tests/check.h"

#include <stdlib.h>

#include "base/memory.h"
#include "coordinator/plan.h"

enum { REQUESTS = 20, PAGE = 16, PROMPT_MOST = 400, ANSWER_MOST = 40 };

struct table { /* a group and its running requests */
    struct group *group;
    struct request requests[REQUESTS];
    struct request *running[REQUESTS];
    int32_t ids[PROMPT_MOST], positions[PROMPT_MOST][3], tokens[ANSWER_MOST];
    struct drafting drafting;
    struct draft_source source;
    struct plan plan;
};

static struct draft_sequence *source_begin(void *context, const struct prompt *prompt, const struct prepared_picture *pictures,
                                           int max_positions, struct error *err)
{
    (void)prompt;
    (void)pictures;
    (void)max_positions;
    (void)err;
    return context;
}

static void source_end(void *context, struct draft_sequence *sequence)
{
    (void)context;
    (void)sequence;
}

static int source_behind(void *context, const struct draft_sequence *sequence, int n_tokens)
{
    (void)context;
    (void)sequence;
    (void)n_tokens;
    return 0;
}

static int source_propose(void *context, struct proposal *proposals, int count, int prompt_rows)
{
    (void)context;
    (void)prompt_rows;
    for (int i = 0; i < count; i++)
        proposals[i].n = proposals[i].k;
    return 0;
}

static void nothing(void *call)
{
    (void)call;
}

static void table_set(struct table *t, int max_rows)
{
    static const struct link_calls calls = {.drop = nothing};
    *t = (struct table){.group = group_new(&(struct link){.calls = &calls}, 0)};
    t->source = (struct draft_source){t, "text", source_begin, source_end, source_behind, source_propose};
    t->drafting = (struct drafting){.source = &t->source, .stall_ms = 50};
    t->group->layout = (struct kv_layout){.page_positions = PAGE, .block_layers = 1, .blocks = {1, 0}};
    t->group->hello = (struct step_hello){.pages = 1000, .page_positions = PAGE, .max_rows = max_rows};
    t->group->blocks_free = 1000;
    for (int i = 0; i < PROMPT_MOST; i++)
        for (int axis = 0; axis < 3; axis++)
            t->positions[i][axis] = i;
}

/* Request i of the table: a prompt of which nothing is computed or, with tokens, an answer that goes on. */
static struct request *request_set(struct table *t, int i, int prompt, int n_tokens)
{
    struct request *r = t->running[i] = &t->requests[i];
    *r = (struct request){.number = (uint64_t)i + 1,
                          .state = REQUEST_RUNNING,
                          .group = t->group,
                          .begun = true,
                          .sequence = (uint64_t)i + 1,
                          .blocks = PROMPT_MOST / PAGE,
                          .prepared.prompt = {.n = prompt, .ids = t->ids, .positions = t->positions, .next_position = prompt},
                          .tokens = t->tokens,
                          .n_tokens = n_tokens,
                          .max_tokens = ANSWER_MOST,
                          .sampling.repetition_penalty = 1};
    r->computed = n_tokens ? request_known(r) : 0;
    return r;
}

static const struct step *table_plan(struct table *t, int n)
{
    plan_make(&t->plan, t->group, t->running, n, &t->drafting);
    return &t->plan.step;
}

static void plan_clear(struct table *t)
{
    plan_free(&t->plan);
    free(t->plan.spans);
}

static void table_clear(struct table *t)
{
    plan_clear(t);
    group_free(t->group);
}

/* ---- rows ---- */

static int rows_of(const struct table *t, int request)
{
    for (int i = 0; i < t->plan.step.n_spans; i++)
        if (t->plan.spans[i].request == &t->requests[request])
            return t->plan.spans[i].rows;
    return 0;
}

static void what_a_short_prompt_does_not_need_goes_to_a_long_one(void **state)
{
    (void)state;
    struct table t;
    table_set(&t, 64);
    request_set(&t, 0, 200, 0);
    request_set(&t, 1, 10, 0);
    table_plan(&t, 2);
    assert_int_equal(rows_of(&t, 0), 54);
    assert_int_equal(rows_of(&t, 1), 10);
    table_clear(&t);
}

static void of_equal_prompts_the_older_ones_get_the_odd_rows(void **state)
{
    (void)state;
    struct table t;
    table_set(&t, 17);
    for (int i = 0; i < 3; i++)
        request_set(&t, i, 100, 0);
    table_plan(&t, 3);
    assert_true(rows_of(&t, 0) == 6 && rows_of(&t, 1) == 6 && rows_of(&t, 2) == 5);
    table_clear(&t);
}

static void the_oldest_that_got_no_rows_is_next(void **state)
{
    (void)state;
    struct table t;
    table_set(&t, 17);
    for (int i = 0; i < REQUESTS; i++)
        request_set(&t, i, 100, 0);
    table_plan(&t, REQUESTS);
    assert_int_equal(rows_of(&t, 17), 0);
    plan_clear(&t);
    table_plan(&t, REQUESTS);
    assert_ptr_equal(t.plan.spans[0].request, &t.requests[17]);
    table_clear(&t);
}

/* A prompt row takes 10 ms, and answers may wait for 50: no more than the least are worth keeping. */
static void rows_are_kept_for_what_still_waits_as_far_as_its_pace_allows(void **state)
{
    (void)state;
    const int kept[][2] = {{100, 0}, {133, 5}, {300, PACE_LEAST_ROWS}}; /* of prompts on steps of 128 rows */
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        struct table t;
        table_set(&t, 128);
        t.group->pace.prompt_row_ms = 10;
        request_set(&t, 0, kept[i][0], 0);
        table_plan(&t, 1);
        assert_int_equal(t.group->owed_rows, kept[i][1]);
        table_clear(&t);
    }
}

/* ---- spans ---- */

static void positions_travel_only_where_they_do_not_count_up(void **state)
{
    (void)state;
    struct table t;
    table_set(&t, 64);
    request_set(&t, 0, 30, 0)->computed = 5;
    const struct step *step = table_plan(&t, 1);
    assert_true(!step->spans[0].positions && step->spans[0].position == 5);
    plan_clear(&t);
    t.positions[20][2] = 7;
    step = table_plan(&t, 1);
    assert_ptr_equal(step->spans[0].positions, t.positions + 5);
    table_clear(&t);
}

static void only_drafts_that_are_verified_by_chance_bring_what_they_were_drawn_from(void **state)
{
    (void)state;
    const enum sampling_mode modes[] = {SAMPLING_REJECTION, SAMPLING_COUPLED, SAMPLING_REJECTION};
    struct table t;
    table_set(&t, 64);
    for (int i = 0; i < 3; i++) {
        struct request *r = request_set(&t, i, 20, 6);
        r->draft_tokens = i < 2 ? 4 : 0;
        r->sampling.temperature = 1;
        r->sampling.mode = modes[i];
    }
    const struct step *step = table_plan(&t, 3);
    assert_true(step->n_spans == 3 && step->spans[0].drafts == 4 && step->spans[1].drafts == 4);
    assert_ptr_equal(step->spans[0].weights, t.requests[0].draft_weights);
    assert_true(!step->spans[1].weights && !step->spans[2].weights);
    table_clear(&t);
}

/* A token is chosen by how many are before it: a ban ends, and penalties are of what was said. */
static void a_span_says_how_long_the_answer_is(void **state)
{
    (void)state;
    struct table t;
    table_set(&t, 64);
    for (int i = 0; i < 3; i++) {
        request_set(&t, i, 20, 6);
        t.requests[i].sampling.n_banned = 1;
        t.requests[i].sampling.banned_until = 6 + i;
    }
    t.requests[2].computed = 22; /* three tokens to compute again before it verifies */
    const struct step *step = table_plan(&t, 3);
    assert_int_equal(step->n_spans, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(step->spans[i].want_token, i < 2);
        assert_int_equal(step->spans[i].answered, i < 2 ? 6 : 0);
        assert_int_equal(step->spans[i].sampling.n_banned, i > 0);
    }
    table_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_short_prompt_does_not_need_goes_to_a_long_one),
        cmocka_unit_test(of_equal_prompts_the_older_ones_get_the_odd_rows),
        cmocka_unit_test(the_oldest_that_got_no_rows_is_next),
        cmocka_unit_test(rows_are_kept_for_what_still_waits_as_far_as_its_pace_allows),
        cmocka_unit_test(positions_travel_only_where_they_do_not_count_up),
        cmocka_unit_test(only_drafts_that_are_verified_by_chance_bring_what_they_were_drawn_from),
        cmocka_unit_test(a_span_says_how_long_the_answer_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
