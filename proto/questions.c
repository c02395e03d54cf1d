/* questions.c - objects of JSON to questions, and a question to a request */
#include "proto/questions.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/ask.h"
#include "proto/question_file.h"

/* ---- from a file ---- */

/* A member that is a string; *text NULL where it is null or not there. */
static int text_take(char **text, const json_t *object, const char *name, struct error *err)
{
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return fail(err, "%s: a string is wanted", name);
    *text = mem_string(json_string_value(value));
    return 0;
}

static int earlier_take(struct question *q, const json_t *object, struct error *err)
{
    const json_t *earlier = json_object_get(object, "earlier");
    size_t n = json_array_size(earlier);
    if (!earlier || json_is_null(earlier))
        return 0;
    if (!json_is_array(earlier) || n % 2 || n > INT_MAX)
        return fail(err, "earlier: an even number of texts is wanted: the user's and the assistant's turns before, in order");
    q->earlier = mem_new(n, sizeof *q->earlier);
    for (; q->n_earlier < (int)n; q->n_earlier++) {
        const char *text = json_string_value(json_array_get(earlier, (size_t)q->n_earlier));
        if (!text)
            return fail(err, "earlier[%d]: a string is wanted", q->n_earlier);
        q->earlier[q->n_earlier] = mem_string(text);
    }
    return 0;
}

int question_take(struct question *q, const json_t *object, struct error *err)
{
    *q = (struct question){0};
    if (!json_is_string(json_object_get(object, "prompt")))
        return fail(err, "prompt: a string is wanted");
    if (text_take(&q->prompt, object, "prompt", err) || text_take(&q->image, object, "image", err) ||
        earlier_take(q, object, err) || text_take(&q->reference, object, "reference", err) ||
        text_take(&q->task, object, "task", err)) {
        question_free(q);
        return -1;
    }
    return 0;
}

void question_free(struct question *q)
{
    for (int i = 0; i < q->n_earlier; i++)
        free(q->earlier[i]);
    free(q->earlier);
    free(q->image);
    free(q->path);
    free(q->prompt);
    free(q->reference);
    free(q->task);
    *q = (struct question){0};
}

int question_look(const struct question *q, struct error *err)
{
    FILE *f = q->path ? fopen(q->path, "rb") : NULL;
    if (q->path && !f)
        return fail(err, "image: %s: %s", q->path, strerror(errno));
    if (f)
        fclose(f);
    return 0;
}

/* The next one into the list: 1; 0 where there is none. */
static int question_add(struct questions *questions, struct question_file *file, const char *path, struct error *err)
{
    struct question_place place;
    struct question q = {0};
    json_t *object;
    int result = question_file_next(file, &place, &object, err);
    if (result != 1)
        return result;
    result = object ? question_take(&q, object, err) : -1;
    json_decref(object);
    q.line = place.number;
    q.path = q.image ? ask_path_beside(path, q.image) : NULL;
    if (result || question_look(&q, err)) {
        question_free(&q);
        return question_file_blame(file, &place, err);
    }
    questions->list = mem_grow(questions->list, (size_t)questions->n + 1, sizeof *questions->list);
    questions->list[questions->n++] = q;
    return 1;
}

int questions_read(struct questions *questions, const char *path, int limit, struct error *err)
{
    struct question_file *file;
    int result = 1;
    *questions = (struct questions){0};
    if (question_file_open(&file, path, err))
        return -1;
    while (result == 1 && (!limit || questions->n < limit))
        result = question_add(questions, file, path, err);
    question_file_close(file);
    if (result >= 0 && !questions->n)
        result = fail(err, "%s: has no question", path);
    if (result < 0)
        questions_free(questions);
    return result < 0 ? -1 : 0;
}

void questions_free(struct questions *questions)
{
    for (int i = 0; i < questions->n; i++)
        question_free(&questions->list[i]);
    free(questions->list);
    *questions = (struct questions){0};
}

/* ---- to a request ---- */

/* Its turns, (n_earlier + 1), of a part each; the first of two where it has a picture. parts: (n_earlier + 2) */
static void turns_fill(const struct question *q, struct generate_turn *turns, struct generate_part *parts)
{
    static char user[] = "user", assistant[] = "assistant";
    for (int i = 0; i <= q->n_earlier; i++) {
        parts[i + 1].text = i < q->n_earlier ? q->earlier[i] : q->prompt;
        turns[i] = (struct generate_turn){i % 2 ? assistant : user, parts + i + 1, 1};
    }
    if (q->path)
        turns[0] = (struct generate_turn){user, parts, 2};
}

/* mark: NULL for a picture as it is. */
static int pack(const struct question *question, const struct generate_request *like, const uint64_t *mark, struct rpc_bytes *bytes,
                struct error *err)
{
    size_t n = (size_t)question->n_earlier + 1;
    struct generate_turn *turns = mem_new(n, sizeof *turns);
    struct generate_part *parts = mem_new(n + 1, sizeof *parts);
    struct generate_picture picture = {0};
    struct generate_request request = *like;
    int result = question->path ? ask_picture(&picture, question->path, err) : 0;
    if (!result && question->path && mark) {
        picture.bytes = mem_grow(picture.bytes, picture.size + sizeof *mark, 1);
        memcpy(picture.bytes + picture.size, mark, sizeof *mark);
        picture.size += sizeof *mark;
    }
    turns_fill(question, turns, parts);
    request.turns = turns;
    request.n_turns = (int)n;
    request.pictures = &picture;
    request.n_pictures = question->path != NULL;
    if (!result)
        result = generate_request_pack(&request, bytes, err);
    free(picture.bytes);
    free(parts);
    free(turns);
    return result;
}

int question_pack(const struct question *question, const struct generate_request *like, struct rpc_bytes *bytes, struct error *err)
{
    return pack(question, like, NULL, bytes, err);
}

int question_pack_fresh(const struct question *question, const struct generate_request *like, uint64_t mark,
                        struct rpc_bytes *bytes, struct error *err)
{
    return pack(question, like, &mark, bytes, err);
}
