/* fuzz.h - what the fuzzers share. Each fuzz_*.c hands bytes from outside to one parser; `make fuzz` drives it with libFuzzer,
 * `make test` with the files in tests/fuzz/corpus/NAME (replay.c). */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline const char *fuzz_folder(void);

static inline void fuzz_folder_remove(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", fuzz_folder());
    if (system(command) != 0)
        abort();
}

/* A folder of this process, in memory, for parsers that read files; made once, gone with the process. */
static inline const char *fuzz_folder(void)
{
    static char folder[] = "/dev/shm/massv-fuzz-XXXXXX";
    static char *made;
    if (!made) {
        if (!(made = mkdtemp(folder)) || atexit(fuzz_folder_remove) != 0)
            abort();
    }
    return folder;
}

/* Puts a file into the folder. */
static inline void fuzz_file(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd))
        abort();
}

/* Copies a file of the project into the folder; once is enough. */
static inline void fuzz_copy(const char *name, const char *from)
{
    char bytes[1 << 20];
    FILE *f = fopen(from, "rb");
    if (!f)
        abort();
    fuzz_file(name, bytes, fread(bytes, 1, sizeof bytes, f));
    fclose(f);
}

#endif
