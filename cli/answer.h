/* answer.h - one streamed answer: its parts put together, its text shown as it comes, its JSON */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include <stdbool.h>
#include <stdio.h>

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

/* How drafts are marked. */
enum answer_marks { MARKS_NONE, MARKS_BRACKETS, MARKS_COLOURS };

/* Colours on a terminal where NO_COLOR (no-color.org) is not set, else brackets. */
enum answer_marks answer_marks_for(FILE *out);

/* Shows the text of one message. Marked: [accepted drafts], the target's own tokens as they are, {rejected drafts}. */
void answer_show(FILE *out, const struct generate_response *response, enum answer_marks marks);

/* The object of `massv generate --json`, one line; of n > 1 answers {"outputs": [their objects]}. */
void answers_json(FILE *out, const struct answer *answers, int n);

/* mean_acceptance_length = 1 + accepted / steps: tokens that a step gave. */
double answer_mean_length(const struct answer *answer);

/* "55 tokens in 12 steps, ..." without an end of line. */
void answer_summary(FILE *out, const struct answer *answer);

#endif
