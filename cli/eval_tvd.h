/* eval_tvd.h - next-token distributions of target and drafters side by side, in this process: at every position of the target's
 * answers, given the same tokens before it */
#ifndef CLI_EVAL_TVD_H
#define CLI_EVAL_TVD_H

#include "cli/eval.h"
#include "speculate/divergence.h"

struct tvd_answer { /* along one answer */
    int n;
    struct divergence *rows; /* (n) position t: what follows the prompt and t tokens of the answer; NULL: not measured */
};

struct tvd {                                 /* measured on the answers of some conditions: the first of each temperature */
    int drafters[EVAL_SERVICES], n_drafters; /* indices of options.drafters */
    int conditions[EVAL_TEMPERATURES], n_conditions;
    int n_questions;
    struct tvd_answer *answers; /* (n_drafters, n_conditions, n_questions) */
};

static inline struct tvd_answer *tvd_answer_at(const struct tvd *t, int drafter, int condition, int question)
{
    return &t->answers[(drafter * t->n_conditions + condition) * t->n_questions + question];
}

/* Every drafter of the options, along the first whole answer of each question and temperature. Greedy answers are compared at
 * temperature 1, sampled ones at their own. 1 when a signal came, -1 with text: what was measured until then stays. */
int eval_tvd_measure(struct tvd *tvd, struct eval *e, struct error *err);
void eval_tvd_free(struct tvd *tvd);

enum { TVD_BINS = 20, TVD_QUANTILES = 5 };
extern const double tvd_quantiles[TVD_QUANTILES]; /* percent: 10, 25, 50, 75, 90 */

struct tvd_figures {
    int answers, positions;
    struct interval mean; /* over positions; resampled are the answers */
    double same_best;     /* share of positions where both have the same best token */
    double quantiles[TVD_QUANTILES];
    int bins[TVD_BINS]; /* positions with a distance in [i, i + 1) / TVD_BINS; 1 is in the last */
};

/* answers (n): those of the questions that count. */
void tvd_figures_make(struct tvd_figures *figures, const struct tvd_answer *const *answers, int n,
                      const struct bootstrap_options *options);

#endif
