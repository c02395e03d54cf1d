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
static void resample(const struct bootstrap_figure *figures, int count, int n, uint64_t seed, int r, struct sums *sums)
{
    uint32_t bits[4] = {0};
    for (int f = 0; f < count; f++)
        sums[f] = (struct sums){{0, 0}, {0, 0}};
    for (int k = 0; k < n; k++) {
        if (k % 4 == 0)
            random_bits(bits, seed, (uint64_t)r, (uint64_t)k / 4);
        int i = (int)((uint64_t)bits[k % 4] * (uint64_t)n >> 32);
        for (int f = 0; f < count; f++)
            sums_add(&sums[f], figures[f].x, figures[f].y, i);
    }
}

static struct interval interval_of(const struct bootstrap_figure *figure, int n, double *resampled,
                                   const struct bootstrap_options *options)
{
    struct sums all = {{0, 0}, {0, 0}};
    double tail = 50 * (1 - options->confidence); /* percent on each side */
    for (int i = 0; i < n; i++)
        sums_add(&all, figure->x, figure->y, i);
    values_sort(resampled, options->resamples);
    return (struct interval){sums_figure(&all), values_percentile(resampled, options->resamples, tail),
                             values_percentile(resampled, options->resamples, 100 - tail)};
}

void bootstrap_figures(struct bootstrap_figure *figures, int count, int n, const struct bootstrap_options *options)
{
    size_t rows = (size_t)options->resamples;
    double *values = mem_new((size_t)count * rows, sizeof *values); /* (count, resamples) */
    struct sums *sums = mem_new((size_t)count, sizeof *sums);
    for (int r = 0; r < options->resamples; r++) {
        resample(figures, count, n, options->seed, r, sums);
        for (int f = 0; f < count; f++)
            values[(size_t)f * rows + (size_t)r] = sums_figure(&sums[f]);
    }
    for (int f = 0; f < count; f++)
        figures[f].interval = interval_of(&figures[f], n, values + (size_t)f * rows, options);
    free(sums);
    free(values);
}

struct interval bootstrap_quotient(const struct share *x, const struct share *y, int n, const struct bootstrap_options *options)
{
    struct bootstrap_figure figure = {.x = x, .y = y};
    bootstrap_figures(&figure, 1, n, options);
    return figure.interval;
}

struct interval bootstrap_ratio(const struct share *x, int n, const struct bootstrap_options *options)
{
    return bootstrap_quotient(x, NULL, n, options);
}
