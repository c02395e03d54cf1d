/* bootstrap.c - percentile intervals over resampled prompts */
#include "cli/bootstrap.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "cli/values.h"

static double divided(double above, double below)
{
    return below != 0 ? above / below : 0;
}

struct sums {
    struct share x, y;
};

static void sums_add(struct sums *s, const struct share *x, const struct share *y, int i)
{
    s->x.above += x[i].above;
    s->x.below += x[i].below;
    s->y.above += y ? y[i].above : 1;
    s->y.below += y ? y[i].below : 1;
}

static double sums_figure(const struct sums *s)
{
    return divided(divided(s->x.above, s->x.below), divided(s->y.above, s->y.below));
}

/* Resample r: n draws with replacement, four to a counter; a draw is the high half of 32 random bits times n. */
static double resample(const struct share *x, const struct share *y, int n, uint64_t seed, int r)
{
    struct sums s = {{0, 0}, {0, 0}};
    uint32_t bits[4] = {0};
    for (int k = 0; k < n; k++) {
        if (k % 4 == 0)
            random_bits(bits, seed, (uint64_t)r, (uint64_t)k / 4);
        sums_add(&s, x, y, (int)((uint64_t)bits[k % 4] * (uint64_t)n >> 32));
    }
    return sums_figure(&s);
}

struct interval bootstrap_quotient(const struct share *x, const struct share *y, int n, const struct bootstrap_options *options)
{
    struct sums all = {{0, 0}, {0, 0}};
    double *figures = mem_new((size_t)options->resamples, sizeof *figures);
    double tail = 50 * (1 - options->confidence); /* percent on each side */
    for (int i = 0; i < n; i++)
        sums_add(&all, x, y, i);
    for (int r = 0; r < options->resamples; r++)
        figures[r] = resample(x, y, n, options->seed, r);
    values_sort(figures, options->resamples);
    struct interval interval = {sums_figure(&all), values_percentile(figures, options->resamples, tail),
                                values_percentile(figures, options->resamples, 100 - tail)};
    free(figures);
    return interval;
}

struct interval bootstrap_ratio(const struct share *x, int n, const struct bootstrap_options *options)
{
    return bootstrap_quotient(x, NULL, n, options);
}
