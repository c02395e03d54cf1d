/* rpc_call.h - the part of a call that only the server sees */
#ifndef PROTO_RPC_CALL_H
#define PROTO_RPC_CALL_H

#include "proto/core.h"

/* What core handed over with a new call. rpc_call_begin owns core, metadata and payload. */
struct rpc_arrival {
    grpc_call *core;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload; /* NULL for bidirectional calls */
    size_t message_limit;
    const char *limit_name; /* or NULL */
    void *context;
};

/* On the event thread. The result lives at least until the callback of the event that is being handled returns. */
struct rpc_call *rpc_call_begin(const struct rpc_method *method, const struct rpc_arrival *arrival);
/* Ends the call with RPC_RESOURCE_EXHAUSTED for a message of so many bytes. */
void rpc_call_refuse_size(struct rpc_call *call, size_t size);

#endif
