/* questions.h - the questions of a load test or an evaluation: a file with a JSON object a line, {"image": "path beside the file"
 * or null, "prompt": "...", "reference": "...", "task": "..."}; the last two may be left out, what else stands there is not looked
 * at */
#ifndef PROTO_QUESTIONS_H
#define PROTO_QUESTIONS_H

#include "proto/generate.h"

struct question {
    int line;    /* of the file, from 1 */
    char *image; /* as the file has it; NULL without a picture */
    char *path;  /* where that is */
    char *prompt;
    char *reference, *task; /* NULL where not given */
};
struct questions {
    struct question *list; /* (n) */
    int n;
};

/* The first `limit` lines, 0 = all. Every picture is opened once: an error names the file and the line. */
int questions_read(struct questions *questions, const char *path, int limit, struct error *err);
void questions_free(struct questions *questions);

/* The request of one question, with the parameters of `like`: its picture, then its text. Reads the picture. */
int question_pack(const struct question *question, const struct generate_request *like, struct rpc_bytes *bytes, struct error *err);

/* The same with a picture that the service has not seen before, whose work it therefore cannot spare: `mark`, another one each
 * time, stands behind the file's end, where no decoder looks. */
int question_pack_fresh(const struct question *question, const struct generate_request *like, uint64_t mark,
                        struct rpc_bytes *bytes, struct error *err);

#endif
