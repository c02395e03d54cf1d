/* trace.c - traceparent to ids and back */
#include "coordinator/trace.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

enum { VERSION_SIZE = 2, ID_SIZE = 32, SPAN_SIZE = 16, FLAGS_SIZE = 2 };

static bool is_hex(const char *text, size_t n)
{
    return strspn(text, "0123456789abcdef") >= n;
}

/* Not zero alone, which means: none. */
static bool is_id(const char *text, size_t n)
{
    return is_hex(text, n) && strspn(text, "0") < n;
}

/* n / 2 random bytes, as text. */
static void id_make(char *text, size_t n)
{
    uint8_t bytes[ID_SIZE / 2];
    do {
        DEVICE_CHECK(getrandom(bytes, n / 2, 0) == (ssize_t)(n / 2), "no random bytes");
        for (size_t i = 0; i < n / 2; i++)
            snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    } while (!is_id(text, n));
}

int trace_join(struct trace *trace, const char *text)
{
    const char *id = text + VERSION_SIZE + 1, *parent = id + ID_SIZE + 1, *flags = parent + SPAN_SIZE + 1;
    size_t size = strlen(text);
    bool first_version = strncmp(text, "00", VERSION_SIZE) == 0;
    if (size < TRACE_SIZE || id[-1] != '-' || parent[-1] != '-' || flags[-1] != '-' || !is_hex(text, VERSION_SIZE) ||
        strncmp(text, "ff", VERSION_SIZE) == 0 || !is_id(id, ID_SIZE) || !is_id(parent, SPAN_SIZE) || !is_hex(flags, FLAGS_SIZE) ||
        (size > TRACE_SIZE && (first_version || text[TRACE_SIZE] != '-')))
        return -1;
    snprintf(trace->id, sizeof trace->id, "%.*s", ID_SIZE, id);
    snprintf(trace->flags, sizeof trace->flags, "%.*s", FLAGS_SIZE, flags);
    id_make(trace->span, SPAN_SIZE);
    return 0;
}

void trace_begin(struct trace *trace)
{
    id_make(trace->id, ID_SIZE);
    id_make(trace->span, SPAN_SIZE);
    snprintf(trace->flags, sizeof trace->flags, "00");
}

void trace_print(const struct trace *trace, char text[TRACE_SIZE + 1])
{
    snprintf(text, TRACE_SIZE + 1, "00-%s-%s-%s", trace->id, trace->span, trace->flags);
}
