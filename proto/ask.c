/* ask.c - picture files and failed calls */
#include "proto/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { PICTURE_MIB = 64 }; /* the service's message limit */

char *ask_path_beside(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (*path == '/' || !slash)
        return mem_string(path);
    return mem_format("%.*s/%s", (int)(slash - file), file, path);
}

int ask_picture(struct generate_picture *picture, const char *path, struct error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    size_t limit = (size_t)PICTURE_MIB << 20, room = 0, got = 1;
    while (got && picture->size <= limit) { /* to its end, not to its size: it may be a pipe */
        if (room - picture->size < 65536)
            picture->bytes = mem_grow(picture->bytes, room = room * 2 + 65536, 1);
        picture->size += got = fread(picture->bytes + picture->size, 1, room - picture->size, f);
    }
    int broken = ferror(f);
    fclose(f);
    if (broken)
        return fail(err, "%s: cannot be read: is it a file?", path);
    if (!picture->size)
        return fail(err, "%s: is empty; a JPEG, PNG or WebP picture is wanted", path);
    if (picture->size > limit)
        return fail(err, "%s: more than %d MiB; no picture file may be that large", path, PICTURE_MIB);
    return 0;
}

void ask_name_picture(const char *const *files, int n, struct error *err)
{
    int i;
    if (sscanf(err->text, "media[%d]", &i) == 1 && i >= 0 && i < n)
        fail_in(err, "%s", files[i]);
}

int ask_failed(const char *address, enum rpc_status status, struct error *err)
{
    char why[sizeof err->text];
    size_t n = strlen(address);
    bool named = strncmp(err->text, address, n) == 0 && strncmp(err->text + n, ": ", 2) == 0; /* a lost connection is, already */
    bool nobody = strncmp(err->text, "no server answers", 17) == 0; /* rpc_client.c; a service that drains does */
    snprintf(why, sizeof why, "%s", err->text + (named ? n + 2 : 0));
    return fail(err, "%s: %s: %.700s%s", address, rpc_status_name(status), why,
                nobody ? "; is a service running there? `massv up --target DIR` starts one" : "");
}
