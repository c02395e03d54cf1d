/* state_keep.c - the last states of a run, each by the number of its steps */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "train/state.h"

#define KEPT_NAME "state-%" PRId64 ".safetensors"

char *state_kept_path(const char *run, int64_t steps)
{
    return mem_format("%s/" KEPT_NAME, run, steps);
}

/* The steps of a kept state by its name; -1 where it is none. */
static int64_t name_steps(const char *name)
{
    int64_t steps;
    char again[64];
    if (sscanf(name, "state-%" SCNd64, &steps) != 1 || steps < 0)
        return -1;
    snprintf(again, sizeof again, KEPT_NAME, steps);
    return strcmp(again, name) ? -1 : steps;
}

/* Of the kept states of at most `steps`: how many there are, and the steps of the first. */
static int kept_count(const char *run, int64_t steps, int64_t *first, struct error *err)
{
    DIR *folder = opendir(run);
    int n = 0;
    *first = steps;
    if (!folder)
        return fail(err, "%s: %s", run, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(folder));) {
        int64_t found = name_steps(entry->d_name);
        n += found >= 0 && found <= steps;
        if (found >= 0 && found < *first)
            *first = found;
    }
    closedir(folder);
    return n;
}

/* After a death between the two names the second may be of an older file. */
static int name_add(const char *run, int64_t steps, struct error *err)
{
    char *state = state_path(run), *kept = state_kept_path(run, steps);
    int bad =
        (unlink(kept) && errno != ENOENT) || link(state, kept) ? fail(err, "%s: cannot be kept: %s", kept, strerror(errno)) : 0;
    free(state);
    free(kept);
    return bad;
}

int state_keep(const char *run, int64_t steps, int keep, struct error *err)
{
    int64_t first;
    if (name_add(run, steps, err))
        return -1;
    for (int n; (n = kept_count(run, steps, &first, err)) > keep;) {
        char *path = state_kept_path(run, first);
        int bad = unlink(path) ? fail(err, "%s: cannot be dropped: %s", path, strerror(errno)) : 0;
        free(path);
        if (bad)
            return -1;
    }
    return 0;
}
