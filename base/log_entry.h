/* log_entry.h - one log line as data, and its two forms */
#ifndef BASE_LOG_ENTRY_H
#define BASE_LOG_ENTRY_H

#include <time.h>

#include "base/log.h"

/* The bytes that a pipe takes whole or not at all (PIPE_BUF): lines of several processes do not mix. */
enum { LOG_LINE_MAX = 4096 };

struct log_entry {
    struct timespec time; /* CLOCK_REALTIME */
    enum log_level level;
    const char *program, *host;
    int rank; /* -1 = none */
    const char *message;
    const struct log_field *fields;
    int n;
};

/* The line with its newline, without a 0 behind it; its size. A long message is cut, a field for which no room is left is left out;
 * what is no UTF-8 becomes U+FFFD in JSON, control characters become blanks in text. */
size_t log_entry_print(char line[LOG_LINE_MAX], enum log_format format, const struct log_entry *entry);

#endif
