/* values.c - percentiles */
#include "cli/values.h"

#include <stdlib.h>

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void values_sort(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, double_compare);
}

double values_percentile(const double *sorted, int n, double p)
{
    if (!n)
        return 0;
    double at = p / 100 * (n - 1);
    int below = (int)at;
    return below + 1 < n ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[n - 1];
}
