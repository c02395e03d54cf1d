/* bar.c - a progress bar on a terminal */
#include "base/bar.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

enum { CELLS = 24, COLUMNS = 80 }; /* of the bar itself; of a terminal that does not say */
static const double REDRAW_SECONDS = 0.1;

void bar_begin(struct bar *bar)
{
    *bar = (struct bar){.on = isatty(STDERR_FILENO) != 0, .begun = clock_seconds()};
}

static int columns_of_terminal(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < 20 ? COLUMNS : size.ws_col;
}

void bar_line(char *line, size_t size, int columns, long done, long total, double seconds, const char *words)
{
    char cells[CELLS + 1], left[32] = "";
    int full = total > 0 ? (int)(CELLS * done / total) : 0;
    memset(cells, ' ', CELLS);
    memset(cells, '=', (size_t)full);
    cells[CELLS] = 0;
    if (done > 0 && done < total) {
        long wait = (long)(seconds / (double)done * (double)(total - done) + 0.5);
        snprintf(left, sizeof left, ", %ld:%02ld left", wait / 60, wait % 60);
    }
    int n = snprintf(line, size, "[%s] %ld/%ld%s%s%s", cells, done, total, left, *words ? "  " : "", words);
    if (n > columns && (size_t)columns < size)
        line[columns] = 0;
}

void bar_show(struct bar *bar, long done, long total, const char *words)
{
    char line[512];
    double now = clock_seconds();
    if (!bar->on || (now - bar->drawn < REDRAW_SECONDS && done < total))
        return;
    bar->drawn = now;
    bar_line(line, sizeof line, columns_of_terminal() - 1, done, total, now - bar->begun, words);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

void bar_end(struct bar *bar)
{
    if (bar->on && bar->drawn > 0)
        fputs("\r\033[K", stderr);
    bar->on = false;
}
