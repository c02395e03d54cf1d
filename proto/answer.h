/* answer.h - one answer, put together from the messages of its stream */
#ifndef PROTO_ANSWER_H
#define PROTO_ANSWER_H

#include "proto/generate.h"

struct answer {
    char *id, *text, *reason; /* malloc'ed; reason is NULL until the answer is finished */
    char *inactive;           /* why it ran without speculation although that was asked for, or "" */
    size_t size;              /* of text */
    int32_t *ids;
    struct logprobs *logprobs; /* (n), or NULL where none came */
    int n;
    uint64_t seed; /* 0 of a greedy answer */
    struct generate_usage usage;
    struct generate_speculation speculation; /* without its strings */
    struct generate_timing timing;
};

/* Takes one message of the stream. */
void answer_add(struct answer *answer, const struct generate_response *response);
void answer_free(struct answer *answer);

/* mean_acceptance_length = 1 + accepted / steps: tokens that a step gave. */
double answer_mean_length(const struct answer *answer);

#endif
