/* records.c - a file of training data, record by record */
#include <stdlib.h>

#include "base/memory.h"
#include "base/signals.h"
#include "proto/ask.h"
#include "train/record.h"

struct records {
    char *pictures; /* a file beside which they lie */
    struct question_file *file;
    struct question_place *places; /* (n) */
    int n;
};

static int places_find(struct records *rs, const char *path, struct error *err)
{
    struct question_place place;
    int result;
    while ((result = question_file_next(rs->file, &place, NULL, err)) == 1) {
        if ((rs->n & (rs->n - 1)) == 0) /* full: 0, 1, 2, 4, ... */
            rs->places = mem_grow(rs->places, rs->n ? 2 * (size_t)rs->n : 1, sizeof *rs->places);
        rs->places[rs->n++] = place;
        if (signals_pending())
            return 1;
    }
    return result || rs->n ? result : fail(err, "%s: has no question", path);
}

int records_open(struct records **out, const char *path, const char *pictures, struct error *err)
{
    struct records *rs = mem_new(1, sizeof *rs);
    rs->pictures = pictures ? mem_format("%s/", pictures) : mem_string(path);
    int result = question_file_open(&rs->file, path, err);
    if (!result)
        result = places_find(rs, path, err);
    if (result)
        records_close(rs);
    else
        *out = rs;
    return result;
}

void records_close(struct records *rs)
{
    if (!rs)
        return;
    question_file_close(rs->file);
    free(rs->places);
    free(rs->pictures);
    free(rs);
}

int records_count(const struct records *rs)
{
    return rs->n;
}

int records_number(const struct records *rs, int i)
{
    return rs->places[i].number;
}

int records_blame(const struct records *rs, int i, struct error *err)
{
    return question_file_blame(rs->file, &rs->places[i], err);
}

int records_read(struct records *rs, int i, struct record *record, struct error *err)
{
    json_t *object;
    *record = (struct record){0};
    if (question_file_read(rs->file, &rs->places[i], &object, err))
        return -1;
    int result = object && !record_take(record, object, err) ? 0 : 1;
    json_decref(object);
    if (!result) {
        struct question *q = &record->question;
        q->line = rs->places[i].number;
        q->path = q->image ? ask_path_beside(rs->pictures, q->image) : NULL;
    }
    return result;
}
