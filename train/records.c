/* records.c - a file of training data, line by line */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/record.h"

struct records {
    char *path;
    FILE *f;
    char *text; /* of the line read last */
    size_t room;
    struct place {
        long at; /* bytes from the beginning */
        int line;
    } * places; /* (n) */
    int n;
};

static int lines_check(struct records *rs, struct error *err)
{
    struct record record;
    long at = 0;
    for (int line = 1; getline(&rs->text, &rs->room, rs->f) >= 0; line++, at = ftell(rs->f)) {
        if (!rs->text[strspn(rs->text, " \t\r\n")])
            continue;
        if (record_parse(&record, rs->text, err))
            return fail_in(err, "%s: line %d", rs->path, line);
        record_free(&record);
        if ((rs->n & (rs->n - 1)) == 0) /* full: 0, 1, 2, 4, ... */
            rs->places = mem_grow(rs->places, rs->n ? 2 * (size_t)rs->n : 1, sizeof *rs->places);
        rs->places[rs->n++] = (struct place){at, line};
    }
    if (ferror(rs->f))
        return fail(err, "%s: cannot be read: is it a file?", rs->path);
    return rs->n ? 0 : fail(err, "%s: has no line; a JSON object with a prompt is wanted on each", rs->path);
}

int records_open(struct records **out, const char *path, struct error *err)
{
    struct records *rs = mem_new(1, sizeof *rs);
    rs->path = mem_string(path);
    rs->f = fopen(path, "r");
    int result = rs->f ? lines_check(rs, err) : fail(err, "%s: %s", path, strerror(errno));
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
    if (rs->f)
        fclose(rs->f);
    free(rs->places);
    free(rs->text);
    free(rs->path);
    free(rs);
}

int records_count(const struct records *rs)
{
    return rs->n;
}

int records_line(const struct records *rs, int i)
{
    return rs->places[i].line;
}

int records_read(struct records *rs, int i, struct record *record, struct error *err)
{
    *record = (struct record){0};
    if (fseek(rs->f, rs->places[i].at, SEEK_SET) || getline(&rs->text, &rs->room, rs->f) < 0)
        return fail(err, "%s: line %d cannot be read again: %s", rs->path, rs->places[i].line,
                    feof(rs->f) ? "the file became shorter" : strerror(errno));
    return record_parse(record, rs->text, err) ? fail_in(err, "%s: line %d", rs->path, rs->places[i].line) : 0;
}
