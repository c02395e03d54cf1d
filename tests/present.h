/* present.h - how much of memory the system has given */
#ifndef TESTS_PRESENT_H
#define TESTS_PRESENT_H

#include "tests/check.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Every page of it? */
static inline bool is_present(const void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)p / page * page;
    size_t pages = ((uintptr_t)p + bytes - from + page - 1) / page;
    unsigned char *there = malloc(pages);
    assert_int_equal(mincore((void *)from, pages * page, there), 0);
    bool all = true;
    for (size_t i = 0; i < pages; i++)
        all &= there[i] & 1;
    free(there);
    return all;
}

/* Bytes of this process that are, without those that were freed. kind: "Rss" for all, "Anonymous" without pages of files, such as
 * code that runs for the first time. */
static inline int64_t resident(const char *kind)
{
    long long kilobytes = -1;
    char line[128];
    malloc_trim(0);
    FILE *f = fopen("/proc/self/smaps_rollup", "r"); /* exact, where the sum in statm is some pages late */
    assert_non_null(f);
    while (kilobytes < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, kind, strlen(kind)) && line[strlen(kind)] == ':')
            kilobytes = atoll(line + strlen(kind) + 1);
    fclose(f);
    assert_true(kilobytes >= 0);
    return 1024 * kilobytes;
}

#endif
