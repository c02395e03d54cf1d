/* safetensors_write.c - writing one .safetensors file, whole or not at all */
#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/safetensors.h"

/* The header's text, padded with spaces so that the data begins at a multiple of 8; malloc'ed. */
static char *header_make(const struct tensor *t, int count, size_t *size)
{
    json_t *root = json_object();
    json_int_t offset = 0;
    for (int i = 0; i < count; i++) {
        json_t *shape = json_array();
        for (int j = 0; j < t[i].dims; j++)
            json_array_append_new(shape, json_integer(t[i].shape[j]));
        json_int_t end = offset + (json_int_t)t[i].bytes;
        json_object_set_new(
            root, t[i].name,
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t[i].dtype), "shape", shape, "data_offsets", offset, end));
        offset = end;
    }
    char *text = json_object_size(root) == (size_t)count ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) {
        errno = EINVAL; /* a name twice, or one that is not UTF-8 */
        return NULL;
    }
    *size = (strlen(text) + 7) / 8 * 8;
    char *padded = mem_format("%-*s", (int)*size, text);
    free(text);
    return padded;
}

struct source { /* of the tensors' data: all of them, or who makes one at a time */
    const void *const *all;
    void (*fill)(void *user, int i, void *data);
    void *user;
    void *room; /* for the largest */
};

static int room_make(struct source *source, const struct tensor *t, int count)
{
    size_t most = 1;
    for (int i = 0; i < count; i++)
        most = t[i].bytes > most ? t[i].bytes : most;
    source->room = source->fill ? malloc(most) : NULL;
    return source->fill && !source->room ? -1 : 0;
}

static const void *source_data(const struct source *source, int i)
{
    if (!source->fill)
        return source->all[i];
    source->fill(source->user, i, source->room);
    return source->room;
}

static int file_write(FILE *f, const struct tensor *t, struct source *source, int count)
{
    unsigned char head[8];
    size_t size = 0;
    char *header = header_make(t, count, &size);
    for (int i = 0; header && i < 8; i++)
        head[i] = (unsigned char)(size >> 8 * i);
    int bad = room_make(source, t, count) || !header || fwrite(head, 1, 8, f) != 8 || fwrite(header, 1, size, f) != size;
    for (int i = 0; i < count && !bad; i++)
        bad = t[i].bytes && fwrite(source_data(source, i), 1, t[i].bytes, f) != t[i].bytes;
    free(source->room);
    free(header);
    return bad || fflush(f) || fsync(fileno(f)) ? -1 : 0;
}

/* A device or a pipe is refused: renaming a file over it would replace it for the whole machine. */
int safetensors_writable(const char *path, struct error *err)
{
    struct stat file;
    if (!stat(path, &file))
        return S_ISREG(file.st_mode) ? 0 : fail(err, "%s: cannot be written: only a regular file can, whole or not at all", path);
    char *copy = mem_string(path);
    int closed = access(dirname(copy), W_OK | X_OK);
    free(copy);
    return closed || !*path ? fail(err, "%s: cannot be written: %s", path, strerror(errno)) : 0;
}

static int write_whole(const char *path, const struct tensor *t, struct source *source, int count, struct error *err)
{
    if (safetensors_writable(path, err))
        return -1;
    char *link = realpath(path, NULL); /* a link stays one: its file is replaced */
    const char *file = link ? link : path;
    char *temporary = mem_format("%s.%ld.part", file, (long)getpid());
    FILE *f = fopen(temporary, "wb");
    int bad = f ? file_write(f, t, source, count) : -1;
    if (f && fclose(f))
        bad = -1;
    if (bad || rename(temporary, file)) {
        bad = fail(err, "%s: cannot be written: %s", path, strerror(errno));
        if (f)
            unlink(temporary);
    }
    free(temporary);
    free(link);
    return bad;
}

int safetensors_write(const char *path, const struct tensor *t, const void *const *data, int count, struct error *err)
{
    struct source source = {.all = data};
    return write_whole(path, t, &source, count, err);
}

int safetensors_write_each(const char *path, const struct tensor *t, int count, void (*fill)(void *user, int i, void *data),
                           void *user, struct error *err)
{
    struct source source = {.fill = fill, .user = user};
    return write_whole(path, t, &source, count, err);
}
