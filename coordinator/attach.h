/* attach.h - where worker groups dial in: their stream as events for the scheduler */
#ifndef COORDINATOR_ATTACH_H
#define COORDINATOR_ATTACH_H

#include <stdatomic.h>

#include "coordinator/mailbox.h"
#include "proto/rpc.h"

struct attach { /* the context of attach_methods */
    struct mailbox *mailbox;
    atomic_ullong last_number; /* of links */
};

extern const struct rpc_method attach_methods[];

#endif
