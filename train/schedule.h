/* schedule.h - which examples a step takes and how far it goes: functions of the step alone, so that a run can stop and go on */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdint.h>

/* The learning rate of step 0, 1, ..., steps - 1: from zero up to `peak` over the first `warmup` steps, then down to zero by half
 * a cosine (Loshchilov, Hutter: "SGDR", 2017; as transformers' cosine schedule). */
double schedule_rate(int64_t step, int64_t steps, int64_t warmup, double peak);

/* An order of n examples for each epoch, shuffled by counter-based random numbers keyed by seed and epoch. */
struct order {
    int n;
    uint64_t seed;
    int64_t epoch; /* of `examples`; -1 at first */
    int *examples; /* (n) */
};
void order_open(struct order *order, int n, uint64_t seed);
void order_close(struct order *order);

/* The example at place 0, 1, 2, ... of all epochs one after the other. */
int order_at(struct order *order, int64_t place);

#endif
