/* stop.h - SIGTERM and SIGINT of a rank: asks the main thread to end, and ends the process when it does not within half a second.
 * mpirun leaves a rank about a second between SIGTERM and SIGKILL; a step that is running is not waited for. */
#ifndef WORKER_STOP_H
#define WORKER_STOP_H

#include <stdbool.h>

#include "base/error.h"

struct stop;

/* Blocks the signals for all threads started from here on: call it before any thread is. */
int stop_open(struct stop **stop, struct error *err);
void stop_close(struct stop *stop); /* NULL is legal */

bool stop_asked(const struct stop *stop);

/* `wake` is called once, from the signal thread, when a signal comes; at once if one came before. NULL: nobody to wake. */
void stop_watch(struct stop *stop, void (*wake)(void *context), void *context);

#endif
