/* log.c - log lines; each is one write(2), so lines of threads and processes do not mix */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What a process is called and how much it says belongs to the process: the one state at file level in base/. */
static char speaker[64] = "massv";
static enum log_level threshold = LOG_INFO;

void log_name(const char *name)
{
    snprintf(speaker, sizeof speaker, "%s", name);
}

void log_threshold(enum log_level level)
{
    threshold = level;
}

static size_t put_head(char *line, size_t size, const char *level)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    n += (size_t)snprintf(line + n, size - n, ".%03ldZ %s %s ", now.tv_nsec / 1000000, speaker, level);
    return n;
}

static void put_line(const char *level, const char *format, va_list args)
{
    char line[2048];
    size_t n = put_head(line, sizeof line, level);
    int m = vsnprintf(line + n, sizeof line - n - 1, format, args);
    n += m < 0 ? 0 : (size_t)m;
    if (n > sizeof line - 2)
        n = sizeof line - 2;
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nobody is left to tell */
}

void log_line(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (level < threshold)
        return;
    va_list args;
    va_start(args, format);
    put_line(names[level], format, args);
    va_end(args);
}

_Noreturn void log_abort(const char *file, int line, const char *format, ...)
{
    char host[64] = "?";
    gethostname(host, sizeof host - 1);
    char where[1280];
    int n = snprintf(where, sizeof where, "%s pid %ld %s:%d: ", host, (long)getpid(), file, line);
    va_list args;
    va_start(args, format);
    vsnprintf(where + n, sizeof where - (size_t)n, format, args);
    va_end(args);
    log_line(LOG_ERROR, "%s", where);
    abort();
}
