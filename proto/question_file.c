/* question_file.c - lines or an array of JSON objects, one after the other */
#include "proto/question_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/llava.h"

enum { ENTRY_MIB = 64 };

struct question_file {
    char *path;
    FILE *f;
    bool begun, array;
    struct { /* of the next byte */
        long at, line, column;
    } cursor;
    long entry_end; /* bytes of the file that the entry may reach to */
    json_t *entry;  /* of the array, whose questions are handed out; NULL between two */
    int questions;  /* of it */
    struct question_place place;
};

int question_file_open(struct question_file **out, const char *path, struct error *err)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    struct question_file *file = mem_new(1, sizeof *file);
    file->path = mem_string(path);
    file->f = f;
    file->cursor.line = file->cursor.column = 1;
    *out = file;
    return 0;
}

void question_file_close(struct question_file *file)
{
    if (!file)
        return;
    fclose(file->f);
    json_decref(file->entry);
    free(file->path);
    free(file);
}

int question_file_blame(const struct question_file *file, const struct question_place *place, struct error *err)
{
    if (!place->entry)
        return fail_in(err, "%s: line %d", file->path, place->line);
    if (place->question < 0)
        return fail_in(err, "%s: entry %d (line %d)", file->path, place->entry, place->line);
    return fail_in(err, "%s: entry %d (line %d), question %d", file->path, place->entry, place->line, place->question + 1);
}

/* ---- bytes ---- */

static int byte_peek(struct question_file *file)
{
    return ungetc(getc_unlocked(file->f), file->f);
}

static int byte_take(struct question_file *file)
{
    int c = getc_unlocked(file->f);
    file->cursor.at++;
    if (c == '\n') {
        file->cursor.line++;
        file->cursor.column = 1;
    } else if ((c & 0xc0) != 0x80) { /* a character's first byte */
        file->cursor.column++;
    }
    return c;
}

/* Over white space, up to the end of the line only where that is wanted; the byte that comes then. */
static int white_skip(struct question_file *file, bool lines)
{
    int c;
    while ((c = byte_peek(file)) == ' ' || c == '\t' || c == '\r' || (lines && c == '\n'))
        byte_take(file);
    return c;
}

/* What is wrong at the cursor. */
static int broken(const struct question_file *file, const char *words, struct error *err)
{
    if (ferror(file->f))
        return fail(err, "%s: cannot be read: is it a file?", file->path);
    char entry[32] = "";
    if (file->array)
        snprintf(entry, sizeof entry, ", entry %d", file->place.entry);
    return fail(err, "%s: line %ld: %s (column %ld%s)", file->path, file->cursor.line, words, file->cursor.column, entry);
}

/* ---- an entry ---- */

/* Hands jansson a byte at a time, so that it takes none that is behind the object; and of a line no more than the line. */
static size_t entry_feed(void *buffer, size_t room, void *user)
{
    struct question_file *file = user;
    int c = byte_peek(file);
    (void)room;
    if (c == EOF || file->cursor.at == file->entry_end || (c == '\n' && !file->array))
        return 0;
    *(char *)buffer = (char)byte_take(file);
    return 1;
}

/* The object at the cursor. */
static int entry_load(struct question_file *file, json_t **entry, struct error *err)
{
    json_error_t why;
    char words[JSON_ERROR_TEXT_LENGTH + 32];
    if (byte_peek(file) != '{')
        return broken(file,
                      file->array ? "a conversation, {\"conversations\": [...], ...}, is wanted"
                                  : "a JSON object is wanted: {\"image\": FILE or null, \"prompt\": TEXT, ...}",
                      err);
    file->entry_end = file->cursor.at + ((long)ENTRY_MIB << 20);
    *entry = json_load_callback(entry_feed, file, JSON_DISABLE_EOF_CHECK, &why);
    if (*entry)
        return 0;
    snprintf(words, sizeof words, "not JSON: %s", why.text);
    if (file->cursor.at == file->entry_end)
        snprintf(words, sizeof words, "larger than %d MiB, which no entry may be", ENTRY_MIB);
    return broken(file, words, err);
}

static void place_here(struct question_file *file)
{
    file->place.at = file->cursor.at;
    file->place.line = (int)file->cursor.line;
}

/* ---- lines ---- */

static int line_next(struct question_file *file, struct question_place *place, json_t **question, struct error *err)
{
    json_t *entry;
    int c = white_skip(file, true);
    if (c == EOF)
        return ferror(file->f) ? broken(file, "", err) : 0;
    place_here(file);
    if (entry_load(file, &entry, err))
        return -1;
    c = white_skip(file, false);
    bool alone = c == '\n' || c == EOF;
    if (alone && question)
        *question = json_incref(entry);
    json_decref(entry);
    if (!alone)
        return broken(file, "not JSON: more stands behind the object; one a line is wanted", err);
    file->place.number = file->place.line;
    *place = file->place;
    return 1;
}

/* ---- an array ---- */

/* To the next entry, over what parts it from the one before. 0: there is none. */
static int array_step(struct question_file *file, struct error *err)
{
    int c = white_skip(file, true);
    bool first = !file->place.entry;
    if (c == ']') {
        byte_take(file);
        return white_skip(file, true) == EOF ? 0 : broken(file, "nothing may follow the array", err);
    }
    if (!first && c == ',') {
        byte_take(file);
        c = white_skip(file, true);
    } else if (!first && c != EOF) {
        return broken(file, "not JSON: , or ] is wanted behind the entry", err);
    }
    if (c == EOF)
        return broken(file, "not JSON: the file ends within the array", err);
    place_here(file);
    file->place.entry++;
    return 1;
}

/* The next entry, of which `question` stays NULL where it has none. */
static int entry_next(struct question_file *file, struct error *err)
{
    int result = array_step(file, err);
    if (result == 1)
        result = entry_load(file, &file->entry, err) ? -1 : 1;
    if (result == 1) {
        file->questions = llava_questions(file->entry, err);
        file->place.question = file->questions < 0 ? -1 : 0;
    }
    return result;
}

static int array_next(struct question_file *file, struct question_place *place, json_t **question, struct error *err)
{
    int result = 1;
    if (file->entry)
        file->place.question++;
    else
        result = entry_next(file, err);
    if (result != 1)
        return result;
    file->place.number++;
    *place = file->place;
    if (question)
        *question = place->question < 0 ? NULL : llava_question(file->entry, place->question);
    if (place->question == file->questions - 1 || place->question < 0) {
        json_decref(file->entry);
        file->entry = NULL;
    }
    return 1;
}

/* ---- both ---- */

int question_file_next(struct question_file *file, struct question_place *place, json_t **question, struct error *err)
{
    if (!file->begun && white_skip(file, true) == '[') {
        byte_take(file);
        file->array = true;
    }
    file->begun = true;
    return file->array ? array_next(file, place, question, err) : line_next(file, place, question, err);
}

int question_file_read(struct question_file *file, const struct question_place *place, json_t **question, struct error *err)
{
    json_t *entry;
    if (fseek(file->f, place->at, SEEK_SET) || byte_peek(file) == EOF)
        return fail(err, "%s: line %d cannot be read again: %s", file->path, place->line,
                    feof(file->f) ? "the file became shorter" : strerror(errno));
    file->cursor.at = place->at;
    file->cursor.line = place->line;
    file->cursor.column = 1;
    if (entry_load(file, &entry, err))
        return -1;
    if (!file->array) {
        *question = entry;
        return 0;
    }
    int n = llava_questions(entry, err);
    bool same = place->question < 0 ? n < 0 : place->question < n;
    *question = same && n > 0 ? llava_question(entry, place->question) : NULL;
    json_decref(entry);
    return same ? 0 : fail(err, "%s: line %d: the file has changed since it was read first", file->path, place->line);
}
