/* kserve_reply.h - the answer to one KServe request as its outputs come: what goes to the client, and when.
 *
 * Without deltas all of it goes at the end, in one message. With deltas each text goes when it comes, with the tokens since the
 * last one; and each output of several ends with a message of its own. Only the scheduler's thread comes here. */
#ifndef COORDINATOR_KSERVE_REPLY_H
#define COORDINATOR_KSERVE_REPLY_H

#include "proto/kserve.h"

struct reply_terms {
    const char *model; /* outlives the reply */
    bool streamed;     /* ModelStreamInfer */
};

struct reply;

/* What the request says of its answer is copied. */
struct reply *reply_new(const struct reply_terms *terms, const struct kserve_request *request);
void reply_free(struct reply *reply);

/* Takes in an event of an output. true: *bytes (malloc'ed) is a message to send now. */
bool reply_take(struct reply *reply, const struct generate_response *event, struct rpc_bytes *bytes);
/* All outputs have ended well: the last message. */
void reply_end(const struct reply *reply, struct rpc_bytes *bytes);

#endif
