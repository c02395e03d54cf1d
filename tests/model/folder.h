/* folder.h - for tests that make files: a folder of its own under /tmp, and what is written into it */
#ifndef TESTS_MODEL_FOLDER_H
#define TESTS_MODEL_FOLDER_H

#include "tests/check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct folder {
    char path[64];
};

static inline struct folder folder_make(void)
{
    struct folder folder = {"/tmp/massv-test-XXXXXX"};
    assert_non_null(mkdtemp(folder.path));
    return folder;
}

static inline void folder_path(const struct folder *folder, const char *name, char path[128])
{
    assert_true(snprintf(path, 128, "%s/%s", folder->path, name) < 128);
}

static inline void folder_write(const struct folder *folder, const char *name, const void *bytes, size_t size)
{
    char path[128];
    folder_path(folder, name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Removes all files; returns how many there were. */
static inline int folder_empty(const struct folder *folder)
{
    DIR *dir = opendir(folder->path);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder->path, e->d_name);
        n += !unlink(path);
    }
    closedir(dir);
    return n;
}

static inline void folder_remove(const struct folder *folder)
{
    folder_empty(folder);
    assert_int_equal(rmdir(folder->path), 0);
}

/* Every word of the list ("a|b") stands in the text. */
static inline void check_words(const char *text, const char *words, const char *what)
{
    char list[256];
    snprintf(list, sizeof list, "%s", words);
    for (char *rest = list, *word = strsep(&rest, "|"); word; word = strsep(&rest, "|"))
        if (!strstr(text, word))
            fail_msg("%s: \"%s\" does not say \"%s\"", what, text, word);
}

#endif
