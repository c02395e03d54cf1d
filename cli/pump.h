/* pump.h - what child processes write, read by a thread: passed on to our stderr if wanted, and the last of it kept for the
 * message that says why one died */
#ifndef CLI_PUMP_H
#define CLI_PUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { PUMP_INPUTS = 32 };

struct pump;

int pump_open(struct pump **pump, struct error *err);
void pump_close(struct pump *pump); /* NULL is legal */

/* A descriptor for a child to write to (the caller closes its copy after the child has started); what slot `i` kept of an earlier
 * child is forgotten. -1 with text on failure. */
int pump_input(struct pump *pump, int i, struct error *err);

/* From now on everything goes to our stderr, what was kept first. */
void pump_relay(struct pump *pump);

/* The line of slot i that tells most: the last of massv's programs before what mpirun, ssh and others say. All
 * that the child wrote counts, also what is still in the pipe. */
void pump_last_words(struct pump *pump, int i, char *line, size_t size);

#endif
