/* distill_file.c - a file of answers that grows line by line */
#include "train/distill_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { BLOCK = 65536 };

struct distill_file {
    char *path;
    int fd;
    off_t size; /* up to the end of the last whole line */
};

/* A data set that --out names by mistake is not to be cut. */
static int lines_check(const struct distill_file *file, struct error *err)
{
    char first = '{';
    if (pread(file->fd, &first, 1, 0) < 0)
        return fail(err, "%s: %s", file->path, strerror(errno));
    return first == '{' ? 0 : fail(err, "%s: is no file of answers: it does not begin with {", file->path);
}

/* The size up to the last end of a line. */
static int whole_size(const struct distill_file *file, off_t size, off_t *whole, struct error *err)
{
    char block[BLOCK];
    for (off_t end = size; end > 0;) {
        off_t begin = end > BLOCK ? end - BLOCK : 0;
        ssize_t n = pread(file->fd, block, (size_t)(end - begin), begin);
        if (n != end - begin)
            return fail(err, "%s: %s", file->path, n < 0 ? strerror(errno) : "cut short while it was read");
        const char *last = memrchr(block, '\n', (size_t)n);
        if (last) {
            *whole = begin + (last - block) + 1;
            return 0;
        }
        end = begin;
    }
    *whole = 0;
    return 0;
}

static int file_prepare(struct distill_file *file, long *cut, struct error *err)
{
    struct stat status;
    if (fstat(file->fd, &status))
        return fail(err, "%s: %s", file->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail(err, "%s: is no ordinary file", file->path);
    if (flock(file->fd, LOCK_EX | LOCK_NB))
        return fail(err, "%s: %s", file->path, errno == EWOULDBLOCK ? "another process adds to it" : strerror(errno));
    if (lines_check(file, err) || whole_size(file, status.st_size, &file->size, err))
        return -1;
    *cut = (long)(status.st_size - file->size);
    if (*cut && ftruncate(file->fd, file->size))
        return fail(err, "%s: its torn last line cannot be cut off: %s", file->path, strerror(errno));
    return 0;
}

int distill_file_open(struct distill_file **out, const char *path, long *cut, struct error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(err, "%s: %s", path, strerror(errno));
    struct distill_file *file = mem_new(1, sizeof *file);
    file->path = mem_string(path);
    file->fd = fd;
    int result = file_prepare(file, cut, err);
    if (result)
        distill_file_close(file);
    else
        *out = file;
    return result;
}

void distill_file_close(struct distill_file *file)
{
    if (!file)
        return;
    close(file->fd);
    free(file->path);
    free(file);
}

int distill_file_each(struct distill_file *file, int (*take)(void *user, const struct record *record, struct error *err),
                      void *user, struct error *err)
{
    struct question_file *lines;
    struct question_place place;
    struct record record;
    json_t *object;
    int result;
    if (question_file_open(&lines, file->path, err))
        return -1;
    while ((result = question_file_next(lines, &place, &object, err)) == 1) {
        result = record_take(&record, object, err);
        json_decref(object);
        if (!result)
            result = take(user, &record, err);
        record_free(&record);
        if (result) {
            question_file_blame(lines, &place, err);
            break;
        }
    }
    question_file_close(lines);
    return result;
}

int distill_file_add(struct distill_file *file, const struct record *record, struct error *err)
{
    char *text = record_text(record);
    size_t n = strlen(text);
    ssize_t written = write(file->fd, text, n);
    int why = errno;
    free(text);
    if (written == (ssize_t)n) {
        file->size += written;
        return 0;
    }
    if (written > 0 && ftruncate(file->fd, file->size)) /* part of a line: the next start cuts it off where this does not */
        return fail(err, "%s: a line could not be finished, nor taken back: %s", file->path, strerror(errno));
    return fail(err, "%s: %s", file->path, written < 0 ? strerror(why) : strerror(ENOSPC));
}

int distill_file_sync(struct distill_file *file, struct error *err)
{
    return fsync(file->fd) ? fail(err, "%s: %s", file->path, strerror(errno)) : 0;
}
