/* log.h - lines on stderr for people and collectors who run the service, and the end of a process whose device or collective broke.
 * A log line never blocks: where stderr takes none at the moment (a full disk, a reader that does not read, a closed descriptor),
 * it is dropped and counted, and the next one that passes says how many were. One that it took in part counts as dropped, too; the
 * next begins on a line of its own. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_LEVELS };
enum log_format { LOG_TEXT, LOG_JSON, LOG_FORMATS };

/* debug, info, warning, error; text, json. */
extern const char *const log_level_names[LOG_LEVELS], *const log_format_names[LOG_FORMATS];

/* Who speaks ("coordinator", "worker"), and as which rank (-1: none): stands in every line. Copied. */
void log_name(const char *program, int rank);

/* What is asked for on the command line (base/log_flags.h): lines below this level are dropped, LOG_INFO at first; LOG_TEXT at
 * first. Before threads start. */
void log_threshold(enum log_level level);
void log_shape(enum log_format format);
enum log_level log_level_now(void);
enum log_format log_format_now(void);

/* One line, written at once, safe from any thread: "2026-11-22T10:00:00.123Z coordinator info text", or a JSON object. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What belongs to a message, for machines: in text `key=value` behind it, in JSON members of their own. */
struct log_field {
    const char *key;  /* of a C name's characters */
    const char *text; /* NULL: the number */
    double number;
};
void log_event(enum log_level level, const struct log_field *fields, int n, const char *message);

/* Passes on a line of another process, without its end: as it is, but in JSON what is no object becomes the message of one. */
void log_relay(const char *bytes, size_t size);

/* Prints host, name, file:line and the text, and aborts the process: a rank must not outlive a broken device. */
_Noreturn void log_abort(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define DEVICE_CHECK(condition, ...)                                                                                               \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            log_abort(__FILE__, __LINE__, __VA_ARGS__);                                                                            \
    } while (0)

#endif
