/* test_draft_decision.c - single decisions about draft lengths at prices that are written down: margins and votes, what a step's
 * time is made of, who drafts along with whom, who is probed */
#include "tests/check.h"

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
    assert_int_equal(decisions_until(true, 1.005), 100);
    assert_int_equal(decisions_until(true, 1.02), 3);
    assert_int_equal(decisions_until(false, 0.99), 100);
    assert_int_equal(decisions_until(false, 0.97), 8);
}

static void only_votes_in_a_row_count(void **state)
{
    (void)state;
    struct draft_length length = length_of(false);
    for (int i = 0; i < 100; i++) {
        decide(&length, i % 5 < 4 ? 0.97 : 1.2);
        assert_false(length.quiet);
    }
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
        struct prices prices;
        struct draft_record record = record_of(0.5);
        struct draft_candidate c = {.record = &record, .most = MOST, .left = 500};
        struct draft_length length = length_of(false);
        prices_set(&prices, 1, 1.2);
        cost_curve_learn(&prices.beside, 1, beside);
        for (int i = 0; i < 20; i++)
            draft_length_choose(&length, &record, &prices.costs, &c, 1);
        assert_int_equal(length.quiet, !beside);
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
        draft_length_choose(&length, &record, &prices.costs, c + 1, 1);
        assert_false(length.forecast.drafts); /* the pinned do not ask whether it pays */
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

static void what_came_is_held_against_the_forecast(void **state)
{
    (void)state;
    struct draft_length length = {.forecast = {.tokens = 4, .ms = 10, .catch_up_ms = 5, .drafts = true}};
    draft_length_learn(&length, 2, 15); /* half the tokens in the time that was foreseen */
    assert_true(near(length.with.earned, 5) && near(length.with.took, 10) && length.without.took == 0);
    length.with = (struct draft_tally){0};
    draft_length_learn(&length, 4, 1000); /* another process had the core */
    assert_true(near(length.with.earned, 10) && near(length.with.took, 30));
    length.forecast.ms = 0;
    draft_length_learn(&length, 4, 10);
    assert_true(near(length.with.took, 30)); /* nothing was foreseen */
    length.forecast = (struct draft_forecast){.tokens = 1, .ms = 10};
    for (int i = 0; i < 512; i++)
        draft_length_learn(&length, 1, 10);
    assert_true(near(length.with.took, 30 / 2.71828)); /* grows old without drafts */
    assert_true(near(length.without.earned, length.without.took) && length.without.took > 600);
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
        cmocka_unit_test(only_votes_in_a_row_count),
        cmocka_unit_test(a_verification_without_drafts_teaches_nothing),
        cmocka_unit_test(what_a_step_takes_beside_is_a_part_of_its_price),
        cmocka_unit_test(others_draft_along_with_the_pinned),
        cmocka_unit_test(catching_up_pays_where_enough_of_the_answer_is_left),
        cmocka_unit_test(what_came_is_held_against_the_forecast),
        cmocka_unit_test(a_guess_is_no_forecast),
        cmocka_unit_test(what_drafts_are_compared_with_is_soon_measured),
        cmocka_unit_test(a_drafter_that_was_never_timed_begins_with_a_few),
        cmocka_unit_test(unknown_lengths_are_tried_on_credit),
        cmocka_unit_test(the_one_that_lacks_least_is_probed),
        cmocka_unit_test(a_probe_is_not_free_where_rounds_are),
        cmocka_unit_test(nobody_saves_for_probes_when_all_draft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
