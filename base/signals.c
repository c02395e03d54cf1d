/* signals.c - Ctrl-C and SIGTERM as a question */
#include "base/signals.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static void signals_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void signals_hold(void)
{
    sigset_t set;
    signals_set(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int signals_pending(void)
{
    sigset_t set;
    const struct timespec now = {0};
    signals_set(&set);
    int taken = sigtimedwait(&set, NULL, &now);
    return taken > 0 ? taken : 0;
}
