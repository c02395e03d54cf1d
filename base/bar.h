/* bar.h - a progress bar on a terminal: how much is done, how fast, and when it will be; nothing where stderr is none */
#ifndef BASE_BAR_H
#define BASE_BAR_H

#include <stdbool.h>
#include <stddef.h>

struct bar {
    bool on;      /* stderr is a terminal */
    double begun; /* clock_seconds */
    double drawn; /* when it was last drawn */
};

void bar_begin(struct bar *bar);

/* Draws it, at most ten times a second. words: what else there is to say, on the same line. */
void bar_show(struct bar *bar, long done, long total, const char *words);

/* Takes it away: the line is free again for others. */
void bar_end(struct bar *bar);

/* The line, at most `columns` wide, without the terminal's codes. */
void bar_line(char *line, size_t size, int columns, long done, long total, double seconds, const char *words);

#endif
