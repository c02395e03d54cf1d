/* trace.h - W3C Trace Context, level 1: which trace a request belongs to, by its `traceparent`
 * (https://www.w3.org/TR/trace-context-1). */
#ifndef COORDINATOR_TRACE_H
#define COORDINATOR_TRACE_H

#define TRACE_KEY "traceparent"

enum {
    TRACE_SIZE = 55,     /* bytes of a traceparent of version 00 */
    TRACE_TEXT_MAX = 512 /* later ones may be longer */
};

struct trace {     /* lower-case hexadecimal */
    char id[33];   /* of the whole trace */
    char span[17]; /* our part of it */
    char flags[3];
};

/* The trace that a caller's traceparent names, with a new span; -1 when it is malformed, and nothing is changed. */
int trace_join(struct trace *trace, const char *traceparent);

/* A trace of its own, not sampled. */
void trace_begin(struct trace *trace);

/* The traceparent of our span. */
void trace_print(const struct trace *trace, char text[TRACE_SIZE + 1]);

#endif
