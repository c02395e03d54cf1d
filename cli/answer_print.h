/* answer_print.h - one streamed answer: its text shown as it comes, its JSON */
#ifndef CLI_ANSWER_PRINT_H
#define CLI_ANSWER_PRINT_H

#include <stdbool.h>
#include <stdio.h>

#include "proto/answer.h"

/* How drafts are marked. */
enum answer_marks { MARKS_NONE, MARKS_BRACKETS, MARKS_COLOURS };

/* Colours on a terminal where NO_COLOR (no-color.org) is not set, else brackets. */
enum answer_marks answer_marks_for(FILE *out);

/* Shows the text of one message. Marked: [accepted drafts], the target's own tokens as they are, {rejected drafts}. */
void answer_show(FILE *out, const struct generate_response *response, enum answer_marks marks);

/* The object of `massv generate --json`, one line; of n > 1 answers {"outputs": [their objects]}. */
void answers_json(FILE *out, const struct answer *answers, int n);

/* "55 tokens in 12 steps, ..." without an end of line. */
void answer_summary(FILE *out, const struct answer *answer);

#endif
