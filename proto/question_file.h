/* question_file.h - a file of questions, read one by one, so that memory holds one entry. Its first character tells what it is:
 *
 *     {   a JSON object a line: a question, with the members of questions.h; empty lines are left out
 *     [   one JSON array of conversations (llava.h), each with as many questions as it has human turns
 *
 * An entry is a line, or an object of the array; it has at most 64 MiB. */
#ifndef PROTO_QUESTION_FILE_H
#define PROTO_QUESTION_FILE_H

#include <jansson.h>

#include "base/error.h"

struct question_place {
    long at;      /* bytes before its entry */
    int line;     /* where the entry begins, from 1 */
    int entry;    /* of the array, from 1; 0 = of lines */
    int question; /* of the entry, from 0; -1 = it has none that can be used */
    int number;   /* of the question: its line, or its place among those of the whole array, from 1 */
};

struct question_file;

int question_file_open(struct question_file **file, const char *path, struct error *err);
void question_file_close(struct question_file *file); /* NULL is legal */

/* 1: the next question, as the object that a line would be, a new reference; or NULL for an entry that is JSON but no conversation
 * to be used: then err says why, without a place. `question` is NULL where the place alone is wanted. 0: there are no more. -1: the
 * file is broken here, and no more can be read; err names file, line and column. Not to be called after question_file_read. */
int question_file_next(struct question_file *file, struct question_place *place, json_t **question, struct error *err);

/* 0: what question_file_next gave for that place, NULL included. -1: the file has changed or broke since; err names it and the
 * line. */
int question_file_read(struct question_file *file, const struct question_place *place, json_t **question, struct error *err);

/* Puts file and place before what is wrong with a question; always -1. */
int question_file_blame(const struct question_file *file, const struct question_place *place, struct error *err);

#endif
