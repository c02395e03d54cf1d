/* lines.h - lines as somebody types or pipes them, with an eye on signals while waiting (base/signals.h) */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct lines { /* of file descriptor fd; the rest zero at first */
    int fd;
    char *bytes; /* (n) read and not yet handed out */
    size_t n, room;
    bool over;
};

/* The next line without its end, malloc'ed; the last one may lack an end. NULL: there is no more, or a signal came (*signal, else
 * 0).
 */
char *lines_next(struct lines *lines, int *signal);
void lines_free(struct lines *lines);

#endif
