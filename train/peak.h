/* peak.h - what the arithmetic of a run's machines does at best: the yardstick beside the speed of its steps */
#ifndef TRAIN_PEAK_H
#define TRAIN_PEAK_H

#include "cluster/comm.h"
#include "kernels/grad.h"

/* Floating-point operations per second of all ranks together, a multiply-add counting two; some 100 ms. Collective: ranks measure
 * at the same time, so that those that share cores share them here, too. */
double peak_measure(struct comm *comm, const struct grad_kernels *grad, struct device *device);

#endif
