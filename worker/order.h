/* order.h - what rank 0 tells the other ranks to do: run a message of the coordinator, forget everything, or end.
 *
 * An order is a wake, a broadcast head and, with a message, its packed bytes as they came. Every rank then acts on the same bytes
 * (order_act), so the ranks stay alike without any further word between them. */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "cluster/comm.h"
#include "cluster/watchdog.h"
#include "proto/step.h"
#include "worker/engine.h"

/* One rank's things. */
struct post {
    struct comm *comm;
    struct engine *engine;
    struct watchdog *watchdog; /* over each step */
};

/* Rank 0. */
void order_message(const struct post *post, const void *data, size_t size);
void order_forget(const struct post *post);
void order_end(const struct post *post);

/* Runs a step (the verdict is then filled, else NULL may be passed) or keeps a piece, on this rank. */
void order_act(const struct post *post, const struct step_message *message, struct step_verdict *verdict);

/* Ranks other than 0: obeys until rank 0 says the end. */
void order_obey(const struct post *post);

#endif
