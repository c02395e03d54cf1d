/* stream.h - what a request's client reads: prompt, deltas of whole characters, and the end with its figures */
#ifndef COORDINATOR_STREAM_H
#define COORDINATOR_STREAM_H

#include "coordinator/progress.h"
#include "coordinator/request.h"

void stream_prompt(struct request *request);

/* New tokens and their text; their drafts, accepted and rejected, to those who asked. */
void stream_delta(struct request *request, const struct tokenizer *tokenizer, const struct progress *progress);

/* reason: stop (match says at what), length, cancelled. drafter: kind of the service's drafter. */
void stream_finish(struct request *request, const char *reason, const char *match, const char *drafter, double now);
/* Where the time went, of a request with tokens. */
struct generate_timing stream_timing(const struct request *request, double now);

/* Ends the call. */
void stream_end(struct request *request, enum rpc_status status, const char *message);

/* The client reads too slowly: more than STREAM_BACKLOG bytes wait for it. */
enum { STREAM_BACKLOG = 1 << 20 };
bool stream_is_behind(const struct request *request);

#endif
