/* replay.c - gives files to a fuzzer's entry, one after the other: what was found once stays found */
#include "tests/fuzz/fuzz.h"

static void replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t size = 0, room = 1 << 16, n;
    uint8_t *data = malloc(room);
    if (!f || !data)
        abort();
    while ((n = fread(data + size, 1, room - size, f)) > 0)
        if ((size += n) == room && !(data = realloc(data, room *= 2)))
            abort();
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%d files\n", argc - 1);
    return 0;
}
