/* origin.c - what a call tells of who makes it */
#include "coordinator/origin.h"

#include <stdio.h>

void origin_take(struct origin *origin, const struct rpc_call *call)
{
    snprintf(origin->peer, sizeof origin->peer, "%s", rpc_call_peer(call));
}
