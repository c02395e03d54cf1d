/* draft_length_parts.h - what draft_length.c (the decision), draft_choice.c (what drafts are worth at known prices) and
 * draft_forecast.c (what came of it) share. Candidates: (n), one step. */
#ifndef SPECULATE_DRAFT_LENGTH_PARTS_H
#define SPECULATE_DRAFT_LENGTH_PARTS_H

#include "speculate/draft_length.h"

struct draft_choice {
    double price; /* the least probable draft that is made */
    int rounds;   /* and the longest chain */
    double rate;  /* tokens per ms */
    double ms;
};

/* The probability that the target accepts a draft of this request. */
double draft_chance(const struct draft_candidate *c, const struct draft_record *all);

/* Drafts of such a rate whose probability to be accepted is the price at least. */
int draft_count_above(double rate, double price, int most);

/* The longest chain of the pinned; 0: there are none. */
int draft_rounds_pinned(const struct draft_candidate *candidates, int n);

/* Whether there is a request whose drafts are a question. */
bool draft_anyone_open(const struct draft_candidate *candidates, int n);

/* Tokens per ms when only the pinned draft; `pinned`: draft_rounds_pinned. And the best of all prices and rounds; rate 0: nobody
 * can draft. */
struct draft_choice draft_choice_plain(const struct draft_record *all, const struct draft_costs *costs,
                                       const struct draft_candidate *candidates, int n, int pinned);
struct draft_choice draft_choice_best(const struct draft_record *all, const struct draft_costs *costs,
                                      const struct draft_candidate *candidates, int n, int pinned);

/* Of the step as its k stand in the candidates. */
double draft_step_ms(const struct draft_costs *costs, const struct draft_candidate *candidates, int n);
double draft_step_tokens(const struct draft_record *all, const struct draft_candidate *candidates, int n);

/* Fills in length->forecast, likewise. */
void draft_forecast_make(struct draft_length *length, const struct draft_record *all, const struct draft_costs *costs,
                         const struct draft_candidate *candidates, int n);

/* A rate as it is foreseen, corrected by what came of such forecasts, with what prompts take on top of it. */
double draft_rate_corrected(const struct draft_length *length, const struct draft_choice *choice);

#endif
