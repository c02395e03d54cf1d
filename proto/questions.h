/* questions.h - what is asked: in a load test, an evaluation, a distillation. An object of a file (question_file.h) is
 *
 *     {"image": "path" or null, "earlier": [TEXT, TEXT, ...], "prompt": "...", "reference": "...", "task": "..."}
 *
 * of which only the prompt must be there: "earlier" are the turns before, the user's and the assistant's by turns, "reference" is
 * the data set's own answer. What else stands there is not looked at. */
#ifndef PROTO_QUESTIONS_H
#define PROTO_QUESTIONS_H

#include <jansson.h>

#include "proto/generate.h"

struct question {
    int line;       /* of the file, from 1; in an array of conversations its number */
    char *image;    /* as the file has it; NULL without a picture */
    char *path;     /* where that is */
    char **earlier; /* (n_earlier) the user's and the assistant's turns before, in order */
    int n_earlier;  /* even */
    char *prompt;
    char *reference, *task; /* NULL where not given */
};

/* From an object of the file; line and path stay empty. An error names the member, and leaves the question empty. */
int question_take(struct question *question, const json_t *object, struct error *err);
void question_free(struct question *question);

/* Can its picture be opened, where it has one? */
int question_look(const struct question *question, struct error *err);

struct questions {
    struct question *list; /* (n) */
    int n;
};

/* The first `limit`, 0 = all; pictures lie beside the file. Every picture is opened once: an error names the file and the line. */
int questions_read(struct questions *questions, const char *path, int limit, struct error *err);
void questions_free(struct questions *questions);

/* The request of one question, with the parameters of `like`: the turns before, its text, and the picture before the
 * first text of all. Reads the picture. */
int question_pack(const struct question *question, const struct generate_request *like, struct rpc_bytes *bytes, struct error *err);

/* The same with a picture that the service has not seen before, whose work it therefore cannot spare: `mark`, another one each
 * time, stands behind the file's end, where no decoder looks. */
int question_pack_fresh(const struct question *question, const struct generate_request *like, uint64_t mark,
                        struct rpc_bytes *bytes, struct error *err);

#endif
