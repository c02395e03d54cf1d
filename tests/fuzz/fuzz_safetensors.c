/* fuzz_safetensors.c - the header of a .safetensors file, and reading what it lists */
#include "tests/fuzz/fuzz.h"

#include "model/safetensors.h"

enum { READ_MOST = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st;
    struct error err;
    uint64_t hash[2];
    char bytes[READ_MOST];
    fuzz_file("model.safetensors", data, size);
    if (safetensors_open(&st, fuzz_folder(), &err))
        return 0;
    for (int i = 0; i < safetensors_count(st); i++) {
        const struct tensor *t = safetensors_at(st, i);
        int64_t rows, cols;
        tensor_matrix(t, &rows, &cols);
        if (t->bytes > 0 && t->bytes <= READ_MOST && safetensors_read(st, t, 0, rows, 0, cols, bytes, &err))
            abort(); /* what was accepted lies in the file */
    }
    safetensors_hash(st, "", 1, hash, &err);
    safetensors_close(st);
    return 0;
}
