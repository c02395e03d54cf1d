/* record.h - what training reads and distillation writes: a question (proto/questions.h), and the target's answer to it.
 *
 * Files are read as proto/question_file.h says: lines, or one array of conversations. A distilled line has, beside the question's
 * members, "line" (of the questions' file, from 1; in an array the question's number) and "sample", which say which question it
 * answers; "answer", "ids" (of the target's tokenizer, with the end token where the answer ended by itself) and "finish" (stop,
 * length) what the target said; "temperature", "top_p", "seed" and "max_tokens" how it was asked, "target" and "fingerprint" who;
 * and, where they were asked for, "logprobs": [[logprob, [[id, logprob] of the most probable, ...]] for each id]. Other members are
 * not looked at. */
#ifndef TRAIN_RECORD_H
#define TRAIN_RECORD_H

#include "base/sampling.h"
#include "proto/question_file.h"
#include "proto/questions.h"

struct record {
    struct question question;
    char *answer;              /* NULL: not distilled, and all below is empty */
    int32_t *ids;              /* (n) */
    struct logprobs *logprobs; /* (n), or NULL */
    int n;
    char *finish, *target, *fingerprint;
    int line, sample, max_tokens;
    double temperature, top_p;
    uint64_t seed;
};

/* One object of a file; the question's line and path stay empty. An error names the member, and leaves the record empty. */
int record_take(struct record *record, const json_t *object, struct error *err);
/* The line with its end, malloc'ed. */
char *record_text(const struct record *record);
void record_free(struct record *record);

/* A path that stands in the file `from`, as it must stand in the file `to`; malloc'ed. Both folders must
 * exist. */
char *record_path_from(const char *to, const char *from, const char *path, struct error *err);

/* A file of records, too large to be held: it is read once to know where they are, then record by record as they are wanted. */
struct records;
/* pictures: the folder where relative paths of pictures begin; NULL = beside the file. An error names file and line. 1: a signal
 * came. */
int records_open(struct records **records, const char *path, const char *pictures, struct error *err);
void records_close(struct records *records); /* NULL is legal */
int records_count(const struct records *records);
int records_number(const struct records *records, int i); /* of record i's question (question_file.h); they ascend */
/* Record i, from 0. 0; 1: it is JSON, but no record that can be used, and err says why; -1: the file has changed or broke since. */
int records_read(struct records *records, int i, struct record *record, struct error *err);
/* Puts the file and the place of record i before what is wrong with it; always -1. */
int records_blame(const struct records *records, int i, struct error *err);

#endif
