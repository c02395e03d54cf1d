/* record.h - the JSON lines that training reads and distillation writes.
 *
 * A line is an object: {"image": "path beside the file" or null, "prompt": "...", "reference": "the data set's answer", "task":
 * "..."}, of which only the prompt must be there. A distilled line has more: "line" (of the questions' file, from 1) and "sample"
 * say which question it answers; "answer", "ids" (of the target's tokenizer, with the end token where the answer ended by itself)
 * and "finish" (stop, length) what the target said; "temperature", "top_p", "seed" and "max_tokens" how it was asked, "target" and
 * "fingerprint" who; and, where they were asked for, "logprobs": [[logprob, [[id, logprob] of the most probable, ...]] for each
 * id]. Other members are not looked at. */
#ifndef TRAIN_RECORD_H
#define TRAIN_RECORD_H

#include <stddef.h>

#include "base/error.h"
#include "base/sampling.h"

struct record {
    char *image;                     /* as the file has it; NULL = no picture */
    char *prompt, *reference, *task; /* NULL where not given, but for the prompt */
    char *answer;                    /* NULL: not distilled, and all below is empty */
    int32_t *ids;                    /* (n) */
    struct logprobs *logprobs;       /* (n), or NULL */
    int n;
    char *finish, *target, *fingerprint;
    int line, sample, max_tokens;
    double temperature, top_p;
    uint64_t seed;
};

/* One line of text. An error names the member. After it the record is empty. */
int record_parse(struct record *record, const char *text, struct error *err);
/* The line with its end, malloc'ed. */
char *record_text(const struct record *record);
void record_free(struct record *record);

/* A path that stands in the file `from`, as it must stand in the file `to`; malloc'ed. Both folders must
 * exist. */
char *record_path_from(const char *to, const char *from, const char *path, struct error *err);

/* A file of such lines, too large to be held: it is read once to check every line, then line by line as they are wanted. */
struct records;
int records_open(struct records **records, const char *path, struct error *err); /* an error names file and line */
void records_close(struct records *records);
int records_count(const struct records *records);
/* Line i, counted from 0 without empty ones. -1: the file has changed or broke since. */
int records_read(struct records *records, int i, struct record *record, struct error *err);
int records_line(const struct records *records, int i); /* its number in the file, from 1 */

#endif
