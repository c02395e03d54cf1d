/* stream.h - what a request's client reads: prompt, deltas of whole characters, and the end with its figures */
#ifndef COORDINATOR_STREAM_H
#define COORDINATOR_STREAM_H

#include "coordinator/request.h"
#include "model/tokenizer.h"

void stream_prompt(struct request *request);

/* New tokens: the first `accepted` of them were drafts. rejected: the drafts that the step refused. */
struct delta {
    const int32_t *ids;
    int n;
    int accepted;
    const int32_t *rejected;
    int n_rejected;
    bool last; /* no token follows: an incomplete character is shown as U+FFFD */
};
void stream_delta(struct request *request, const struct tokenizer *tokenizer, const struct delta *delta);

/* reason: stop, length. drafter: kind of the service's drafter. Ends the call with RPC_OK. */
void stream_finish(struct request *request, const char *reason, const char *drafter, double now);

/* Ends the call with an error. */
void stream_fail(struct request *request, enum rpc_status status, const char *message);

/* The client reads too slowly: more than STREAM_BACKLOG bytes wait for it. */
enum { STREAM_BACKLOG = 1 << 20 };
bool stream_is_behind(const struct request *request);

#endif
