/* memory.h - small host allocations that cannot reasonably fail: when they do, the process ends with a line that says so.
 * Weights, caches and whatever a user's input sizes go through calls that return errors instead. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* Zeroed; never NULL. Release with free(3). */
void *mem_new(size_t count, size_t size);

/* realloc(3) that never returns NULL for count * size > 0. New bytes are not zeroed. */
void *mem_grow(void *old, size_t count, size_t size);

/* strdup(3) and its printf form, never NULL. */
char *mem_string(const char *text);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
