/* test_draft_length.c - the policy of draft lengths against made-up machines: every way to draft has a known price there */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "speculate/draft_length.h"

enum { MOST = ACCEPTANCE_POSITIONS, STREAMS = 64, ENDLESS = 500, ANSWER = 60, PROMPT = 80 };

/* A machine: a step of the target takes base ms up to `flat` rows and grows in proportion beyond, or row ms for each row, too. */
struct machine {
    double base, flat, row;  /* the target */
    double draft, draft_row; /* a round of the drafter */
    double catch_up;         /* a row of what the drafter missed */
    double beside;           /* of a step for each request */
    double send;             /* a token of the step before */
    double read;             /* a row of a new prompt, where drafts pay */
};

static double target_takes(const struct machine *m, double rows)
{
    return (rows > m->flat ? m->base * rows / m->flat : m->base) + m->row * rows;
}

static double round_takes(const struct machine *m, double rows)
{
    return m->draft + m->draft_row * rows;
}

/* Tokens that a step gives a stream. */
static double tokens_expected(double alpha, int k)
{
    double tokens = 1, p = 1;
    for (int i = 0; i < k; i++)
        tokens += p *= alpha;
    return tokens;
}

/* Tokens per ms of n streams with k drafts each. */
static double rate_fixed(const struct machine *m, double alpha, int n, int k)
{
    return n * tokens_expected(alpha, k) /
           (target_takes(m, n * (1 + k)) + k * round_takes(m, n) + n * (m->beside + m->send * tokens_expected(alpha, k)));
}

struct world {
    struct machine machine;
    struct draft_length length;
    struct draft_record all, records[STREAMS];
    struct cost_curve target, round, beside;
    int behind[STREAMS], quiet[STREAMS], left[STREAMS];
    struct draft_candidate candidates[STREAMS];
    uint64_t seed, draws;
    int prompt_rows; /* new in the last step: the target reads them in the next one */
    double sent;     /* tokens of the last step */
    double noise;    /* of measured times */
    double ms, tokens;
    int probes, drafts;
};

static double uniform(struct world *w)
{
    uint32_t bits[4];
    random_bits(bits, w->seed, 0, w->draws++);
    return random_unit(bits[0]);
}

static double measured(struct world *w, double ms)
{
    return ms * (1 + w->noise * (2 * uniform(w) - 1));
}

static int accepted_draw(struct world *w, double alpha, int k)
{
    int a = 0;
    while (a < k && uniform(w) < alpha)
        a++;
    return a;
}

/* Where answers end, another takes the stream: nothing is known of it, and the drafter must read its prompt. */
static void stream_advance(struct world *w, int i, int tokens)
{
    if (w->left[i] == ENDLESS || (w->left[i] -= tokens) > 0)
        return;
    w->left[i] = ANSWER;
    w->behind[i] = PROMPT;
    w->prompt_rows += PROMPT;
    w->records[i] = (struct draft_record){0};
    w->quiet[i] = 0;
}

/* The times of a step as they were measured. */
static void world_learn(struct world *w, int n, int rows, int rounds, double drafting, double catching_up, double tokens,
                        int prompt_rows)
{
    const struct machine *m = &w->machine;
    double target = target_takes(m, rows), beside = m->beside * n + m->send * w->sent,
           reading = w->length.quiet ? 0 : m->read * prompt_rows;
    if (rounds)
        cost_curve_learn(&w->round, (rows - n + rounds - 1) / rounds, measured(w, drafting / rounds));
    cost_curve_learn(&w->target, rows, measured(w, target));
    if (w->length.forecast.steady && !prompt_rows && rows == n)
        cost_curve_learn(&w->beside, n, measured(w, beside));
    const struct draft_outcome outcome = {
        .tokens = tokens, .ms = measured(w, target + beside + drafting) + catching_up + reading, .prompt_rows = prompt_rows};
    draft_length_learn(&w->length, &outcome);
    w->ms += target + beside + drafting + catching_up + reading;
    w->sent = tokens;
}

/* One step of n streams, and what it teaches. alphas: (n) */
static void world_step(struct world *w, const double *alphas, int n)
{
    const struct draft_costs costs = {&w->target, &w->round, &w->beside, 0, w->machine.catch_up};
    for (int i = 0; i < n; i++)
        w->candidates[i] = (struct draft_candidate){
            .record = &w->records[i], .pinned = w->candidates[i].pinned, .most = MOST, .left = w->left[i], .behind = w->behind[i]};
    draft_length_choose(&w->length, &w->all, &costs, w->candidates, n);
    int rows = n, rounds = 0, prompt_rows = w->prompt_rows;
    w->prompt_rows = 0;
    double drafting = 0, catching_up = 0, tokens = n;
    for (int j = 0; j < MOST; j++) {
        int level = 0;
        for (int i = 0; i < n; i++)
            level += w->candidates[i].k > j;
        rounds += level > 0;
        rows += level;
        drafting += level ? round_takes(&w->machine, level) : 0;
    }
    w->drafts = rows - n;
    for (int i = 0; i < n; i++) {
        int k = w->candidates[i].k, accepted = accepted_draw(w, alphas[i], k);
        w->probes += w->candidates[i].probed;
        w->tokens += tokens_expected(alphas[i], k); /* not the drawn ones: chance is no part of the policy */
        tokens += accepted;
        draft_record_learn(&w->records[i], &w->all, w->quiet[i], k, accepted);
        w->quiet[i] = k ? 0 : w->quiet[i] + 1;
        catching_up += k ? w->behind[i] * w->machine.catch_up : 0;
        w->behind[i] = k ? 0 : w->behind[i] + 1;
        stream_advance(w, i, 1 + accepted);
    }
    world_learn(w, n, rows, rounds, drafting, catching_up, tokens, prompt_rows);
}

/* Tokens per ms of so many steps with the same alpha for all. */
static double world_run(struct world *w, double alpha, int n, int steps)
{
    double alphas[STREAMS];
    for (int i = 0; i < n; i++)
        alphas[i] = alpha;
    w->ms = w->tokens = 0;
    w->probes = 0;
    for (int s = 0; s < steps; s++)
        world_step(w, alphas, n);
    return w->tokens / w->ms;
}

static void world_open(struct world *w, const struct machine *machine, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->machine = *machine;
    w->seed = seed;
    w->noise = 0.1;
    for (int i = 0; i < STREAMS; i++)
        w->left[i] = ENDLESS;
}

static const struct machine machines[] = {
    {.base = 20, .flat = 64, .draft = 1, .draft_row = 0.02, .catch_up = 0.05}, /* reads its weights; drafts are cheap */
    {.base = 20, .flat = 16, .draft = 4, .draft_row = 0.1, .catch_up = 0.2},   /* busy from 16 rows on */
    {.base = 10, .flat = 1e9, .row = 0.4, .draft = 1, .draft_row = 0.05, .catch_up = 0.1},
    {.base = 2, .flat = 4, .draft = 0.7, .draft_row = 0.05, .catch_up = 0.1}, /* small: drafts hardly pay */
    {.base = 1, .flat = 1, .draft = 1, .draft_row = 0.3, .catch_up = 0.3},    /* the drafter costs like the target */
};

static double best_fixed(const struct machine *m, double alpha, int n, int *best_k)
{
    double best = 0;
    for (int k = 0; k <= MOST; k++)
        if (rate_fixed(m, alpha, n, k) > best) {
            best = rate_fixed(m, alpha, n, k);
            *best_k = k;
        }
    return best;
}

/* Long runs on every machine: no fixed length in hindsight is better by more than 6 %, and none at all by no more than 3 %. */
static void no_fixed_length_is_much_better(void **state)
{
    (void)state;
    const double alphas[] = {0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97};
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++)
        for (size_t a = 0; a < sizeof alphas / sizeof *alphas; a++)
            for (int n = 1; n <= STREAMS; n *= 2) {
                static struct world w;
                int k = 0;
                world_open(&w, &machines[m], 7 + m);
                double best = best_fixed(&machines[m], alphas[a], n, &k);
                world_run(&w, alphas[a], n, 200);
                double rate = world_run(&w, alphas[a], n, 1500);
                if (rate < 0.94 * best || rate < 0.97 * rate_fixed(&machines[m], alphas[a], n, 0))
                    fail_msg("machine %zu, acceptance %g, %d streams: %.3f of what K = %d gives", m, alphas[a], n, rate / best, k);
            }
}

/* Loads come one after the other, as do answers of 60 tokens whose prompts the drafter must read first: at none of them is it
 * slower than without drafts by more than 3 %. */
static void loads_and_answers_come_and_go(void **state)
{
    (void)state;
    const struct machine cheap[] = {
        {.base = 0.05, .flat = 1e9, .row = 0.036, .draft = 0.03, .draft_row = 0.012, .catch_up = 0.006, .beside = 0.02},
        {.base = 0.3, .flat = 1e9, .row = 0.06, .draft = 0.05, .draft_row = 0.012, .beside = 0.02, .send = 0.02, .read = 0.02}};
    const double alphas[] = {0, 0.3, 0.6, 0.85, 0.95};
    for (size_t m = 0; m < 2 + sizeof machines / sizeof *machines; m++)
        for (size_t a = 0; a < sizeof alphas / sizeof *alphas; a++) {
            static struct world w;
            const struct machine *machine = m < 2 ? &cheap[m] : &machines[m - 2];
            world_open(&w, machine, 31 + m);
            for (int i = 0; i < STREAMS; i++)
                w.left[i] = ANSWER - i % ANSWER;
            for (int n = 1; n <= STREAMS; n *= 2) {
                world_run(&w, alphas[a], n, 150);
                double rate = world_run(&w, alphas[a], n, 1000), without = rate_fixed(machine, alphas[a], n, 0);
                if (rate < 0.97 * without)
                    fail_msg("machine %zu, acceptance %g, %d streams: %.3f of the rate without drafts", m, alphas[a], n,
                             rate / without);
            }
        }
}

/* With different requests side by side it beats every length that is the same for all. */
static void requests_get_what_suits_them(void **state)
{
    (void)state;
    static struct world w;
    double alphas[16], best = 0;
    for (int i = 0; i < 16; i++)
        alphas[i] = i % 2 ? 0.95 : 0.05;
    for (int k = 0; k <= MOST; k++) {
        double tokens = 8 * tokens_expected(0.95, k) + 8 * tokens_expected(0.05, k);
        double ms = target_takes(&machines[2], 16 * (1 + k)) + k * round_takes(&machines[2], 16);
        best = tokens / ms > best ? tokens / ms : best;
    }
    world_open(&w, &machines[2], 3);
    for (int s = 0; s < 1500; s++) {
        if (s == 500)
            w.ms = w.tokens = 0;
        world_step(&w, alphas, 16);
    }
    if (w.tokens / w.ms < 1.2 * best)
        fail_msg("%.3f of the best single length", w.tokens / w.ms / best);
}

/* Drafts a stream has on average over some steps, once it is used to alpha and n. */
static double mean_length(struct world *w, double alpha, int n)
{
    double drafts = 0, alphas[STREAMS];
    world_run(w, alpha, n, 600);
    for (int i = 0; i < n; i++)
        alphas[i] = alpha;
    for (int s = 0; s < 400; s++) {
        world_step(w, alphas, n);
        drafts += w->drafts;
    }
    return drafts / 400 / n;
}

static void more_acceptance_gives_longer_drafts(void **state)
{
    (void)state;
    static struct world w;
    double last = -1;
    for (int i = 0; i <= 9; i++) {
        world_open(&w, &machines[2], 11);
        double length = mean_length(&w, 0.1 * i, 4);
        if (length < last - 0.2) /* of estimates */
            fail_msg("acceptance %g: %.2f drafts after %.2f", 0.1 * i, length, last);
        last = length;
    }
    assert_true(last > 3);
}

static void more_load_gives_shorter_drafts(void **state)
{
    (void)state;
    static struct world w;
    double last = MOST;
    world_open(&w, &machines[1], 12);
    for (int n = 1; n <= STREAMS; n *= 2) {
        double length = mean_length(&w, 0.8, n);
        if (length > last + 0.2)
            fail_msg("%d streams: %.2f drafts after %.2f", n, length, last);
        last = length;
    }
    assert_true(last < 0.1);
    assert_true(mean_length(&w, 0.8, 1) > 1.5); /* and back */
}

/* Drafts that are never accepted soon end; what probes take stays a small part of the time. */
static void drafts_that_never_hit_end(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++) {
        static struct world w;
        world_open(&w, &machines[m], 13);
        world_run(&w, 0, 4, 60);
        double rate = world_run(&w, 0, 4, 3000), without = rate_fixed(&machines[m], 0, 4, 0);
        assert_true(w.length.quiet);
        assert_true(w.probes > 0 ||
                    machines[m].catch_up > 0.006 * target_takes(&machines[m], 4)); /* else it costs too much to follow */
        if (rate < 0.97 * without)
            fail_msg("machine %zu: %.3f of the rate without drafts", m, rate / without);
    }
}

static void drafts_return_with_acceptance(void **state)
{
    (void)state;
    static struct world w;
    const double good[4] = {0.95, 0.95, 0.95, 0.95};
    world_open(&w, &machines[0], 14);
    world_run(&w, 0, 4, 1000);
    assert_true(w.length.quiet);
    int steps = 0;
    while (w.length.quiet && steps < 2000) {
        world_step(&w, good, 4);
        steps++;
    }
    assert_in_range(steps, 1, 600);
    assert_true(mean_length(&w, 0.95, 4) > 3);
}

/* Where drafts and none are as good, it changes its mind seldom. */
static void balance_is_no_flapping(void **state)
{
    (void)state;
    static struct world w;
    int changes = 0;
    double alphas[4];
    struct machine even = machines[1];
    even.draft = 7.2; /* K = 1 at acceptance 0.4 gives nothing and costs nothing */
    assert_true(fabs(rate_fixed(&even, 0.4, 4, 1) / rate_fixed(&even, 0.4, 4, 0) - 1) < 0.02);
    for (int i = 0; i < 4; i++)
        alphas[i] = 0.4;
    world_open(&w, &even, 15);
    for (int s = 0; s < 4000; s++) {
        bool quiet = w.length.quiet;
        world_step(&w, alphas, 4);
        changes += quiet != w.length.quiet;
    }
    assert_in_range(changes, 0, 20);
}

static void pinned_requests_keep_their_length(void **state)
{
    (void)state;
    static struct world w;
    world_open(&w, &machines[4], 16);
    w.candidates[1].pinned = true;
    const double alphas[3] = {0};
    for (int s = 0; s < 300; s++) {
        world_step(&w, alphas, 3);
        assert_int_equal(w.candidates[1].k, MOST);
        assert_in_range(w.candidates[0].k, 0, MOST);
        if (s > 200)
            assert_true(w.candidates[0].k == 0 || w.candidates[0].probed);
    }
}

/* A draft for the last tokens of a long prompt that the drafter has never read comes too late. */
static void a_long_way_to_catch_up_must_pay(void **state)
{
    (void)state;
    static struct world w;
    world_open(&w, &machines[0], 17);
    world_run(&w, 0.9, 2, 200);
    const struct draft_costs costs = {&w.target, &w.round, &w.beside, 0, w.machine.catch_up};
    struct draft_candidate c[2] = {{.record = &w.records[0], .most = MOST, .left = 3, .behind = 2000},
                                   {.record = &w.records[1], .most = MOST, .left = 300, .behind = 2000}};
    int drafted[2] = {0};
    for (int s = 0; s < 20; s++) {
        draft_length_choose(&w.length, &w.all, &costs, c, 2);
        drafted[0] += c[0].k;
        drafted[1] += c[1].k;
    }
    assert_int_equal(drafted[0], 0);
    assert_true(drafted[1] > 20);
}

static void nothing_known_and_nobody_there(void **state)
{
    (void)state;
    const struct cost_curve nothing = {0};
    const struct draft_costs costs = {.target = &nothing, .round = &nothing, .beside = &nothing};
    struct draft_record none = {0}, all = {0};
    struct draft_length length = {0};
    struct draft_candidate c = {.record = &none, .most = MOST, .left = 9};
    draft_length_choose(&length, &all, &costs, &c, 0);
    draft_length_choose(&length, &all, &costs, &c, 1);
    assert_int_equal(c.k, 0); /* what drafts are compared with */
    draft_length_choose(&length, &all, &costs, &c, 1);
    assert_in_range(c.k, 1, 6);
    c.most = 2;
    for (int s = 0; s < 500; s++) { /* a group that never tells its times */
        draft_length_choose(&length, &all, &costs, &c, 1);
        assert_in_range(c.k, 0, 2);
    }
}

static void records_forget(void **state)
{
    (void)state;
    struct draft_record record = {0}, all = {0};
    assert_true(draft_record_rate(&record, &all) > 0.3);
    for (int i = 0; i < 100; i++)
        draft_record_learn(&record, &all, 0, 4, 0);
    assert_true(draft_record_rate(&record, &all) < 0.05);
    struct draft_record fresh = {0};
    assert_true(draft_record_rate(&fresh, &all) < 0.05); /* a new request starts from what all have shown */
    draft_record_learn(&record, &all, 0, 0, 0);
    draft_record_learn(&record, &all, 1000, 4, 4); /* after a long time the old says nothing */
    assert_true(draft_record_rate(&record, &all) > 0.3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_fixed_length_is_much_better),    cmocka_unit_test(loads_and_answers_come_and_go),
        cmocka_unit_test(requests_get_what_suits_them),      cmocka_unit_test(more_acceptance_gives_longer_drafts),
        cmocka_unit_test(more_load_gives_shorter_drafts),    cmocka_unit_test(drafts_that_never_hit_end),
        cmocka_unit_test(drafts_return_with_acceptance),     cmocka_unit_test(balance_is_no_flapping),
        cmocka_unit_test(pinned_requests_keep_their_length), cmocka_unit_test(a_long_way_to_catch_up_must_pay),
        cmocka_unit_test(nothing_known_and_nobody_there),    cmocka_unit_test(records_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
