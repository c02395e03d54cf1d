/* watchdog.h - ends the process when a call that cannot fail by itself takes too long, or when the parent process is gone.
 *
 * A collective whose peer died returns no error: it hangs. So a thread looks a few times a second whether the rank is still inside
 * the call in which it was the time before. Entering and leaving cost one atomic store, no clock. */
#ifndef CLUSTER_WATCHDOG_H
#define CLUSTER_WATCHDOG_H

#include <stdbool.h>

#include "base/error.h"

struct watchdog;

struct watchdog_options {
    double timeout;    /* seconds that one call may take */
    int rank;          /* for the line that is printed */
    bool needs_parent; /* the process ends when the process that started it does */
};

int watchdog_open(struct watchdog **watchdog, const struct watchdog_options *options, struct error *err);
void watchdog_close(struct watchdog *watchdog);

/* Around a call, by one thread at a time; `what` must outlive it. Not nested. */
void watchdog_enter(struct watchdog *watchdog, const char *what);
void watchdog_leave(struct watchdog *watchdog);

#endif
