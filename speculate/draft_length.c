/* draft_length.c - the decision: whether drafts pay, who gets them, and what is tried to learn from it */
#include "speculate/draft_length_parts.h"

#include <stddef.h>

enum {
    START = 4,          /* drafts while costs are not known */
    START_REQUESTS = 4, /* of so many at most */
    PROBE = 3,          /* drafts of a probe */
    PLAIN_EVERY = 16,   /* decisions from one step without drafts to the next, while the time of such a step is not known */
    PLAIN_SURE = 4,     /* measurements */
    PLAIN_RUN = 6,      /* steps without drafts at a time where drafts pay */
    EXPLORE_EVERY = 4   /* decisions from one length that was never measured to the next */
};
static const double ON_MARGIN = 1.02;      /* drafts begin again when they pay so much */
static const double OFF_MARGIN = 1;        /* and end when they no longer do */
static const double TURN = 0.5;            /* steps' worth of gain beyond the margin until they do */
static const double TURN_STEP = 0.1;       /* that one step counts at most: loads come and go */
static const double PROBE_SHARE = 0.01;    /* of all time */
static const double PLAIN_SHARE = 0.005;   /* of all time: steps without drafts where drafts pay */
static const double PLAIN_LEAST = 0.04;    /* of their time that these cost at least */
static const double QUIET_MEMORY = 16;     /* decisions after which one counts e times less for how often drafts are made */
static const double CATCH_UP_MARGIN = 1.5; /* that catching up must bring, over what it costs: answers may end sooner */

/* ---- whether drafts pay ---- */

bool draft_anyone_open(const struct draft_candidate *candidates, int n)
{
    for (int i = 0; i < n; i++)
        if (!candidates[i].pinned && !candidates[i].late && candidates[i].most > 0)
            return true;
    return false;
}

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
static bool plain_again(struct draft_length *length, const struct draft_choice *without, double rate_without, double rate_with)
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

/* Finds those whose answers can still gain too little for the rows that the drafter must catch up with: at a load that comes for
 * single steps only, as when one of four waits for its prompt, next to nothing. */
static int late_find(const struct draft_length *length, struct draft_candidate *candidates, int n, const struct draft_costs *costs,
                     double without, double with)
{
    double saved = with > without ? 1 / without - 1 / with : 0; /* ms per token */
    int late = 0;
    for (int i = 0; i < n; i++) {
        struct draft_candidate *c = &candidates[i];
        double gain = c->left * saved * (1 - length->quiet_share);
        c->late = c->behind > ACCEPTANCE_POSITIONS && CATCH_UP_MARGIN * c->behind * costs->catch_up_row > gain;
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
        int k = draft_count_above(draft_chance(c, all), price, c->most);
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
                        struct draft_candidate *candidates, int n, const struct draft_choice *best)
{
    int k = length_unknown(costs, n, best->rounds);
    if (!k || length->credit < 0 || length->steps % EXPLORE_EVERY)
        return;
    drafts_give(all, candidates, n, 0, k);
    double cost = draft_step_ms(costs, candidates, n) - draft_step_tokens(all, candidates, n) / best->rate;
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
    double before = draft_step_ms(costs, candidates, n), least = PROBE_SHARE * before;
    for (struct draft_candidate *c; (c = probe_find(candidates, n));) {
        c->k = c->most < most ? c->most : most;
        double after = draft_step_ms(costs, candidates, n), cost = after - before + c->behind * costs->catch_up_row;
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
    if (!draft_anyone_open(candidates, n) || plain_unknown(length, costs, n) || drafts_start(costs, candidates, n))
        return;
    int pinned = draft_rounds_pinned(candidates, n);
    struct draft_choice without = draft_choice_plain(all, costs, candidates, n, pinned),
                        with = draft_choice_best(all, costs, candidates, n, pinned);
    double rate_without = draft_rate_corrected(length, &without), rate_with = draft_rate_corrected(length, &with);
    length->quiet_share += (turn_of(length, n)->quiet - length->quiet_share) / QUIET_MEMORY;
    if (late_find(length, candidates, n, costs, rate_without, rate_with)) {
        with = draft_choice_best(all, costs, candidates, n, pinned);
        rate_with = draft_rate_corrected(length, &with);
    }
    bool pay = draft_anyone_open(candidates, n) && drafts_pay(length, n, rate_without, rate_with);
    if (pay) {
        length->plain_credit += PLAIN_SHARE * with.ms;
        if (plain_again(length, &without, rate_without, rate_with))
            return;
        drafts_give(all, candidates, n, with.price, with.rounds);
    }
    if (!pinned)
        unknown_try(length, all, costs, candidates, n, pay ? &with : &without);
    length->credit += PROBE_SHARE * draft_step_ms(costs, candidates, n);
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
    draft_forecast_make(length, all, costs, candidates, n);
}
