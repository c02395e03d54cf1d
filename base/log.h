/* log.h - lines on stderr for people who run the service, and the end of a process whose device or collective broke */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Who speaks ("coordinator", "worker rank 1"): printed in every line. Copied. Call before threads start. */
void log_name(const char *name);

/* Lines below this level are dropped; LOG_INFO at first. Call before threads start. */
void log_threshold(enum log_level level);

/* One line, written at once, safe from any thread: "2026-11-22T10:00:00.123Z coordinator info text". */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints host, name, file:line and the text, and aborts the process: a rank must not outlive a broken device. */
_Noreturn void log_abort(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define DEVICE_CHECK(condition, ...)                                                                                               \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            log_abort(__FILE__, __LINE__, __VA_ARGS__);                                                                            \
    } while (0)

#endif
