/* draft_length.c - prices of rows against what drafts are worth */
#include "speculate/draft_length.h"

#include <math.h>
#include <stddef.h>

enum {
    START = 4,          /* drafts while costs are not known */
    START_REQUESTS = 4, /* of so many at most */
    PROBE = 3,          /* drafts of a probe */
    MEMORY = 64,        /* tried drafts after which a request's record counts e times less */
    MEMORY_ALL = 256,   /* likewise that of all requests */
    PRIOR = 8,          /* tried drafts that the record of all weighs in a request's */
    PLAIN_EVERY = 16,   /* decisions from one step without drafts to the next, while the time of such a step is not known */
    PLAIN_SURE = 4,     /* measurements */
    PLAIN_RUN = 6,      /* steps without drafts at a time where drafts pay */
    EXPLORE_EVERY = 4,  /* decisions from one length that was never measured to the next */
    PRICES = 32,
    PROMPTS = 4096,      /* rows of prompts after which what they took counts e times less */
    PROMPTS_PRIOR = 256, /* rows that took nothing */
    TALLY = 64,          /* steps after which a tally counts e times less */
    TALLY_PRIOR = 16,    /* steps that went as foreseen, which a tally begins with */
    TALLY_QUIET = 2048,  /* steps without drafts after which what those with drafts have shown counts e times less */
    LATELY = 512         /* steps after which rows and tokens count e times less */
};
static const double FIRST_GUESS = 0.6;     /* rate of a service that has seen nothing */
static const double PRICE_STEP = 0.88;     /* from one price to the next: 1 to 0.02 */
static const double ON_MARGIN = 1.02;      /* drafts begin again when they pay so much */
static const double OFF_MARGIN = 1;        /* and end when they no longer do */
static const double TURN = 0.5;            /* steps' worth of gain beyond the margin until they do */
static const double TURN_STEP = 0.1;       /* that one step counts at most: loads come and go */
static const double PROBE_SHARE = 0.01;    /* of all time */
static const double PLAIN_SHARE = 0.005;   /* of all time: steps without drafts where drafts pay */
static const double PLAIN_LEAST = 0.04;    /* of their time that these cost at least */
static const double CATCH_UP_MARGIN = 1.5; /* that catching up must bring, over what it costs: answers may end sooner */
static const double OUTLIER = 3;           /* times the forecast that a step counts at most: another process had the core */
static const double SURE = 0.98;           /* nothing is surer */

/* ---- records ---- */

static void record_add(struct draft_record *record, double keep, int tried, int accepted)
{
    record->tried = record->tried * keep + tried;
    record->accepted = record->accepted * keep + accepted;
}

void draft_record_learn(struct draft_record *request, struct draft_record *all, int quiet, int drafted, int accepted)
{
    if (drafted < 1)
        return;
    int tried = accepted + (accepted < drafted);
    record_add(request, exp(-(double)(tried + quiet) / MEMORY), tried, accepted);
    record_add(all, exp(-(double)tried / MEMORY_ALL), tried, accepted);
}

double draft_record_rate(const struct draft_record *request, const struct draft_record *all)
{
    double prior = (all->accepted + FIRST_GUESS) / (all->tried + 1);
    return (request->accepted + PRIOR * prior) / (request->tried + PRIOR);
}

/* ---- one way to draft: its tokens and its time ---- */

struct levels { /* [i]: of the drafts at position i over all requests */
    double tokens[ACCEPTANCE_POSITIONS];
    int rows[ACCEPTANCE_POSITIONS];
};

struct choice {
    double price; /* the least probable draft that is made */
    int rounds;   /* and the longest chain */
    double rate;  /* tokens per ms */
    double ms;
};

static double chance(const struct draft_candidate *c, const struct draft_record *all)
{
    double rate = draft_record_rate(c->record, all);
    return rate < SURE ? rate : SURE;
}

/* Drafts whose probability to be accepted is the price at least. */
static int drafts_above(double rate, double price, int most)
{
    int k = 0;
    for (double p = rate; k < most && p >= price; p *= rate)
        k++;
    return k;
}

static void levels_fill(struct levels *levels, const struct draft_record *all, const struct draft_candidate *candidates, int n,
                        double price)
{
    *levels = (struct levels){{0}, {0}};
    for (int i = 0; i < n; i++) {
        const struct draft_candidate *c = &candidates[i];
        double rate = chance(c, all), p = rate;
        int k = c->pinned ? c->most : c->late ? 0 : drafts_above(rate, price, c->most);
        for (int j = 0; j < k; j++, p *= rate) {
            levels->tokens[j] += p;
            levels->rows[j]++;
        }
    }
}

/* Of a step of n requests, but for the drafter. */
static double target_ms(const struct draft_costs *costs, int n, int rows)
{
    return cost_curve_at(costs->target, rows) + cost_curve_at(costs->beside, n) + (rows - n) * costs->beside_draft;
}

/* The best number of rounds at this price; the first `least` are made anyway. */
static struct choice rounds_choose(const struct levels *levels, const struct draft_costs *costs, int n, double price, int least)
{
    struct choice best = {.price = price};
    double tokens = n, drafting = 0, verifying = target_ms(costs, n, n);
    int rows = n;
    for (int j = 0; j < ACCEPTANCE_POSITIONS && levels->rows[j]; j++) {
        tokens += levels->tokens[j];
        rows += levels->rows[j];
        drafting += cost_curve_at(costs->round, levels->rows[j]);
        verifying = target_ms(costs, n, rows);
        double rate = tokens / (verifying + drafting);
        if (rate > best.rate || j < least)
            best = (struct choice){price, j + 1, rate, verifying + drafting};
    }
    return best;
}

static int rounds_pinned(const struct draft_candidate *candidates, int n)
{
    int rounds = 0;
    for (int i = 0; i < n; i++)
        if (candidates[i].pinned && candidates[i].most > rounds)
            rounds = candidates[i].most;
    return rounds;
}

/* Whether there is a request whose drafts are a question. */
static bool anyone_open(const struct draft_candidate *candidates, int n)
{
    for (int i = 0; i < n; i++)
        if (!candidates[i].pinned && !candidates[i].late && candidates[i].most > 0)
            return true;
    return false;
}

/* Tokens per ms when only the pinned draft. */
static struct choice plain(const struct draft_record *all, const struct draft_costs *costs,
                           const struct draft_candidate *candidates, int n, int pinned)
{
    struct levels levels;
    levels_fill(&levels, all, candidates, n, 2);
    struct choice choice = rounds_choose(&levels, costs, n, 2, pinned);
    if (!choice.rounds) {
        choice.ms = target_ms(costs, n, n);
        choice.rate = n / choice.ms;
    }
    return choice;
}

static struct choice best_of(const struct draft_record *all, const struct draft_costs *costs,
                             const struct draft_candidate *candidates, int n, int pinned)
{
    struct choice best = {.price = 2};
    double price = 1;
    for (int i = 0; i < PRICES; i++, price *= PRICE_STEP) {
        struct levels levels;
        levels_fill(&levels, all, candidates, n, price);
        struct choice choice = rounds_choose(&levels, costs, n, price, pinned);
        if (choice.rate > best.rate)
            best = choice;
    }
    return best;
}

/* ---- the step as it stands in the candidates ---- */

static int rows_at(const struct draft_candidate *candidates, int n, int position)
{
    int rows = 0;
    for (int i = 0; i < n; i++)
        rows += candidates[i].k > position;
    return rows;
}

static double step_ms(const struct draft_costs *costs, const struct draft_candidate *candidates, int n)
{
    double drafting = 0;
    int rows = n;
    for (int j = 0; j < ACCEPTANCE_POSITIONS; j++) {
        int level = rows_at(candidates, n, j);
        if (!level)
            break;
        drafting += cost_curve_at(costs->round, level);
        rows += level;
    }
    return target_ms(costs, n, rows) + drafting;
}

static double step_tokens(const struct draft_record *all, const struct draft_candidate *candidates, int n)
{
    double tokens = n;
    for (int i = 0; i < n; i++) {
        double rate = chance(&candidates[i], all), p = 1;
        for (int j = 0; j < candidates[i].k; j++)
            tokens += p *= rate;
    }
    return tokens;
}

/* ---- forecasts and what came ---- */

static void forecast_make(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                          const struct draft_candidate *candidates, int n)
{
    struct draft_forecast *forecast = &length->forecast;
    int rows = n;
    const struct draft_forecast before = *forecast;
    *forecast =
        (struct draft_forecast){.requests = n, .tokens = step_tokens(all, candidates, n), .ms = step_ms(costs, candidates, n)};
    for (int i = 0; i < n; i++) {
        const struct draft_candidate *c = &candidates[i];
        rows += c->k;
        forecast->drafts = forecast->drafts || c->k;
        forecast->catch_up_ms += c->k && c->behind > ACCEPTANCE_POSITIONS ? c->behind * costs->catch_up_row : 0;
        if (c->probed)
            forecast->ms = 0;
    }
    forecast->reads = forecast->drafts || (!length->quiet && anyone_open(candidates, n));
    forecast->steady = forecast->drafts == before.drafts && n == before.requests;
    if (!cost_curve_knows(costs->target, rows))
        forecast->ms = 0; /* a guess that fails says nothing of forecasts */
}

static void tally_add(struct draft_tally *tally, double keep, double earned, double took)
{
    *tally = (struct draft_tally){tally->earned * keep + earned, tally->took * keep + took};
}

static void prompts_add(struct draft_prompts *prompts, double keep, double rows, double ms)
{
    *prompts = (struct draft_prompts){prompts->rows * keep + rows, prompts->ms * keep + ms};
}

void draft_length_learn(struct draft_length *length, const struct draft_outcome *outcome)
{
    const struct draft_forecast *forecast = &length->forecast;
    double took = outcome->ms - forecast->catch_up_ms, most = OUTLIER * forecast->ms;
    double forgotten = exp(-1.0 / TALLY_QUIET), lately = exp(-1.0 / LATELY);
    length->tokens = length->tokens * lately + outcome->tokens;
    length->rows = length->rows * lately + outcome->prompt_rows;
    if (!forecast->drafts)
        tally_add(&length->with, forgotten, 0, 0);
    if (!forecast->reads)
        prompts_add(&length->prompts_with, forgotten, 0, 0);
    if (!(forecast->ms > 0) || took <= 0)
        return;
    took = took < most ? took : most;
    if (outcome->prompt_rows)
        prompts_add(forecast->reads ? &length->prompts_with : &length->prompts_without,
                    exp(-(double)outcome->prompt_rows / PROMPTS), outcome->prompt_rows, took - forecast->ms);
    else if (forecast->steady)
        tally_add(forecast->drafts ? &length->with : &length->without, exp(-1.0 / TALLY),
                  outcome->tokens * forecast->ms / forecast->tokens, took);
}

/* A rate as it is foreseen, corrected by what came of such forecasts, with what prompts take on top of it. */
static double rate_corrected(const struct draft_length *length, const struct choice *choice)
{
    const struct draft_tally *tally = choice->rounds ? &length->with : &length->without;
    const struct draft_prompts *prompts = choice->rounds ? &length->prompts_with : &length->prompts_without;
    if (!(choice->rate > 0))
        return 0;
    double prior = TALLY_PRIOR * choice->ms, rate = choice->rate * (tally->earned + prior) / (tally->took + prior);
    double row_ms = prompts->ms / (prompts->rows + PROMPTS_PRIOR), rows = length->rows / (length->tokens + 1);
    return rate > 0 && row_ms > 0 ? 1 / (1 / rate + row_ms * rows) : rate;
}

/* ---- the decision ---- */

/* Nobody drafts in this step but the pinned: the time of such a step is not known. */
static bool plain_unknown(struct draft_length *length, const struct draft_costs *costs, int n)
{
    if (length->begun && (++length->steps < PLAIN_EVERY || cost_curve_knows(costs->target, n) >= PLAIN_SURE))
        return false;
    length->begun = true;
    length->steps = 0;
    return true;
}

/* Nobody drafts but the pinned, though drafts pay: what they are compared with must be up to date, the more so the closer it is.
 * Some steps at a time, for the answers of a step are still being sent while the next one is under way. */
static bool plain_again(struct draft_length *length, const struct choice *without, double rate_without, double rate_with)
{
    double lost = 1 - rate_without / rate_with, cost = PLAIN_RUN * without->ms * (lost > PLAIN_LEAST ? lost : PLAIN_LEAST);
    if (!length->plain_left && length->plain_credit >= cost) {
        length->plain_credit -= cost;
        length->plain_left = PLAIN_RUN;
        length->steps = 0;
    }
    if (!length->plain_left)
        return false;
    length->plain_left--;
    return true;
}

/* The drafter's time is not known at all: a few drafts for a few. */
static bool drafts_start(const struct draft_costs *costs, struct draft_candidate *candidates, int n)
{
    if (cost_curve_at(costs->round, 1) > 0)
        return false;
    for (int i = 0, begun = 0; i < n && begun < START_REQUESTS; i++)
        if (!candidates[i].pinned && candidates[i].most) {
            candidates[i].k = candidates[i].most < START ? candidates[i].most : START;
            begun++;
        }
    return true;
}

static struct draft_turn *turn_of(struct draft_length *length, int n)
{
    int load = 0;
    while (n >>= 1)
        load++;
    struct draft_turn *turn = &length->turns[load < DRAFT_LOADS ? load : DRAFT_LOADS - 1];
    if (!turn->begun)
        *turn = (struct draft_turn){.begun = true, .quiet = length->quiet};
    return turn;
}

/* Whether drafts begin or end at such a load: not at the first sign, but when what the other way would have gained adds up (the
 * cumulative sum of Page 1954). Loads come and go within milliseconds, as requests wait for their prompts; each has its own state,
 * and begins with that of the last. */
static bool drafts_pay(struct draft_length *length, int n, double without, double with)
{
    struct draft_turn *turn = turn_of(length, n);
    double gain = turn->quiet ? with / without - ON_MARGIN : OFF_MARGIN - with / without;
    gain = gain < -TURN_STEP ? -TURN_STEP : gain > TURN_STEP ? TURN_STEP : gain;
    turn->gain = turn->gain + gain > 0 ? turn->gain + gain : 0;
    if (turn->gain >= TURN)
        *turn = (struct draft_turn){.begun = true, .quiet = !turn->quiet};
    length->quiet = turn->quiet;
    return !turn->quiet;
}

/* Finds those whose answers can still gain too little for the rows that the drafter must catch up with. */
static int late_find(struct draft_candidate *candidates, int n, const struct draft_costs *costs, double without, double with)
{
    double saved = with > without ? 1 / without - 1 / with : 0; /* ms per token */
    int late = 0;
    for (int i = 0; i < n; i++) {
        struct draft_candidate *c = &candidates[i];
        c->late = c->behind > ACCEPTANCE_POSITIONS && CATCH_UP_MARGIN * c->behind * costs->catch_up_row > c->left * saved;
        late += c->late;
    }
    return late;
}

static void drafts_give(const struct draft_record *all, struct draft_candidate *candidates, int n, double price, int rounds)
{
    for (int i = 0; i < n; i++) {
        struct draft_candidate *c = &candidates[i];
        if (c->pinned || c->late)
            continue;
        int k = drafts_above(chance(c, all), price, c->most);
        c->k = k < rounds ? k : rounds;
    }
}

/* ---- trials, while there is credit ---- */

/* The first length up to one beyond the chosen that would show the target's time for rows that it never had; 0: there is none.
 * Lines between far measurements hide where a target gets dear. */
static int length_unknown(const struct draft_costs *costs, int n, int rounds)
{
    for (int k = 1; k <= rounds + 1 && k <= ACCEPTANCE_POSITIONS; k++)
        if (!cost_curve_knows(costs->target, n * (1 + k)))
            return k;
    return 0;
}

/* Instead of the chosen lengths, one that shows something new; what its tokens are not worth is paid from the credit. */
static void unknown_try(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                        struct draft_candidate *candidates, int n, const struct choice *best)
{
    int k = length_unknown(costs, n, best->rounds);
    if (!k || length->credit < 0 || length->steps % EXPLORE_EVERY)
        return;
    drafts_give(all, candidates, n, 0, k);
    double cost = step_ms(costs, candidates, n) - step_tokens(all, candidates, n) / best->rate;
    length->credit -= cost > 0 ? cost : 0;
}

/* The request without drafts that is probed with least effort; NULL: there is none. */
static struct draft_candidate *probe_find(struct draft_candidate *candidates, int n)
{
    struct draft_candidate *best = NULL;
    for (int i = 0; i < n; i++) {
        struct draft_candidate *c = &candidates[i];
        if (!c->pinned && !c->k && c->most && (!best || c->behind < best->behind))
            best = c;
    }
    return best;
}

static int rounds_of(const struct draft_candidate *candidates, int n)
{
    int rounds = 0;
    for (int i = 0; i < n; i++)
        rounds = rounds > candidates[i].k ? rounds : candidates[i].k;
    return rounds;
}

/* Along with the others' rounds, where there are some. */
static void probes_give(struct draft_length *length, const struct draft_costs *costs, struct draft_candidate *candidates, int n)
{
    int rounds = rounds_of(candidates, n), most = rounds && rounds < PROBE ? rounds : PROBE;
    double before = step_ms(costs, candidates, n), least = PROBE_SHARE * before;
    for (struct draft_candidate *c; (c = probe_find(candidates, n));) {
        c->k = c->most < most ? c->most : most;
        double after = step_ms(costs, candidates, n), cost = after - before + c->behind * costs->catch_up_row;
        cost = cost > least ? cost : least;
        if (cost > length->credit) {
            c->k = 0;
            return;
        }
        c->probed = true;
        length->credit -= cost;
        before = after;
    }
    length->credit = length->credit < 0 ? length->credit : 0; /* nobody saves when there is nobody to probe */
}

static void lengths_choose(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                           struct draft_candidate *candidates, int n)
{
    if (!anyone_open(candidates, n) || plain_unknown(length, costs, n) || drafts_start(costs, candidates, n))
        return;
    int pinned = rounds_pinned(candidates, n);
    struct choice without = plain(all, costs, candidates, n, pinned), with = best_of(all, costs, candidates, n, pinned);
    double rate_without = rate_corrected(length, &without), rate_with = rate_corrected(length, &with);
    if (late_find(candidates, n, costs, rate_without, rate_with)) {
        with = best_of(all, costs, candidates, n, pinned);
        rate_with = rate_corrected(length, &with);
    }
    bool pay = anyone_open(candidates, n) && drafts_pay(length, n, rate_without, rate_with);
    if (pay) {
        length->plain_credit += PLAIN_SHARE * with.ms;
        if (plain_again(length, &without, rate_without, rate_with))
            return;
        drafts_give(all, candidates, n, with.price, with.rounds);
    }
    if (!pinned)
        unknown_try(length, all, costs, candidates, n, pay ? &with : &without);
    length->credit += PROBE_SHARE * step_ms(costs, candidates, n);
    probes_give(length, costs, candidates, n);
}

void draft_length_choose(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                         struct draft_candidate *candidates, int n)
{
    for (int i = 0; i < n; i++) {
        candidates[i].k = candidates[i].pinned ? candidates[i].most : 0;
        candidates[i].late = candidates[i].probed = false;
    }
    if (!n)
        return;
    lengths_choose(length, all, costs, candidates, n);
    forecast_make(length, all, costs, candidates, n);
}
