/* bootstrap.h - how sure a figure over prompts is: percentile intervals from resampled prompts (Efron & Tibshirani 1993, chapter
 * 13), with counter-based random numbers: the same seed draws the same prompts for every figure, so that figures are comparable,
 * and paired ones are paired. No clock, no I/O. */
#ifndef CLI_BOOTSTRAP_H
#define CLI_BOOTSTRAP_H

#include <stdint.h>

/* What one prompt gives to a ratio of sums: sum(above) / sum(below) over prompts. */
struct share {
    double above, below;
};

struct bootstrap_options {
    int resamples;
    double confidence; /* 0.95: from the 2.5th to the 97.5th percentile */
    uint64_t seed;
};

struct interval {
    double value; /* of all prompts as they are; 0 where it is 0 / 0 */
    double low, high;
};

struct bootstrap_figure {
    const struct share *x, *y; /* (n) of each; y NULL: nothing to divide by */
    struct interval interval;  /* of sum(x.above) / sum(x.below), divided by y's */
};

/* All figures of the same n prompts, from the same draws: drawing costs more than summing. */
void bootstrap_figures(struct bootstrap_figure *figures, int count, int n, const struct bootstrap_options *options);

/* One of them: sum(x.above) / sum(x.below) over n prompts. */
struct interval bootstrap_ratio(const struct share *x, int n, const struct bootstrap_options *options);

/* The same divided by y's; each resample takes the same prompts of both. */
struct interval bootstrap_quotient(const struct share *x, const struct share *y, int n, const struct bootstrap_options *options);

#endif
