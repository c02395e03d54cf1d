/* llava.c - LLaVA's conversations, checked and cut into questions */
#include "proto/llava.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define MARK "<image>"

enum { TURNS_MAX = 4096 }; /* the work on an entry's questions grows with their number's square */

static const char white[] = " \t\r\n";

/* ---- what an entry is ---- */

static const char *turn_text(const json_t *turns, size_t i)
{
    return json_string_value(json_object_get(json_array_get(turns, i), "value"));
}

/* Number i, which must be the human's where i is even. */
static int turn_check(const json_t *turns, size_t i, struct error *err)
{
    const char *wanted = i % 2 ? "gpt" : "human";
    const char *from = json_string_value(json_object_get(json_array_get(turns, i), "from"));
    if (!from)
        return fail(err, "conversations[%zu]: {\"from\": \"%s\", \"value\": TEXT} is wanted", i, wanted);
    if (strcmp(from, wanted) != 0)
        return fail(err, "conversations[%zu].from: \"%.32s\", but it is the turn of \"%s\": human and gpt take turns, human first",
                    i, from, wanted);
    return turn_text(turns, i) ? 0 : fail(err, "conversations[%zu].value: a string is wanted", i);
}

/* The one picture, a string; NULL where there is none. */
static int image_find(const json_t **image, const json_t *entry, struct error *err)
{
    const json_t *given = json_object_get(entry, "image");
    *image = NULL;
    if (!given || json_is_null(given))
        return 0;
    if (json_array_size(given) > 1)
        return fail(err, "image: %zu pictures; at most one is supported", json_array_size(given));
    *image = json_is_array(given) ? json_array_get(given, 0) : given;
    if (*image && !json_is_string(*image))
        return fail(err, "image: a path, or a list of one, is wanted");
    return 0;
}

static size_t marks_count(const json_t *turns)
{
    size_t marks = 0;
    for (size_t i = 0; i < json_array_size(turns); i += 2)
        for (const char *at = turn_text(turns, i); (at = strstr(at, MARK)); at += strlen(MARK))
            marks++;
    return marks;
}

int llava_questions(const json_t *entry, struct error *err)
{
    const json_t *turns = json_object_get(entry, "conversations"), *image;
    size_t n = json_array_size(turns);
    if (!json_is_array(turns))
        return fail(err, "conversations: an array of turns, {\"from\": \"human\" or \"gpt\", \"value\": TEXT}, is wanted");
    if (!n || n > TURNS_MAX)
        return fail(err, "conversations: %zu turns; 1 to %d are wanted", n, TURNS_MAX);
    for (size_t i = 0; i < n; i++)
        if (turn_check(turns, i, err))
            return -1;
    if (image_find(&image, entry, err))
        return -1;
    size_t marks = marks_count(turns), wanted = image != NULL;
    if (marks != wanted)
        return fail(err, "conversations: the human's turns have %zu times " MARK ", but the entry has %zu picture%s", marks, wanted,
                    wanted == 1 ? "" : "s");
    return (int)((n + 1) / 2);
}

/* ---- an entry's questions ---- */

/* A human turn without its mark. */
static json_t *text_unmarked(const char *text)
{
    const char *mark = strstr(text, MARK);
    if (!mark)
        return json_string(text);
    char *all = mem_format("%.*s%s", (int)(mark - text), text, mark + strlen(MARK));
    size_t from = strspn(all, white), end = strlen(all);
    while (end > from && strchr(white, all[end - 1]))
        end--;
    json_t *left = json_stringn(all + from, end - from);
    free(all);
    return left;
}

json_t *llava_question(const json_t *entry, int i)
{
    const json_t *turns = json_object_get(entry, "conversations"), *image;
    size_t at = 2 * (size_t)i;
    json_t *question = json_object();
    image_find(&image, entry, NULL);
    json_object_set_new(question, "image", image ? json_string(json_string_value(image)) : json_null());
    if (at) {
        json_t *earlier = json_array();
        for (size_t t = 0; t < at; t++)
            json_array_append_new(earlier, t % 2 ? json_string(turn_text(turns, t)) : text_unmarked(turn_text(turns, t)));
        json_object_set_new(question, "earlier", earlier);
    }
    json_object_set_new(question, "prompt", text_unmarked(turn_text(turns, at)));
    if (at + 1 < json_array_size(turns))
        json_object_set_new(question, "reference", json_string(turn_text(turns, at + 1)));
    return question;
}
