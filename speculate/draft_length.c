/* draft_length.c - prices of rows against what drafts are worth */
#include "speculate/draft_length.h"

#include <math.h>
#include <stddef.h>

enum {
    START = 4,         /* drafts while costs are not known */
    START_STEPS = 4,   /* decisions at most between two without drafts */
    PROBE = 3,         /* drafts of a probe */
    MEMORY = 64,       /* tried drafts after which a request's record counts e times less */
    MEMORY_ALL = 256,  /* likewise that of all requests */
    PRIOR = 8,         /* tried drafts that the record of all weighs in a request's */
    PLAIN_EVERY = 256, /* decisions from one step without drafts to the next: what drafts are compared with must be up to date */
    PLAIN_UNKNOWN = 16,
    EXPLORE_EVERY = 4, /* decisions from one length that was never measured to the next */
    VOTES_OFF = 8,
    VOTES_ON = 2,
    PRICES = 32
};
static const double FIRST_GUESS = 0.6;   /* rate of a service that has seen nothing */
static const double PRICE_STEP = 0.88;   /* from one price to the next: 1 to 0.02 */
static const double ON_MARGIN = 1.01;    /* drafts begin again when they pay so much */
static const double OFF_MARGIN = 0.985;  /* and end when they lose so much: without them, little is learned */
static const double PROBE_SHARE = 0.015; /* of all time */
static const double SURE = 0.98;         /* nothing is surer */

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
        int k = c->pinned ? c->most : drafts_above(rate, price, c->most);
        for (int j = 0; j < k; j++, p *= rate) {
            levels->tokens[j] += p;
            levels->rows[j]++;
        }
    }
}

static double target_ms(const struct draft_costs *costs, int rows)
{
    return cost_curve_at(costs->target, rows) + costs->overhead;
}

/* The best number of rounds at this price; the first `least` are made anyway. */
static struct choice rounds_choose(const struct levels *levels, const struct draft_costs *costs, int n, double price, int least)
{
    struct choice best = {.price = price};
    double tokens = n, drafting = 0, verifying = target_ms(costs, n);
    int rows = n;
    for (int j = 0; j < ACCEPTANCE_POSITIONS && levels->rows[j]; j++) {
        tokens += levels->tokens[j];
        rows += levels->rows[j];
        drafting += cost_curve_at(costs->round, levels->rows[j]);
        double ms = target_ms(costs, rows);
        verifying = ms > verifying ? ms : verifying; /* more rows are never faster: that is noise */
        double rate = tokens / (verifying + drafting);
        if (rate > best.rate || j < least)
            best = (struct choice){price, j + 1, rate};
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

/* Tokens per ms when only the pinned draft. */
static struct choice plain(const struct draft_record *all, const struct draft_costs *costs,
                           const struct draft_candidate *candidates, int n, int pinned)
{
    struct levels levels;
    levels_fill(&levels, all, candidates, n, 2);
    struct choice choice = rounds_choose(&levels, costs, n, 2, pinned);
    if (!choice.rounds)
        choice.rate = n / target_ms(costs, n);
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

/* ---- the decision ---- */

/* Nobody drafts in this step but the pinned: the time of such a step is not known, or long ago. */
static bool plain_due(struct draft_length *length, const struct draft_costs *costs, int n)
{
    int after = cost_curve_knows(costs->target, n) ? PLAIN_EVERY : PLAIN_UNKNOWN;
    if (length->begun && ++length->steps < after)
        return false;
    length->begun = true;
    length->steps = 0;
    return true;
}

/* Whether drafts begin or end: not at the first sign. */
static bool drafts_pay(struct draft_length *length, double without, double with)
{
    bool change = length->quiet ? with > ON_MARGIN * without : with < OFF_MARGIN * without;
    length->votes = change ? length->votes + 1 : 0;
    if (length->votes >= (length->quiet ? VOTES_ON : VOTES_OFF)) {
        length->quiet = !length->quiet;
        length->votes = 0;
    }
    return !length->quiet;
}

/* What the request's answer can still gain does not pay for the rows that the drafter must catch up with. */
static bool comes_too_late(const struct draft_candidate *c, const struct draft_costs *costs, double saved_per_token)
{
    return c->behind > ACCEPTANCE_POSITIONS && c->behind * costs->catch_up_row > c->left * saved_per_token;
}

/* The first length up to one beyond the chosen that would show the target's time for rows that it never had; 0: there is none.
 * Lines between far measurements hide where a target gets dear. */
static int length_unknown(const struct draft_costs *costs, int n, int rounds)
{
    for (int k = 1; k <= rounds + 1 && k <= ACCEPTANCE_POSITIONS; k++)
        if (!cost_curve_knows(costs->target, n * (1 + k)))
            return k;
    return 0;
}

static void drafts_give(const struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                        struct draft_candidate *candidates, int n, const struct choice *choice, double without)
{
    int explored = length->steps % EXPLORE_EVERY == 0 ? length_unknown(costs, n, choice->rounds) : 0;
    double saved = choice->rate > without ? 1 / without - 1 / choice->rate : 0;
    for (int i = 0; i < n; i++) {
        struct draft_candidate *c = &candidates[i];
        if (c->pinned || comes_too_late(c, costs, saved))
            continue;
        int k = explored ? c->most : drafts_above(chance(c, all), choice->price, c->most),
            most = explored ? explored : choice->rounds;
        c->k = k < most ? k : most;
    }
}

/* ---- probes ---- */

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
    return target_ms(costs, rows) + drafting;
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

/* Probes while there is credit, which nobody saves when there is nobody to probe. */
static void probes_give(struct draft_length *length, const struct draft_costs *costs, struct draft_candidate *candidates, int n)
{
    double before = step_ms(costs, candidates, n), least = PROBE_SHARE * before;
    length->credit += PROBE_SHARE * before;
    for (struct draft_candidate *c; (c = probe_find(candidates, n));) {
        c->k = c->most < PROBE ? c->most : PROBE;
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
    length->credit = 0;
}

/* What drafts cost at this load is not known: a few for everybody, for those with whom the drafter must begin, too. */
static bool drafts_start(const struct draft_length *length, const struct draft_costs *costs, struct draft_candidate *candidates,
                         int n)
{
    bool known = cost_curve_at(costs->round, 1) > 0 && cost_curve_end(costs->target) > 1.5 * n;
    if (known || length->steps > START_STEPS)
        return false;
    for (int i = 0; i < n; i++)
        if (!candidates[i].pinned)
            candidates[i].k = candidates[i].most < START ? candidates[i].most : START;
    return true;
}

void draft_length_choose(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                         struct draft_candidate *candidates, int n)
{
    for (int i = 0; i < n; i++) {
        candidates[i].k = candidates[i].pinned ? candidates[i].most : 0;
        candidates[i].probed = false;
    }
    if (!n || plain_due(length, costs, n) || drafts_start(length, costs, candidates, n))
        return;
    int pinned = rounds_pinned(candidates, n);
    struct choice without = plain(all, costs, candidates, n, pinned), with = best_of(all, costs, candidates, n, pinned);
    if (drafts_pay(length, without.rate, with.rate))
        drafts_give(length, all, costs, candidates, n, &with, without.rate);
    probes_give(length, costs, candidates, n);
}
