/* questions.c - lines of JSON to questions, and a question to a request */
#include "proto/questions.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/ask.h"

/* A member that is a string; *text NULL where it is null or not there. */
static int text_take(char **text, const json_t *line, const char *name, const char *wanted, struct error *err)
{
    const json_t *value = json_object_get(line, name);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_string(value))
        return fail(err, "%s: %s is wanted", name, wanted);
    *text = mem_string(json_string_value(value));
    return 0;
}

static int image_look(struct question *q, const char *file, struct error *err)
{
    if (!q->image)
        return 0;
    q->path = ask_path_beside(file, q->image);
    FILE *f = fopen(q->path, "rb");
    if (!f)
        return fail(err, "image: %s: %s", q->path, strerror(errno));
    fclose(f);
    return 0;
}

static int line_take(struct question *q, const char *text, const char *file, struct error *err)
{
    json_error_t at;
    json_t *line = json_loads(text, 0, &at);
    if (!line)
        return fail(err, "not JSON: %s", at.text);
    int result = 0;
    if (!json_is_object(line))
        result = fail(err, "a JSON object is wanted: {\"image\": FILE or null, \"prompt\": TEXT}");
    else if (!json_is_string(json_object_get(line, "prompt")))
        result = fail(err, "prompt: a string is wanted");
    else if (text_take(&q->prompt, line, "prompt", "a string", err) || text_take(&q->image, line, "image", "a path or null", err) ||
             text_take(&q->reference, line, "reference", "a string", err) || text_take(&q->task, line, "task", "a string", err))
        result = -1;
    json_decref(line);
    return result ? -1 : image_look(q, file, err);
}

static int lines_take(struct questions *questions, FILE *f, const char *path, int limit, struct error *err)
{
    char *text = NULL;
    size_t room = 0;
    int result = 0;
    for (int number = 1; !result && (!limit || questions->n < limit) && getline(&text, &room, f) >= 0; number++) {
        if (!text[strspn(text, " \t\r\n")])
            continue;
        questions->list = mem_grow(questions->list, (size_t)questions->n + 1, sizeof *questions->list);
        questions->list[questions->n] = (struct question){.line = number};
        if ((result = line_take(&questions->list[questions->n++], text, path, err)))
            fail_in(err, "%s: line %d", path, number);
    }
    free(text);
    if (!result && ferror(f))
        result = fail(err, "%s: cannot be read: is it a file?", path);
    else if (!result && !questions->n)
        result = fail(err, "%s: has no line; a JSON object with a prompt is wanted on each", path);
    return result;
}

int questions_read(struct questions *questions, const char *path, int limit, struct error *err)
{
    *questions = (struct questions){0};
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    int result = lines_take(questions, f, path, limit, err);
    fclose(f);
    if (result)
        questions_free(questions);
    return result;
}

void questions_free(struct questions *questions)
{
    for (int i = 0; i < questions->n; i++) {
        struct question *q = &questions->list[i];
        free(q->image);
        free(q->path);
        free(q->prompt);
        free(q->reference);
        free(q->task);
    }
    free(questions->list);
    *questions = (struct questions){0};
}

/* mark: NULL for a picture as it is. */
static int pack(const struct question *question, const struct generate_request *like, const uint64_t *mark, struct rpc_bytes *bytes,
                struct error *err)
{
    struct generate_part parts[2] = {{0}};
    char role[] = "user";
    struct generate_turn turn = {role, parts, 0};
    struct generate_picture picture = {0};
    struct generate_request request = *like;
    int result = question->path ? ask_picture(&picture, question->path, err) : 0;
    if (!result && question->path && mark) {
        picture.bytes = mem_grow(picture.bytes, picture.size + sizeof *mark, 1);
        memcpy(picture.bytes + picture.size, mark, sizeof *mark);
        picture.size += sizeof *mark;
    }
    turn.n_parts += question->path != NULL; /* the picture, before the text */
    parts[turn.n_parts++].text = question->prompt;
    request.turns = &turn;
    request.n_turns = 1;
    request.pictures = &picture;
    request.n_pictures = question->path != NULL;
    if (!result)
        result = generate_request_pack(&request, bytes, err);
    free(picture.bytes);
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
