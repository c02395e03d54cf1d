/* eval_origin.c - where figures come from */
#include "cli/eval_origin.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "model/safetensors.h"

static void cpu_find(struct eval_origin *origin)
{
    char line[256];
    cpu_set_t set;
    FILE *f = fopen("/proc/cpuinfo", "r");
    origin->cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    snprintf(origin->cpu, sizeof origin->cpu, "unknown");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", origin->cpu) == 1)
            break;
    if (f)
        fclose(f);
}

static int file_hash(char hash[33], const char *path, struct error *err)
{
    char bytes[65536];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    XXH3_state_t *state = XXH3_createState();
    XXH3_128bits_reset(state);
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        XXH3_128bits_update(state, bytes, n);
    XXH128_hash_t sum = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    fclose(f);
    snprintf(hash, 33, "%016llx%016llx", (unsigned long long)sum.high64, (unsigned long long)sum.low64);
    return 0;
}

static int weights_hash(char hash[33], const char *dir, struct error *err)
{
    struct safetensors *st = NULL;
    uint64_t sum[2];
    int result = safetensors_open(&st, dir, err) || safetensors_hash(st, "", 1, sum, err) ? -1 : 0;
    safetensors_close(st);
    if (!result)
        snprintf(hash, 33, "%016llx%016llx", (unsigned long long)sum[0], (unsigned long long)sum[1]);
    return result;
}

int eval_origin_find(struct eval_origin *origin, const struct eval_options *options, struct error *err)
{
    time_t now = time(NULL);
    struct tm utc;
    *origin = (struct eval_origin){0};
    strftime(origin->date, sizeof origin->date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    cpu_find(origin);
    if (file_hash(origin->data_hash, options->data, err) ||
        (options->target && weights_hash(origin->target_hash, options->target, err)))
        return -1;
    for (int i = 0; i < options->n_drafters; i++)
        if (weights_hash(origin->drafter_hash[i], options->drafters[i].value, err))
            return -1;
    return 0;
}
