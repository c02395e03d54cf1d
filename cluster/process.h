/* process.h - a child process and the promise that it ends: mpirun, a coordinator, anything that `massv up` starts
 *
 * A child runs in its own process group (a Ctrl-C in the terminal reaches only the parent, which then stops its children in order),
 * with standard input from /dev/null and no signal blocked. What it leaves behind in that group is killed when its end is noticed.
 * It gets SIGTERM when the thread that spawned it ends, so spawn from a thread that lives as long as the child should. */
#ifndef CLUSTER_PROCESS_H
#define CLUSTER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct process;

struct process_options {
    char *const *argv;        /* NULL-terminated; argv[0] is looked for on PATH unless it has a slash */
    char *const *environment; /* NULL-terminated "NAME=value", put over this process's own; NULL = nothing more */
    int output, error_output; /* file descriptors that become its stdout and stderr; 0 = inherited */
};

/* Fails when the program cannot be executed (known before this returns). */
int process_spawn(struct process **process, const struct process_options *options, struct error *err);

pid_t process_id(const struct process *process);

/* Waits up to `timeout` seconds (0: only looks; negative: any time). True when the child has ended: then *status, if wanted, is its
 * exit status, or 128 + the signal that killed it. Can be asked again. */
bool process_wait(struct process *process, double timeout, int *status);

/* SIGTERM, up to `grace` seconds of patience, then SIGKILL to the whole group. Returns the status as process_wait does. Nothing is
 * sent to a child that has ended. */
int process_stop(struct process *process, double grace);

/* Sends a signal to the child alone. */
void process_signal(const struct process *process, int signal);

/* Stops a child that still runs (grace 0) and forgets it. NULL is legal. */
void process_close(struct process *process);

#endif
