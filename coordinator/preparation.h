/* preparation.h - the preparing thread: one request after the other through prepare_request, results back through the mailbox */
#ifndef COORDINATOR_PREPARATION_H
#define COORDINATOR_PREPARATION_H

#include <stdatomic.h>

#include "coordinator/prepare.h"

struct preparation { /* one job; whoever has the pointer owns it, but for `abandoned` */
    uint64_t number; /* of the request */
    struct generate_request asked;
    atomic_bool abandoned; /* the request has ended: do not begin */
    /* The result. */
    enum rpc_status status; /* of prepare_request; error says why it is not RPC_OK */
    struct error error;
    struct prepared prepared;
    struct preparation *next;
};

struct preparation *preparation_new(void);
void preparation_free(struct preparation *job);

struct mailbox;
struct preparations;
/* Starts the thread; it hands each job back as EVENT_PREPARED, failed or not. */
struct preparations *preparations_start(struct preparer *preparer, struct mailbox *mailbox);
void preparations_add(struct preparations *preparations, struct preparation *job);
/* Ends the thread after the job in work. Jobs that wait, and those that are still added, stay as they are until preparations_free:
 * their requests may not have ended yet, and will look at them. */
void preparations_stop(struct preparations *preparations);
void preparations_free(struct preparations *preparations); /* stopped; NULL is legal */

#endif
