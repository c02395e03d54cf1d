/* memory.h - small host allocations that cannot reasonably fail: when they do, the process ends with a line that says so.
 * Weights, caches and whatever a user's input sizes go through calls that return errors instead. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* For a process that runs for months, before it starts threads: malloc keeps two pools, of the main thread and of all others. By
 * default each thread gets its own until there are 8 a core, and each pool keeps the most that its threads ever used: gRPC's, which
 * come and go, let the process grow for hours. */
void mem_few_pools(void);

/* Zeroed; never NULL. Release with free(3). */
void *mem_new(size_t count, size_t size);

/* realloc(3) that never returns NULL for count * size > 0. New bytes are not zeroed. */
void *mem_grow(void *old, size_t count, size_t size);

/* Makes memory present that will be written: the system gives pages when they are first written to, so without this a process whose
 * buffers are as large as its largest step can be grows until that step has come. What was there is lost. */
void mem_touch(void *p, size_t bytes);

/* strdup(3) and its printf form, never NULL. */
char *mem_string(const char *text);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
