/* ranks.c - one result of all ranks, and one text */
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
                err->text[0] = 0;
            worst = all[i];
        }
    free(all);
    return worst;
}

bool ranks_tell(struct comm *comm, const struct error *err)
{
    int knows = err->text[0] != 0, before = 0, *all = mem_new((size_t)comm->size, sizeof *all);
    comm->calls->all_gather(comm, all, &knows, sizeof knows);
    for (int i = 0; i < comm->rank; i++)
        before += all[i];
    free(all);
    return knows && !before;
}
