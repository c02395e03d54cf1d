/* cost_curve.c - bins of means, and lines between them */
#include "speculate/cost_curve.h"

#include <math.h>
#include <stddef.h>

enum { EACH_ROW = 8, WINDOW = 16, TRUSTED = 4 }; /* measurements in a mean; and from how many on an outlier shows */

static int bin_of(int rows)
{
    int bin = rows <= EACH_ROW ? rows : EACH_ROW + (int)ceil(4 * log2((double)rows / EACH_ROW));
    return bin < 1 ? 0 : bin > COST_CURVE_BINS ? COST_CURVE_BINS - 1 : bin - 1;
}

struct pool { /* neighbours that share a level */
    double ms;
    int count, bins;
};

static void levels_fit(struct cost_curve *curve)
{
    struct pool pools[COST_CURVE_BINS];
    int n = 0;
    for (int i = 0; i < COST_CURVE_BINS; i++) {
        const struct cost_bin *bin = &curve->bins[i];
        if (!bin->count)
            continue;
        pools[n++] = (struct pool){bin->ms, bin->count, 1};
        for (; n > 1 && pools[n - 1].ms < pools[n - 2].ms; n--) {
            struct pool *a = &pools[n - 2], *b = &pools[n - 1];
            int count = a->count + b->count;
            *a = (struct pool){(a->ms * a->count + b->ms * b->count) / count, count, a->bins + b->bins};
        }
    }
    for (int i = 0, at = 0; i < COST_CURVE_BINS; i++) {
        if (!curve->bins[i].count)
            continue;
        curve->bins[i].level = pools[at].ms;
        at += --pools[at].bins == 0;
    }
}

void cost_curve_learn(struct cost_curve *curve, int rows, double ms)
{
    struct cost_bin *bin = &curve->bins[bin_of(rows)];
    if (bin->count >= TRUSTED && ms > 2 * bin->ms)
        ms = 2 * bin->ms;
    if (bin->count < WINDOW)
        bin->count++;
    bin->rows += (rows - bin->rows) / bin->count;
    bin->ms += (ms - bin->ms) / bin->count;
    levels_fit(curve);
}

int cost_curve_knows(const struct cost_curve *curve, int rows)
{
    return curve->bins[bin_of(rows)].count;
}

static double line(const struct cost_bin *a, const struct cost_bin *b, double rows)
{
    return a->level + (b->level - a->level) * (rows - a->rows) / (b->rows - a->rows);
}

double cost_curve_at(const struct cost_curve *curve, double rows)
{
    const struct cost_bin *before = NULL, *last = NULL; /* the two last bins whose rows are fewer */
    for (int i = 0; i < COST_CURVE_BINS; i++) {
        const struct cost_bin *bin = &curve->bins[i];
        if (!bin->count)
            continue;
        if (bin->rows >= rows)
            return last ? line(last, bin, rows) : bin->level;
        before = last;
        last = bin;
    }
    if (!last)
        return 0;
    if (!before || last->level <= before->level)
        return last->level;
    double on = line(before, last, rows), proportional = last->level * rows / last->rows;
    return on < proportional ? on : proportional; /* two neighbours say little of a slope; a row is never dearer than alone */
}

double cost_curve_end(const struct cost_curve *curve)
{
    for (int i = COST_CURVE_BINS - 1; i >= 0; i--)
        if (curve->bins[i].count)
            return curve->bins[i].rows;
    return 0;
}
