/* peak.c - multiply-adds from registers on every rank at once */
#include "train/peak.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

enum { ROUNDS = 5 }; /* the best counts: others may use the machine for a moment */

struct part { /* of a rank in a round */
    double done, seconds;
};

double peak_measure(struct comm *comm, const struct grad_kernels *grad, struct device *device)
{
    double best = 0;
    struct part *all = mem_new((size_t)comm->size, sizeof *all);
    for (int round = 0; round < ROUNDS; round++) {
        comm->calls->barrier(comm);
        double begun = clock_seconds(), done = 0, seconds = 0;
        struct part own = {.done = grad->multiply_adds(device)};
        own.seconds = clock_seconds() - begun;
        comm->calls->all_gather(comm, all, &own, sizeof own);
        for (int i = 0; i < comm->size; i++) {
            done += all[i].done;
            seconds = all[i].seconds > seconds ? all[i].seconds : seconds; /* a step, too, waits for the slowest */
        }
        best = done / seconds > best ? done / seconds : best;
    }
    free(all);
    return best;
}
