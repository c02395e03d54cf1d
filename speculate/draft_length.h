/* draft_length.h - how many drafts each request of a step gets: those that make most tokens per millisecond. No clock, no I/O.
 *
 * A step of n requests makes n tokens and, for each draft, the probability that the target accepts it; it costs the target's time
 * for its rows and the drafter's rounds, both as measured. A draft's probability falls along its chain, so rows are best given to
 * the most probable drafts of all requests: all drafts above one price, and no more rounds than pay. Prices and rounds are few
 * enough to try them all. A request whose answer is too near its end to pay for what the drafter must catch up with gets none.
 *
 * The best of many forecasts is one that errs upwards, so forecasts are held against what came (Smith and Winkler 2006, the
 * optimizer's curse): drafts begin or end by the rates of both kinds of steps as corrected by that. The drafter reads prompts, too,
 * where there are drafts; what that takes is part of their price.
 *
 * What is not tried is not learned, so a little time is spent on trying: now and then a step goes without drafts, and unknown
 * lengths and requests that get none are tried as far as one or two percent of the time pay for it - what the drafter must catch up
 * with included. */
#ifndef SPECULATE_DRAFT_LENGTH_H
#define SPECULATE_DRAFT_LENGTH_H

#include <stdbool.h>

#include "speculate/acceptance.h"
#include "speculate/cost_curve.h"

/* What was accepted lately: of one request, or of all (the prior of a new one). Zeroed: nothing is known. A draft counts as tried
 * when those before it were accepted. There is one rate for all positions: later ones are tried by the better requests alone, so
 * that rates by position would mislead between requests. */
struct draft_record {
    double tried, accepted; /* older ones count less */
};

/* Counts one verification, in the request's record and in that of all. quiet: steps without drafts before it, which make what the
 * request's record says that much older. */
void draft_record_learn(struct draft_record *request, struct draft_record *all, int quiet, int drafted, int accepted);

/* The probability that the target accepts a draft that is tried, 0 to 1. */
double draft_record_rate(const struct draft_record *request, const struct draft_record *all);

struct draft_costs {                 /* ms; what is not known is 0 */
    const struct cost_curve *target; /* by rows of a step */
    const struct cost_curve *round;  /* by rows of one round of the drafter */
    const struct cost_curve *beside; /* by requests of a step without drafts: what it takes beside the target's own time */
    double beside_draft;             /* that each draft adds to it, beside the drafter's time */
    double catch_up_row;             /* of a row that the drafter has to catch up with */
};

struct draft_candidate {
    const struct draft_record *record;
    bool pinned; /* it gets `most` */
    int most;    /* drafts that it may have: 0 to ACCEPTANCE_POSITIONS */
    int left;    /* tokens until the answer must end */
    int behind;  /* rows that the drafter lacks, but for the newest */
    bool late;   /* out: drafts would not pay for what the drafter must catch up with */
    int k;       /* out */
    bool probed; /* out: it got its drafts to learn from them */
};

struct draft_tally {     /* what was foreseen against what came; older steps count less */
    double earned, took; /* ms that the tokens should have taken, and ms that they took */
};

struct draft_prompts { /* of steps with prompts: what they took beyond the forecast and what the target computed of the prompts */
    double rows, ms;
};

enum { DRAFT_LOADS = 8 }; /* 1, 2 and 3, 4 to 7, ... requests; the last one has all that are more */

struct draft_length { /* of one group; zeroed: it begins */
    struct draft_turn {
        bool begun, quiet; /* quiet: drafts did not pay */
        double gain;       /* in steps, that the other way would have brought */
    } turns[DRAFT_LOADS];
    bool quiet;         /* likewise, at the last decision */
    double quiet_share; /* of the latest decisions */
    int steps;          /* decisions since a step went without drafts to learn from it */
    bool begun;
    double credit;                    /* ms that probes and unknown lengths may take; below 0: they took more */
    double plain_credit;              /* ms that steps without drafts may lose, while drafts pay */
    int plain_left;                   /* of such steps */
    struct draft_tally with, without; /* of steps with drafts, and of those without */
    struct draft_prompts prompts_with, prompts_without;
    double rows, tokens;    /* of prompts and of answers, lately */
    struct draft_forecast { /* of the step that was chosen last */
        double tokens, ms;  /* ms = 0: no step to learn from */
        double catch_up_ms; /* that come on top */
        int requests;
        bool reads;          /* the drafter reads prompts, too, for there are drafts, or will be */
        bool drafts, steady; /* steady: the step before it was alike in both; its answers are sent in this one's time */
    } forecast;
};

/* Fills in k of all candidates; those are one step. */
void draft_length_choose(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                         struct draft_candidate *candidates, int n);

struct draft_outcome { /* of the step that was chosen last */
    double tokens;
    double ms;       /* from the end of the step before it, but for what the target computed of prompts */
    int prompt_rows; /* beside the verifications */
};

/* Once for each step of verifications that were chosen here, with or without prompts beside them; not where it had other work, too.
 */
void draft_length_learn(struct draft_length *length, const struct draft_outcome *outcome);

#endif
