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

void cost_curve_learn(struct cost_curve *curve, int rows, double ms)
{
    struct cost_bin *bin = &curve->bins[bin_of(rows)];
    if (bin->count >= TRUSTED && ms > 2 * bin->ms)
        ms = 2 * bin->ms;
    if (bin->count < WINDOW)
        bin->count++;
    bin->rows += (rows - bin->rows) / bin->count;
    bin->ms += (ms - bin->ms) / bin->count;
}

int cost_curve_knows(const struct cost_curve *curve, int rows)
{
    return curve->bins[bin_of(rows)].count > 0;
}

static double line(const struct cost_bin *a, const struct cost_bin *b, double rows)
{
    return a->ms + (b->ms - a->ms) * (rows - a->rows) / (b->rows - a->rows);
}

double cost_curve_at(const struct cost_curve *curve, double rows)
{
    const struct cost_bin *before = NULL, *last = NULL; /* the two last bins whose rows are fewer */
    for (int i = 0; i < COST_CURVE_BINS; i++) {
        const struct cost_bin *bin = &curve->bins[i];
        if (!bin->count)
            continue;
        if (bin->rows >= rows)
            return last ? line(last, bin, rows) : bin->ms;
        before = last;
        last = bin;
    }
    if (!last)
        return 0;
    if (!before || last->ms <= before->ms)
        return last->ms;
    double on = line(before, last, rows), proportional = last->ms * rows / last->rows;
    return on < proportional ? on : proportional; /* two neighbours say little of a slope; a row is never dearer than alone */
}

double cost_curve_end(const struct cost_curve *curve)
{
    for (int i = COST_CURVE_BINS - 1; i >= 0; i--)
        if (curve->bins[i].count)
            return curve->bins[i].rows;
    return 0;
}
