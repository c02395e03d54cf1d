/* journal.h - what a run says of its way: DIR/loss.jsonl, a line per step, and its plot, DIR/loss.png and .svg */
#ifndef TRAIN_JOURNAL_H
#define TRAIN_JOURNAL_H

#include <stdint.h>

#include "base/error.h"

struct journal;

/* Goes on behind the lines of the first `steps` steps and drops what follows them: those steps are done again. */
int journal_open(struct journal **journal, const char *run, int64_t steps, struct error *err);
void journal_close(struct journal *journal); /* NULL is legal */

struct journal_step {
    int64_t step; /* from 1 */
    double epoch, loss, learning_rate, gradient_norm, tokens_per_s;
    double gflop_per_s, utilisation; /* of all ranks; the share of their peak (peak.h) */
    double held_out_loss;            /* NaN = was not measured at this step */
};
int journal_add(struct journal *journal, const struct journal_step *step, struct error *err);

/* Draws the curve with gnuplot; -1 where that is not there or fails, with the reason: nothing else is lost by it. */
int journal_plot(const char *run, const char *title, struct error *err);

#endif
