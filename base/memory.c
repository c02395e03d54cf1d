/* memory.c - host allocations that end the process when they fail */
#include "base/memory.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void mem_few_pools(void)
{
    mallopt(M_ARENA_MAX, 2);
}

void *mem_new(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    DEVICE_CHECK(p, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void *mem_grow(void *old, size_t count, size_t size)
{
    DEVICE_CHECK(!size || count <= SIZE_MAX / size, "out of memory: %zu x %zu bytes", count, size);
    void *p = realloc(old, count && size ? count * size : 1);
    DEVICE_CHECK(p, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void mem_touch(void *p, size_t bytes)
{
    enum { PAGE = 4096 }; /* the smallest; larger ones are touched more than once */
    volatile char *memory = p;
    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = 0;
    if (bytes)
        memory[bytes - 1] = 0;
}

char *mem_string(const char *text)
{
    char *copy = strdup(text);
    DEVICE_CHECK(copy, "out of memory: a string of %zu bytes", strlen(text));
    return copy;
}

char *mem_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    DEVICE_CHECK(n >= 0, "out of memory: a formatted string");
    return text;
}
