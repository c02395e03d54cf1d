/* values.h - percentiles */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

void values_sort(double *values, int n);

/* Percentile p (0 to 100) of n sorted values, between its two neighbours; 0 of none. */
double values_percentile(const double *sorted, int n, double p);

#endif
