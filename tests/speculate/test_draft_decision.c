/* test_draft_decision.c - single decisions about draft lengths at prices that are written down: margins and turns, what a step's
 * time is made of, who drafts along with whom, who is probed */
#include "tests/check.h"

#include <math.h>

#include "speculate/draft_length.h"

enum { MOST = ACCEPTANCE_POSITIONS, KNOWN_ROWS = 2 * MOST, SURE = 4 /* measurements */ };

/* A target that takes `base` ms for a step and a drafter that takes `draft` for a round, whatever their rows are. */
struct prices {
    struct cost_curve target, round, beside;
    struct draft_costs costs;
};

static void prices_set(struct prices *p, double base, double draft)
{
    *p = (struct prices){.costs = {.target = &p->target, .round = &p->round, .beside = &p->beside}};
    for (int i = 0; i < SURE; i++)
        for (int rows = 1; rows <= KNOWN_ROWS; rows++) {
            cost_curve_learn(&p->target, rows, base);
            cost_curve_learn(&p->round, rows, draft);
        }
}

static struct draft_record record_of(double rate)
{
    return (struct draft_record){.tried = 1e6, .accepted = 1e6 * rate};
}

/* One that begins without a step for comparison. */
static struct draft_length length_of(bool quiet)
{
    return (struct draft_length){.quiet = quiet, .begun = true};
}

/* Up to 16 requests of one rate that have begun, at such prices. */
struct scene {
    struct prices prices;
    struct draft_record record;
    struct draft_candidate c[16];
    struct draft_length length;
};

static void scene_set(struct scene *scene, double rate, double base, double draft)
{
    *scene = (struct scene){.record = record_of(rate), .length = length_of(false)};
    prices_set(&scene->prices, base, draft);
    for (int i = 0; i < 16; i++)
        scene->c[i] = (struct draft_candidate){.record = &scene->record, .most = MOST, .left = 500};
}

static void scene_decide(struct scene *scene, int n, int times)
{
    for (int i = 0; i < times; i++)
        draft_length_choose(&scene->length, &scene->record, &scene->prices.costs, scene->c, n);
}

/* ---- when drafts begin and end ---- */

/* One decision for one stream where drafts make `ratio` of the tokens per ms that go without them. */
static void decide(struct draft_length *length, double ratio)
{
    struct prices prices;
    struct draft_record record = record_of(0.4);
    struct draft_candidate c = {.record = &record, .most = MOST, .left = 500};
    prices_set(&prices, 20, 1.4 * 20 / ratio - 20); /* 1.4 tokens of one draft; a second is worth less than it costs */
    draft_length_choose(length, &record, &prices.costs, &c, 1);
}

/* Decisions until it changes its mind; 100 = never. */
static int decisions_until(bool quiet, double ratio)
{
    struct draft_length length = length_of(quiet);
    for (int n = 1; n < 100; n++) {
        decide(&length, ratio);
        if (length.quiet != quiet)
            return n;
    }
    return 100;
}

static void drafts_begin_and_end_beyond_their_margins(void **state)
{
    (void)state;
    assert_int_equal(decisions_until(true, 1.015), 100);
    assert_int_equal(decisions_until(true, 1.06), 13); /* 0.04 each, until 0.5 */
    assert_int_equal(decisions_until(true, 1.3), 5);   /* no more than 0.1 at once */
    assert_int_equal(decisions_until(false, 1.005), 100);
    assert_int_equal(decisions_until(false, 0.94), 9);
}

/* Four decisions of five lose 0.03 each, and the fifth gains as much as one can; or a third of that. */
static void gains_and_losses_add_up(void **state)
{
    (void)state;
    struct draft_length length = length_of(false);
    for (int i = 0; i < 100; i++) {
        decide(&length, i % 5 < 4 ? 0.975 : 1.2);
        assert_false(length.quiet);
    }
    for (int i = 0; i < 100; i++)
        decide(&length, i % 5 < 4 ? 0.97 : 1.03);
    assert_true(length.quiet);
}

/* What is known of one stream says nothing of sixteen, but for their first step. */
static void each_load_has_its_own_state(void **state)
{
    (void)state;
    struct scene scene;
    scene_set(&scene, 0.4, 20, 20);
    scene_decide(&scene, 16, 1);
    scene_decide(&scene, 1, 10);
    assert_true(scene.length.quiet);
    scene_decide(&scene, 16, 1);
    assert_false(scene.length.quiet);
    scene_decide(&scene, 1, 1);
    assert_true(scene.length.quiet);
    scene_decide(&scene, 4, 1);
    assert_true(scene.length.quiet);
}

/* Drafts pay for three and not for four, and one of four waits for its prompt now and then: that is no time to catch up. */
static void a_load_that_passes_is_not_caught_up_for(void **state)
{
    (void)state;
    struct scene scene;
    int drafted = 0, until = 0;
    scene_set(&scene, 0.9, 20, 1);
    scene.prices.costs.catch_up_row = 2;
    for (int i = 0; i < 4; i++)
        scene.c[i].left = scene.c[i].behind = 60;
    scene_decide(&scene, 3, 1);
    assert_true(scene.length.forecast.drafts);
    scene.length.turns[2] = (struct draft_turn){.begun = true, .quiet = true, .gain = -1e9};
    for (int i = 0; i < 200; i++) {
        scene_decide(&scene, i % 10 ? 4 : 3, 1);
        if (i > 30 && i % 10 == 0)
            drafted += scene.length.forecast.drafts;
    }
    assert_int_equal(drafted, 0);
    for (; !scene.length.forecast.drafts && until < 100; until++) /* three stay */
        scene_decide(&scene, 3, 1);
    assert_in_range(until, 5, 40);
}

/* ---- what is compared ---- */

static void a_verification_without_drafts_teaches_nothing(void **state)
{
    (void)state;
    struct draft_record record = {8, 4}, all = {80, 40};
    draft_record_learn(&record, &all, 50, 0, 0);
    assert_true(record.tried == 8 && record.accepted == 4 && all.tried == 80 && all.accepted == 40);
}

/* A round that costs more than the target pays where a step costs much beside it. */
static void what_a_step_takes_beside_is_a_part_of_its_price(void **state)
{
    (void)state;
    for (int beside = 0; beside <= 20; beside += 20) {
        struct scene scene;
        scene_set(&scene, 0.5, 1, 1.2);
        cost_curve_learn(&scene.prices.beside, 1, beside);
        scene_decide(&scene, 1, 20);
        assert_int_equal(scene.length.quiet, !beside);
    }
}

/* Likewise what each draft adds to it. */
static void what_drafts_add_is_a_part_of_their_price(void **state)
{
    (void)state;
    for (int dear = 0; dear < 2; dear++) {
        struct scene scene;
        scene_set(&scene, 0.5, 20, 1);
        scene.prices.costs.beside_draft = dear ? 10 : 0;
        scene_decide(&scene, 1, 20);
        assert_int_equal(scene.length.quiet, dear);
    }
}

/* Likewise what the drafter takes for prompts: 2 ms for a row of each token, where a draft in a step of 20 + 1 ms saves 6. */
static void prompts_are_a_part_of_the_price(void **state)
{
    (void)state;
    for (int rows = 0; rows <= 4; rows += 4) {
        struct scene scene;
        scene_set(&scene, 0.4, 20, 1);
        scene.c[0].most = 1;
        scene.length.prompts_with = (struct draft_prompts){.rows = 1e6, .ms = 2e6};
        scene.length.tokens = 1e6;
        scene.length.rows = 1e6 * rows;
        scene_decide(&scene, 1, 20);
        assert_int_equal(scene.length.quiet, rows > 0);
    }
}

/* Rounds are dear, but those of the pinned are made anyway. */
static void others_draft_along_with_the_pinned(void **state)
{
    (void)state;
    for (int pinned = 0; pinned < 2; pinned++) {
        struct prices prices;
        struct draft_record record = record_of(0.7);
        struct draft_candidate c[2] = {{.record = &record, .most = MOST, .left = 500},
                                       {.record = &record, .most = MOST, .left = 500, .pinned = pinned}};
        struct draft_length length = length_of(false);
        prices_set(&prices, 20, 15);
        for (int i = 0; i < 20; i++)
            draft_length_choose(&length, &record, &prices.costs, c, 2);
        assert_int_equal(c[1].k, pinned ? MOST : 0);
        assert_true(pinned ? c[0].k > 5 : c[0].k == 0);
        bool quiet = length.quiet;
        for (int i = 0; i < 20; i++) {
            draft_length_choose(&length, &record, &prices.costs, c + 1, pinned);
            assert_true(length.quiet == quiet && length.forecast.drafts == pinned); /* the pinned do not ask whether it pays */
        }
    }
}

/* Answers that are too near their end for what the drafter lacks, or at it, are no sign that drafts do not pay. */
static void those_who_cannot_draft_do_not_decide(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.9);
    struct draft_candidate c[2] = {{.record = &record, .most = 1, .left = 2, .behind = 2000}, {.record = &record, .left = 1}};
    struct draft_length length = length_of(false);
    prices_set(&prices, 20, 1);
    prices.costs.catch_up_row = 0.05;
    for (int i = 0; i < 50; i++) {
        draft_length_choose(&length, &record, &prices.costs, c, 2);
        assert_false(length.quiet || length.forecast.drafts);
    }
    draft_length_choose(&length, &record, &prices.costs, c + 1, 1);
    assert_false(length.forecast.reads);
    c[1].pinned = true;
    c[0] = c[1];
    c[0].most = MOST;
    for (int i = 0; i < 50; i++) {
        draft_length_choose(&length, &record, &prices.costs, c, 2);
        assert_true(!length.quiet && length.forecast.reads);
    }
}

/* 100 ms to catch up, which must bring half as much again; 15.7 ms saved by each token of the answer. */
static void catching_up_pays_where_enough_of_the_answer_is_left(void **state)
{
    (void)state;
    for (int left = 8; left <= 10; left += 2) {
        struct prices prices;
        struct draft_record record = record_of(0.9);
        struct draft_candidate c = {.record = &record, .most = MOST, .left = left, .behind = 2000};
        struct draft_length length = length_of(false);
        prices_set(&prices, 20, 1);
        prices.costs.catch_up_row = 0.05;
        for (int i = 0; i < 20; i++)
            draft_length_choose(&length, &record, &prices.costs, &c, 1);
        assert_false(length.quiet || c.probed);
        assert_true(left == 10 ? c.k > 5 : c.k == 0);
        assert_true(length.forecast.drafts == (left == 10) && length.forecast.catch_up_ms == (left == 10 ? 100 : 0));
    }
}

/* ---- forecasts ---- */

static bool near(double a, double b)
{
    return a > 0.999 * b && a < 1.001 * b;
}

static void learn(struct draft_length *length, double tokens, double ms, int prompt_rows)
{
    const struct draft_outcome outcome = {tokens, ms, prompt_rows};
    draft_length_learn(length, &outcome);
}

static void what_came_is_held_against_the_forecast(void **state)
{
    (void)state;
    struct draft_length length = {.forecast = {.tokens = 4, .ms = 10, .catch_up_ms = 5, .drafts = true, .steady = true}};
    learn(&length, 2, 15, 0); /* half the tokens in the time that was foreseen */
    assert_true(near(length.with.earned, 5) && near(length.with.took, 10) && length.without.took == 0);
    length.with = (struct draft_tally){0};
    learn(&length, 4, 1000, 0); /* another process had the core */
    assert_true(near(length.with.earned, 10) && near(length.with.took, 30));
    length.forecast.steady = false;
    learn(&length, 4, 10, 0);
    assert_true(near(length.with.took, 30)); /* the step before it was another one */
    length.forecast = (struct draft_forecast){.steady = true};
    learn(&length, 4, 10, 0);
    assert_true(length.with.took < 30 && length.without.took == 0); /* nothing was foreseen */
    length.with.took = 30;
    length.forecast = (struct draft_forecast){.tokens = 1, .ms = 10, .steady = true};
    for (int i = 0; i < 2048; i++)
        learn(&length, 1, 10, 0);
    assert_true(near(length.with.took, 30 / 2.71828)); /* grows old without drafts */
    assert_true(near(length.without.earned, length.without.took) && length.without.took > 600);
}

static void what_prompts_take_is_no_fault_of_forecasts(void **state)
{
    (void)state;
    struct draft_length length = {.forecast = {.tokens = 4, .ms = 10, .drafts = true, .reads = true, .steady = true}};
    learn(&length, 4, 12, 100);
    assert_true(near(length.prompts_with.ms, 2) && near(length.prompts_with.rows, 100));
    assert_true(length.with.took == 0 && length.prompts_without.rows == 0);
    length.forecast.reads = false;
    learn(&length, 1, 11, 50);
    assert_true(near(length.prompts_without.ms, 1) && near(length.prompts_without.rows, 50));
    assert_true(near(length.rows, 100 * exp(-1.0 / 512) + 50) && near(length.tokens, 4 * exp(-1.0 / 512) + 1));
}

/* Of a run of steps the first is none: the answers of the one before it, which were more, are sent in its time. */
static void a_step_behind_another_kind_is_not_steady(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.9);
    struct draft_candidate c[2] = {{.record = &record, .most = 4, .left = 500, .pinned = true},
                                   {.record = &record, .most = 0, .left = 500, .pinned = true}};
    const struct {
        int first, n;
        bool steady;
    } steps[] = {{0, 1, false}, {0, 1, true}, {1, 1, false}, {1, 1, true}, {0, 2, false}, {0, 2, true}, {0, 1, false}};
    struct draft_length length = length_of(false);
    prices_set(&prices, 20, 1);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        draft_length_choose(&length, &record, &prices.costs, c + steps[i].first, steps[i].n);
        assert_int_equal(length.forecast.steady, steps[i].steady);
    }
}

static void a_guess_is_no_forecast(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.9);
    struct draft_candidate c = {.record = &record, .most = MOST, .left = 500, .pinned = true};
    struct draft_length length = length_of(false);
    prices_set(&prices, 20, 1);
    draft_length_choose(&length, &record, &prices.costs, &c, 1);
    assert_true(near(length.forecast.ms, 20 + MOST));
    prices.target = (struct cost_curve){0};
    for (int i = 0; i < SURE; i++)
        cost_curve_learn(&prices.target, 1, 20);
    draft_length_choose(&length, &record, &prices.costs, &c, 1);
    assert_true(length.forecast.ms == 0); /* so many rows were never measured */
}

/* ---- steps that are made to learn ---- */

/* Decisions until nobody drafts, of 20 streams whose drafts pay and whose step without drafts was measured so often. */
static int decisions_until_plain(int measurements)
{
    struct prices prices;
    struct draft_record record = record_of(0.9);
    struct draft_candidate c[20];
    struct draft_length length = length_of(false);
    prices_set(&prices, 20, 1);
    prices.target = (struct cost_curve){0};
    for (int rows = 1; rows <= 500; rows += rows)
        cost_curve_learn(&prices.target, rows, 20);
    for (int i = 0; i < measurements; i++)
        cost_curve_learn(&prices.target, 20, 20);
    for (int n = 1; n < 100; n++) {
        int drafts = 0;
        for (int i = 0; i < 20; i++)
            c[i] = (struct draft_candidate){.record = &record, .most = MOST, .left = 500};
        draft_length_choose(&length, &record, &prices.costs, c, 20);
        for (int i = 0; i < 20; i++)
            drafts += c[i].k;
        if (!drafts)
            return n;
    }
    return 100;
}

static void what_drafts_are_compared_with_is_soon_measured(void **state)
{
    (void)state;
    assert_in_range(decisions_until_plain(0), 2, 16);
    assert_in_range(decisions_until_plain(SURE - 1), 2, 16);
    assert_int_equal(decisions_until_plain(SURE), 100);
}

/* Runs without drafts lose half a percent of the time: often where drafts hardly pay, seldom where they pay well. */
static void what_drafts_are_compared_with_is_measured_again(void **state)
{
    (void)state;
    const double ratios[] = {1.03, 1.15, 1.35};
    int plain[3] = {0};
    for (int r = 0; r < 3; r++) {
        struct draft_length length = length_of(false);
        for (int i = 0, run = 0; i < 4000; i++) {
            decide(&length, ratios[r]);
            assert_false(length.quiet);
            plain[r] += !length.forecast.drafts;
            run = length.forecast.drafts ? 0 : run + 1;
            assert_in_range(run, 0, 6);
        }
        double lost = 1 - 1 / ratios[r] > 0.04 ? 1 - 1 / ratios[r] : 0.04;
        assert_true(plain[r] * 20 * lost < 0.0051 * 4000 * 1.4 * 20 / ratios[r]);
        assert_true(plain[r] > 0);
    }
    assert_true(plain[0] > 2 * plain[1] && plain[1] > plain[2]);
}

static void a_drafter_that_was_never_timed_begins_with_a_few(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.05);
    struct draft_candidate c[8];
    struct draft_length length = length_of(true);
    prices_set(&prices, 20, 1);
    prices.round = (struct cost_curve){0};
    for (int j = 0; j < 8; j++)
        c[j] = (struct draft_candidate){.record = &record, .most = j ? MOST : 2, .left = 500};
    draft_length_choose(&length, &record, &prices.costs, c, 8);
    for (int j = 0; j < 8; j++)
        assert_true(c[j].k == (j == 0 ? 2 : j < 4 ? 4 : 0) && !c[j].probed);
}

/* One draft in every fourth decision, to see what two rows take; not before earlier trials are paid for. */
static void unknown_lengths_are_tried_on_credit(void **state)
{
    (void)state;
    for (int owed = 0; owed <= 1000; owed += 1000) {
        struct prices prices;
        struct draft_record record = record_of(0.9);
        struct draft_candidate c = {.record = &record, .most = MOST, .left = 500};
        struct draft_length length = length_of(false);
        int tried = 0;
        prices_set(&prices, 20, 1);
        prices.target = (struct cost_curve){0};
        for (int i = 0; i < SURE; i++)
            cost_curve_learn(&prices.target, 1, 20);
        length.credit = -owed;
        for (int i = 0; i < 16; i++) {
            draft_length_choose(&length, &record, &prices.costs, &c, 1);
            tried += c.k == 1;
            assert_true(c.k == 1 || c.k > 5);
        }
        assert_true(owed ? tried == 0 : tried >= 1 && tried <= 4);
    }
}

/* Three rounds of 1 ms in 1 % of steps of 20 ms: every fifteenth decision, and for the one with whom it costs no more. */
static void the_one_that_lacks_least_is_probed(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.05);
    struct draft_candidate c[2] = {{.record = &record, .most = MOST, .left = 500, .behind = 4000},
                                   {.record = &record, .most = MOST, .left = 500}};
    struct draft_length length = length_of(true);
    int probes = 0;
    prices_set(&prices, 20, 1);
    prices.costs.catch_up_row = 0.05;
    for (int i = 0; i < 200; i++) {
        draft_length_choose(&length, &record, &prices.costs, c, 2);
        assert_true(c[0].k == 0 && !c[0].probed && c[1].probed == (c[1].k > 0));
        assert_int_equal(length.forecast.ms > 0, !c[1].probed); /* a probe is no forecast */
        probes += c[1].probed;
    }
    assert_in_range(probes, 11, 14);
}

/* One probe in a decision, not all. */
static void a_probe_is_not_free_where_rounds_are(void **state)
{
    (void)state;
    struct prices prices;
    struct draft_record record = record_of(0.005);
    struct draft_candidate c[4];
    struct draft_length length = length_of(true);
    prices_set(&prices, 20, 1e-6);
    for (int i = 0; i < 50; i++) {
        int probes = 0;
        for (int j = 0; j < 4; j++)
            c[j] = (struct draft_candidate){.record = &record, .most = MOST, .left = 500};
        draft_length_choose(&length, &record, &prices.costs, c, 4);
        for (int j = 0; j < 4; j++)
            probes += c[j].probed;
        assert_int_equal(probes, 1);
    }
}

static void nobody_saves_for_probes_when_all_draft(void **state)
{
    (void)state;
    struct draft_length length = length_of(false);
    for (int i = 0; i < 50; i++)
        decide(&length, 1.3);
    assert_true(length.credit == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_begin_and_end_beyond_their_margins),
        cmocka_unit_test(gains_and_losses_add_up),
        cmocka_unit_test(each_load_has_its_own_state),
        cmocka_unit_test(a_load_that_passes_is_not_caught_up_for),
        cmocka_unit_test(a_verification_without_drafts_teaches_nothing),
        cmocka_unit_test(what_a_step_takes_beside_is_a_part_of_its_price),
        cmocka_unit_test(what_drafts_add_is_a_part_of_their_price),
        cmocka_unit_test(prompts_are_a_part_of_the_price),
        cmocka_unit_test(others_draft_along_with_the_pinned),
        cmocka_unit_test(those_who_cannot_draft_do_not_decide),
        cmocka_unit_test(catching_up_pays_where_enough_of_the_answer_is_left),
        cmocka_unit_test(what_came_is_held_against_the_forecast),
        cmocka_unit_test(what_prompts_take_is_no_fault_of_forecasts),
        cmocka_unit_test(a_step_behind_another_kind_is_not_steady),
        cmocka_unit_test(a_guess_is_no_forecast),
        cmocka_unit_test(what_drafts_are_compared_with_is_soon_measured),
        cmocka_unit_test(what_drafts_are_compared_with_is_measured_again),
        cmocka_unit_test(a_drafter_that_was_never_timed_begins_with_a_few),
        cmocka_unit_test(unknown_lengths_are_tried_on_credit),
        cmocka_unit_test(the_one_that_lacks_least_is_probed),
        cmocka_unit_test(a_probe_is_not_free_where_rounds_are),
        cmocka_unit_test(nobody_saves_for_probes_when_all_draft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
