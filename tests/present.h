/* present.h - how much of memory the system has given */
#ifndef TESTS_PRESENT_H
#define TESTS_PRESENT_H

#include "tests/check.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Bytes of this process that are, without those that were freed. */
static inline int64_t resident(void)
{
    long long pages = 0;
    malloc_trim(0);
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %lld", &pages), 1);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

#endif
