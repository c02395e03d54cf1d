/* report.h - one log line for each request that ends, however it ends: who asked, what came of it, what it cost */
#ifndef COORDINATOR_REPORT_H
#define COORDINATOR_REPORT_H

#include "coordinator/request.h"

/* Of one output. message: why it failed; unused with RPC_OK. The warm-up is reported at level debug. */
void report_end(const struct request *request, enum rpc_status status, const char *message, double now);

/* Of a request that did not become one. */
void report_refusal(const struct origin *origin, const char *id, enum rpc_status status, const char *message);

#endif
