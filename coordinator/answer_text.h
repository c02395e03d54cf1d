/* answer_text.h - the text of an answer as its tokens come: whole characters only, and nothing that may be the beginning of a stop
 * string before that is decided.
 *
 * Answers travel as strings that end at a zero byte (protobuf-c), so one that the model generates is shown as U+FFFD, as bytes that
 * make no character are; the ids say what it was. */
#ifndef COORDINATOR_ANSWER_TEXT_H
#define COORDINATOR_ANSWER_TEXT_H

#include "coordinator/stop_strings.h"
#include "model/tokenizer.h"

struct answer_text { /* all zero at first, or with stops */
    struct text_stream characters;
    struct stop_strings *stops; /* NULL without stop strings */
};

/* What the next token makes visible (malloc'ed; special tokens have no text). *stop: the stop string that it completes (of stops),
 * or NULL; armed false: none counts yet. */
char *answer_text_push(struct answer_text *text, const struct tokenizer *tokenizer, int32_t id, bool armed, const char **stop);

/* No token follows: what was still held back, an incomplete character as U+FFFD. */
char *answer_text_rest(struct answer_text *text, const char **stop);

/* The text of some ids at once (malloc'ed). */
char *answer_text_of(const struct tokenizer *tokenizer, const int32_t *ids, int n, bool keep_special);

void answer_text_free(struct answer_text *text);

#endif
