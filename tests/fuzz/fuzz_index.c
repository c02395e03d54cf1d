/* fuzz_index.c - model.safetensors.index.json beside one shard */
#include "tests/fuzz/fuzz.h"

#include "model/safetensors.h"

static const char shard[] =
    "\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}             12345678";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st;
    struct error err;
    fuzz_file("model-00001-of-00001.safetensors", shard, sizeof shard - 1);
    fuzz_file("model.safetensors.index.json", data, size);
    if (safetensors_open(&st, fuzz_folder(), &err) == 0)
        safetensors_close(st);
    return 0;
}
