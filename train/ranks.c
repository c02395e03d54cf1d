/* ranks.c - one result of all ranks */
#include "train/ranks.h"

#include <stdlib.h>

#include "base/memory.h"

int ranks_agree(struct comm *comm, int result, struct error *err)
{
    int worst = result;
    int *all = mem_new((size_t)comm->size, sizeof *all);
    comm->calls->all_gather(comm, all, &result, sizeof result);
    for (int i = 0; i < comm->size; i++)
        if (all[i] < 0 || (all[i] > 0 && worst == 0)) {
            if (result >= 0 && all[i] < 0)
                fail(err, "rank %d failed", i);
            worst = all[i];
        }
    free(all);
    return worst;
}
