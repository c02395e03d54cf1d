/* pace.h - how long the steps of a group, or the rounds of the drafter, take; and how many prompt rows may go along without
 * stalling the answers that run beside them */
#ifndef COORDINATOR_PACE_H
#define COORDINATOR_PACE_H

#include "speculate/cost_curve.h"

struct pace {              /* zeroed: nothing is known */
    struct cost_curve run; /* ms by generated rows, without prompt rows beside them */
    double prompt_row_ms;  /* smoothed; 0 = not known */
};

/* A run is one step of a group, or so many rounds of the drafter with so many rows each (a mean); prompt rows are of all of it.
 * Nothing is learned from a step without rows, nor from one whose time nobody took (ms 0). */
void pace_learn(struct pace *pace, int rounds, int generated_rows, int prompt_rows, double ms);

/* ms that a run with so many generated rows and prompt rows is likely to take; 0 where that is not known. */
double pace_ms(const struct pace *pace, int rounds, int generated_rows, int prompt_rows);

/* Prompt rows that lengthen a run of so many generated rows by stall_ms, or to twice its time if that is more: a pause that nobody
 * notices beside a run that is long anyway. At least PACE_LEAST_ROWS, so that prompts get on, and PACE_FIRST_ROWS before anything
 * is known. */
enum { PACE_LEAST_ROWS = 16, PACE_FIRST_ROWS = 64 };
int pace_prompt_rows(const struct pace *pace, int rounds, int generated_rows, double stall_ms);

#endif
