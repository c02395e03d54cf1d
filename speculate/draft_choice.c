/* draft_choice.c - what requests have shown, and the best way to draft at known prices */
#include "speculate/draft_length_parts.h"

#include <math.h>

enum {
    MEMORY = 64,      /* tried drafts after which a request's record counts e times less */
    MEMORY_ALL = 256, /* likewise that of all requests */
    PRIOR = 8,        /* tried drafts that the record of all weighs in a request's */
    PRICES = 32
};
static const double FIRST_GUESS = 0.6; /* rate of a service that has seen nothing */
static const double PRICE_STEP = 0.88; /* from one price to the next: 1 to 0.02 */
static const double SURE = 0.98;       /* nothing is surer */

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

double draft_chance(const struct draft_candidate *c, const struct draft_record *all)
{
    double rate = draft_record_rate(c->record, all);
    return rate < SURE ? rate : SURE;
}

int draft_count_above(double rate, double price, int most)
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
        double rate = draft_chance(c, all), p = rate;
        int k = c->pinned ? c->most : c->late ? 0 : draft_count_above(rate, price, c->most);
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
static struct draft_choice rounds_choose(const struct levels *levels, const struct draft_costs *costs, int n, double price,
                                         int least)
{
    struct draft_choice best = {.price = price};
    double tokens = n, drafting = 0, verifying = target_ms(costs, n, n);
    int rows = n;
    for (int j = 0; j < ACCEPTANCE_POSITIONS && levels->rows[j]; j++) {
        tokens += levels->tokens[j];
        rows += levels->rows[j];
        drafting += cost_curve_at(costs->round, levels->rows[j]);
        verifying = target_ms(costs, n, rows);
        double rate = tokens / (verifying + drafting);
        if (rate > best.rate || j < least)
            best = (struct draft_choice){price, j + 1, rate, verifying + drafting};
    }
    return best;
}

int draft_rounds_pinned(const struct draft_candidate *candidates, int n)
{
    int rounds = 0;
    for (int i = 0; i < n; i++)
        if (candidates[i].pinned && candidates[i].most > rounds)
            rounds = candidates[i].most;
    return rounds;
}

struct draft_choice draft_choice_plain(const struct draft_record *all, const struct draft_costs *costs,
                                       const struct draft_candidate *candidates, int n, int pinned)
{
    struct levels levels;
    levels_fill(&levels, all, candidates, n, 2);
    struct draft_choice choice = rounds_choose(&levels, costs, n, 2, pinned);
    if (!choice.rounds) {
        choice.ms = target_ms(costs, n, n);
        choice.rate = n / choice.ms;
    }
    return choice;
}

struct draft_choice draft_choice_best(const struct draft_record *all, const struct draft_costs *costs,
                                      const struct draft_candidate *candidates, int n, int pinned)
{
    struct draft_choice best = {.price = 2};
    double price = 1;
    for (int i = 0; i < PRICES; i++, price *= PRICE_STEP) {
        struct levels levels;
        levels_fill(&levels, all, candidates, n, price);
        struct draft_choice choice = rounds_choose(&levels, costs, n, price, pinned);
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

double draft_step_ms(const struct draft_costs *costs, const struct draft_candidate *candidates, int n)
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

double draft_step_tokens(const struct draft_record *all, const struct draft_candidate *candidates, int n)
{
    double tokens = n;
    for (int i = 0; i < n; i++) {
        double rate = draft_chance(&candidates[i], all), p = 1;
        for (int j = 0; j < candidates[i].k; j++)
            tokens += p *= rate;
    }
    return tokens;
}
