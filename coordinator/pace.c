/* pace.c - learning from times, and bounds from what was learned */
#include "coordinator/pace.h"

#include <limits.h>

static const double SMOOTHING = 0.25; /* weight of the newest measurement of a prompt row */

static void prompt_learn(struct pace *pace, double ms)
{
    if (pace->prompt_row_ms > 0)
        pace->prompt_row_ms += SMOOTHING * (ms - pace->prompt_row_ms);
    else
        pace->prompt_row_ms = ms;
}

void pace_learn(struct pace *pace, int rounds, int generated_rows, int prompt_rows, double ms)
{
    if (ms <= 0 || generated_rows + prompt_rows == 0)
        return;
    if (!prompt_rows) {
        cost_curve_learn(&pace->run, generated_rows, ms / rounds);
        return;
    }
    double prompt = ms - rounds * cost_curve_at(&pace->run, generated_rows);
    if (prompt > 0)
        prompt_learn(pace, prompt / prompt_rows);
}

double pace_ms(const struct pace *pace, int rounds, int generated_rows, int prompt_rows)
{
    double run = generated_rows ? rounds * cost_curve_at(&pace->run, generated_rows) : 0,
           prompt = prompt_rows * pace->prompt_row_ms;
    return (generated_rows && run <= 0) || (prompt_rows && prompt <= 0) ? 0 : run + prompt;
}

int pace_prompt_rows(const struct pace *pace, int rounds, int generated_rows, double stall_ms)
{
    if (!(pace->prompt_row_ms > 0))
        return PACE_FIRST_ROWS;
    double run = rounds * cost_curve_at(&pace->run, generated_rows), rows = (run > stall_ms ? run : stall_ms) / pace->prompt_row_ms;
    return rows > INT_MAX ? INT_MAX : rows > PACE_LEAST_ROWS ? (int)rows : PACE_LEAST_ROWS;
}
