/* origin.h - where a request comes from, for the log */
#ifndef COORDINATOR_ORIGIN_H
#define COORDINATOR_ORIGIN_H

#include "coordinator/trace.h"
#include "proto/rpc.h"

struct origin {
    char peer[96];      /* as gRPC names it: "ipv4:127.0.0.1:40312" */
    struct trace trace; /* the caller's, or one that begins here */
};

/* From the call's callbacks, `closed` excepted. */
void origin_take(struct origin *origin, const struct rpc_call *call);
/* From `start`: the client learns in which trace its request is, whatever becomes of it. */
void origin_tell(const struct origin *origin, struct rpc_call *call);

#endif
