/* reflection.c - the methods of grpc.reflection: each message of a call is a question, answered at once */
#include "coordinator/reflection.h"

#include <stdlib.h>

#include "proto/reflection.h"

enum { REFLECTION_BACKLOG = 1 << 20 }; /* bytes of answers that a client has not read */

static void info_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    rpc_call_set(call, context);
}

static void info_message(struct rpc_call *call, const void *data, size_t size)
{
    struct rpc_bytes answer;
    struct error err;
    if (rpc_call_backlog(call) > REFLECTION_BACKLOG) {
        rpc_call_abort(call, RPC_RESOURCE_EXHAUSTED, "the client asks, but does not read the answers");
        return;
    }
    if (reflection_answer(rpc_call_get(call), data, size, &answer, &err) != 0) {
        rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
        return;
    }
    rpc_call_send(call, answer.data, answer.size);
    free(answer.data);
}

static void info_half_closed(struct rpc_call *call)
{
    rpc_call_finish(call, RPC_OK, "");
}

const struct rpc_method reflection_methods[] = {
    {REFLECTION_V1_PATH, RPC_BIDIRECTIONAL, info_start, info_message, info_half_closed, NULL},
    {REFLECTION_V1ALPHA_PATH, RPC_BIDIRECTIONAL, info_start, info_message, info_half_closed, NULL},
    {0},
};
