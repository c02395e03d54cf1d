/* export_folder.c - where an export is written, and how it becomes the checkpoint that was asked for: all at once, or not at all */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "train/export.h"

#define WEIGHTS "model.safetensors" /* and, while it is written, that with something behind it */

const char *const export_copied[] = {"tokenizer.json",
                                     "tokenizer_config.json",
                                     "vocab.json",
                                     "merges.txt",
                                     "special_tokens_map.json",
                                     "added_tokens.json",
                                     "preprocessor_config.json",
                                     "processor_config.json",
                                     "video_preprocessor_config.json",
                                     "chat_template.json",
                                     "chat_template.jinja",
                                     "generation_config.json",
                                     NULL};

/* Would an export write a file of this name? */
static bool name_is_ours(const char *name)
{
    for (const char *const *copied = export_copied; *copied; copied++)
        if (!strcmp(name, *copied))
            return true;
    return !strcmp(name, "config.json") || !strncmp(name, WEIGHTS, strlen(WEIGHTS));
}

/* The entries of a folder; with `clear`, those of an export are removed. -1: it cannot be read. */
static int entries_count(const char *path, bool clear)
{
    DIR *folder = opendir(path);
    int n = 0;
    if (!folder)
        return -1;
    for (const struct dirent *e; (e = readdir(folder));) {
        bool is_entry = strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
        n += is_entry;
        if (is_entry && clear && name_is_ours(e->d_name))
            unlinkat(dirfd(folder), e->d_name, 0);
    }
    closedir(folder);
    return n;
}

static void part_remove(const char *part)
{
    entries_count(part, true);
    rmdir(part);
}

/* The path without links, where there is such a folder; else as it is, without the slashes behind it. */
static char *path_settle(const char *path)
{
    char *real = realpath(path, NULL);
    if (real)
        return real;
    char *plain = mem_string(path);
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--)
        plain[n - 1] = 0;
    return plain;
}

int export_folder_open(struct export_folder *f, const char *out, struct error *err)
{
    *f = (struct export_folder){.whole = path_settle(out)};
    int entries = entries_count(f->whole, false);
    if (entries < 0 && errno != ENOENT)
        return fail(err, "%s: %s", out, strerror(errno));
    if (entries > 0)
        return fail(err, "%s: is not empty; a new folder is wanted", out);
    char *part = mem_format("%s.part", f->whole);
    part_remove(part);
    int result = !mkdir(part, 0777) ? 0
                 : errno == EEXIST  ? fail(err, "%s: an export is written there first, but something else is in it", part)
                                    : fail(err, "%s: cannot be made: %s", part, strerror(errno));
    if (result)
        free(part);
    else
        f->part = part;
    return result;
}

int export_folder_finish(struct export_folder *f, struct error *err)
{
    if (rename(f->part, f->whole))
        return fail(err, "%s: cannot become %s: %s", f->part, f->whole, strerror(errno));
    free(f->part);
    f->part = NULL;
    return 0;
}

void export_folder_close(struct export_folder *f)
{
    if (f->part)
        part_remove(f->part);
    free(f->part);
    free(f->whole);
}
