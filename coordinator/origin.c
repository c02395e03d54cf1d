/* origin.c - what a call tells of who makes it */
#include "coordinator/origin.h"

#include <stdio.h>

#include "base/log.h"

/* A traceparent that cannot be read is as none (Trace Context, section 4.3): the request must not fail for it. */
static void trace_take(struct trace *trace, const struct rpc_call *call)
{
    char text[TRACE_TEXT_MAX + 1] = "";
    int found = rpc_call_metadata(call, TRACE_KEY, text, sizeof text);
    if (found > 0 && trace_join(trace, text) == 0)
        return;
    trace_begin(trace);
    if (found) {
        const struct log_field fields[] = {{"peer", rpc_call_peer(call), 0}, {TRACE_KEY, text, 0}, {"trace_id", trace->id, 0}};
        log_event(LOG_DEBUG, fields, 3, "a traceparent that is none was ignored");
    }
}

void origin_take(struct origin *origin, const struct rpc_call *call)
{
    snprintf(origin->peer, sizeof origin->peer, "%s", rpc_call_peer(call));
    trace_take(&origin->trace, call);
}

void origin_tell(const struct origin *origin, struct rpc_call *call)
{
    char trace[TRACE_SIZE + 1];
    trace_print(&origin->trace, trace);
    rpc_call_tell(call, TRACE_KEY, trace);
}
