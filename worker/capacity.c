/* capacity.c - shares of a host: each rank tells the others where it runs and what it may use */
#include "worker/capacity.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/model.h"

enum { CAPACITY_CONTEXTS = 8 };

struct place {            /* of a rank */
    uint64_t host, cores; /* hashes of the host's name and of the set of cores */
};

static struct place place_here(int *cores)
{
    char host[256] = {0};
    cpu_set_t set;
    CPU_ZERO(&set);
    gethostname(host, sizeof host - 1);
    *cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (struct place){XXH3_64bits(host, strlen(host)), XXH3_64bits(&set, sizeof set)};
}

/* MemAvailable: what new processes can have without swapping. */
static int64_t memory_available(void)
{
    long long kib = 0;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %lld kB", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return kib * 1024;
}

int capacity_positions(const struct capacity_memory *memory)
{
    int64_t spare = memory->available / memory->ranks_here - memory->shard;
    int64_t fit = spare > 0 ? spare / 2 / memory->position : 0;
    int64_t most = CAPACITY_CONTEXTS * memory->context / memory->position;
    int64_t positions = fit < most ? fit : most;
    if (positions > 1 << 30)
        positions = 1 << 30;
    return positions < MODEL_PAGE_POSITIONS ? 0 : (int)positions;
}

static int smallest_of_ranks(struct comm *comm, int value)
{
    int32_t mine = value, *all = mem_new((size_t)comm->size, sizeof *all);
    comm->calls->all_gather(comm, all, &mine, sizeof mine);
    for (int r = 0; r < comm->size; r++)
        mine = all[r] < mine ? all[r] : mine;
    free(all);
    return mine;
}

int capacity_plan(struct capacity *capacity, struct comm *comm, const struct model_config *config, enum dtype dtype,
                  struct error *err)
{
    int cores, here = 0, sharing = 0;
    struct place mine = place_here(&cores), *all = mem_new((size_t)comm->size, sizeof *all);
    comm->calls->all_gather(comm, all, &mine, sizeof mine);
    for (int r = 0; r < comm->size; r++) {
        here += all[r].host == mine.host;
        sharing += all[r].host == mine.host && all[r].cores == mine.cores;
    }
    free(all);
    const struct capacity_memory memory = {
        .available = memory_available(),
        .ranks_here = here,
        .shard = model_shard_bytes(config, comm->size, dtype),
        .position = model_position_bytes(config, comm->size),
        .context = model_sequence_bytes(config, comm->size, config->max_positions, MODEL_ROWS),
    };
    capacity->threads = cores / sharing > 0 ? cores / sharing : 1;
    capacity->kv_positions = smallest_of_ranks(comm, capacity_positions(&memory));
    if (capacity->kv_positions == 0)
        return fail(err, "a rank's shard of %s takes %lld MiB, and this host has %lld MiB available for %d of them: use more ranks",
                    config->name, (long long)(memory.shard >> 20), (long long)(memory.available >> 20), here);
    return 0;
}
