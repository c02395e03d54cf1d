/* lines.c - lines of a file descriptor */
#include "cli/lines.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/signals.h"

enum { SIGNAL_MS = 100, READ_BYTES = 4096 }; /* how soon a signal is seen; of one read */

/* Takes the first `size` bytes and `end` more. */
static char *line_take(struct lines *lines, size_t size, size_t end)
{
    char *line = mem_new(size + 1, 1);
    memcpy(line, lines->bytes, size);
    lines->n -= size + end;
    memmove(lines->bytes, lines->bytes + size + end, lines->n);
    return line;
}

static void lines_read(struct lines *lines)
{
    if (lines->room - lines->n < READ_BYTES)
        lines->bytes = mem_grow(lines->bytes, lines->room = 2 * lines->room + READ_BYTES, 1);
    ssize_t got = read(lines->fd, lines->bytes + lines->n, READ_BYTES);
    if (got > 0)
        lines->n += (size_t)got;
    else
        lines->over = true;
}

char *lines_next(struct lines *lines, int *signal)
{
    for (;;) {
        const char *end = lines->n ? memchr(lines->bytes, '\n', lines->n) : NULL;
        *signal = signals_pending();
        if (*signal)
            return NULL;
        if (end)
            return line_take(lines, (size_t)(end - lines->bytes), 1);
        if (lines->over)
            return lines->n ? line_take(lines, lines->n, 0) : NULL;
        struct pollfd poll_fd = {.fd = lines->fd, .events = POLLIN};
        if (poll(&poll_fd, 1, SIGNAL_MS) > 0)
            lines_read(lines);
    }
}

void lines_free(struct lines *lines)
{
    free(lines->bytes);
}
