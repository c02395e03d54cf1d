/* log.c - log lines; each is one write(2), so lines of threads and processes do not mix */
#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log_entry.h"

const char *const log_level_names[LOG_LEVELS] = {"debug", "info", "warning", "error"};
const char *const log_format_names[LOG_FORMATS] = {"text", "json"};

/* What a process is called and how much it says belongs to the process: the one state at file level in base/. */
static char speaker[64] = "massv", host[64] = "?";
static int speaker_rank = -1;
static enum log_level threshold = LOG_INFO;
static enum log_format shape = LOG_TEXT;
static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* of the names, of stderr and of the number of lines that it did not take */
static unsigned long dropped;
static bool is_cut; /* the last line that went out lacks its end */

void log_name(const char *program, int rank)
{
    pthread_mutex_lock(&lock);
    snprintf(speaker, sizeof speaker, "%s", program);
    gethostname(host, sizeof host - 1);
    speaker_rank = rank;
    pthread_mutex_unlock(&lock);
}

void log_threshold(enum log_level level)
{
    threshold = level;
}

void log_shape(enum log_format format)
{
    shape = format;
}

enum log_level log_level_now(void)
{
    return threshold;
}

enum log_format log_format_now(void)
{
    return shape;
}

static size_t entry_print(char line[LOG_LINE_MAX], enum log_level level, const char *message, const struct log_field *fields, int n)
{
    struct log_entry entry = {
        .level = level, .program = speaker, .host = host, .rank = speaker_rank, .message = message, .fields = fields, .n = n};
    clock_gettime(CLOCK_REALTIME, &entry.time);
    return log_entry_print(line, shape, &entry);
}

/* The lock is held from here on. A pipe that can be written to takes PIPE_BUF bytes at once, and nobody else of this process writes
 * meanwhile. A disk that fills up takes a part: that line is lost, and the next one ends it before it begins. */
static int line_write(const char *line, size_t size)
{
    struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};
    const struct iovec parts[] = {{.iov_base = "\n", .iov_len = is_cut}, {.iov_base = (char *)line, .iov_len = size}};
    ssize_t whole = (ssize_t)(size + is_cut), n;
    if (poll(&wait, 1, 0) != 1 || (n = writev(STDERR_FILENO, parts, 2)) <= 0)
        return -1;
    is_cut = n < whole && n != is_cut;
    return n == whole ? 0 : -1;
}

static void line_put(const char *line, size_t size)
{
    char notice[LOG_LINE_MAX], text[80];
    if (dropped) {
        snprintf(text, sizeof text, "%lu lines of log were lost: they could not be written", dropped);
        if (line_write(notice, entry_print(notice, LOG_WARNING, text, NULL, 0)) == 0)
            dropped = 0;
    }
    if (dropped || line_write(line, size) != 0)
        dropped++;
}

void log_event(enum log_level level, const struct log_field *fields, int n, const char *message)
{
    char line[LOG_LINE_MAX];
    if (level < threshold)
        return;
    pthread_mutex_lock(&lock);
    line_put(line, entry_print(line, level, message, fields, n));
    pthread_mutex_unlock(&lock);
}

void log_line(enum log_level level, const char *format, ...)
{
    char message[2048];
    if (level < threshold)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_event(level, NULL, 0, message);
}

void log_relay(const char *bytes, size_t size)
{
    char line[LOG_LINE_MAX];
    size_t n = size < sizeof line - 1 ? size : sizeof line - 1;
    memcpy(line, bytes, n);
    line[n] = 0;
    if (shape == LOG_JSON && *line != '{') {
        log_event(LOG_WARNING, NULL, 0, line);
        return;
    }
    line[n] = '\n';
    pthread_mutex_lock(&lock);
    line_put(line, n + 1);
    pthread_mutex_unlock(&lock);
}

_Noreturn void log_abort(const char *file, int line, const char *format, ...)
{
    char where[1280], here[64] = "?";
    gethostname(here, sizeof here - 1);
    int n = snprintf(where, sizeof where, "%s pid %ld %s:%d: ", here, (long)getpid(), file, line);
    va_list args;
    va_start(args, format);
    vsnprintf(where + n, sizeof where - (size_t)n, format, args);
    va_end(args);
    log_line(LOG_ERROR, "%s", where);
    abort();
}
