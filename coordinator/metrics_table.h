/* metrics_table.h - every metric as data: its name, type and meaning, and where its value stands */
#ifndef COORDINATOR_METRICS_TABLE_H
#define COORDINATOR_METRICS_TABLE_H

#include "coordinator/metrics.h"

#define METRICS_PREFIX "massv_"

enum metric_type {
    METRIC_COUNTER, /* a uint64_t */
    METRIC_GAUGE,   /* a double */
    METRIC_HISTOGRAM
};

struct metric {
    const char *name; /* behind the prefix */
    enum metric_type type;
    const char *help;
    size_t offset;
    const struct scale *scale; /* of a histogram */
    /* A counter with n values, one after the other: the label's name, and its value for each; NULL for those that are left out,
     * no names at all where the label counts up from 0. */
    const char *label, *const *names;
    int n;
};

extern const struct metric metric_table[];       /* offsets in struct metrics; ends with a NULL name */
extern const struct metric metric_group_table[]; /* offsets in struct metrics_group; the label `group` goes before all others */
extern const char *const metric_reasons[METRICS_REASONS];

#endif
