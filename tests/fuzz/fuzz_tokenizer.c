/* fuzz_tokenizer.c - tokenizer.json, and some text through what it makes */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "model/tokenizer.h"

static const char text[] = "What's in it?  Zw\xc3\xb6lf 123 \xe7\x8c\xab\n<|im_end|>";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer *t;
    struct error err;
    int32_t *ids;
    size_t length;
    fuzz_file("tokenizer.json", data, size);
    if (tokenizer_open(&t, fuzz_folder(), &err))
        return 0;
    int n = tokenizer_encode(t, text, strlen(text), true, &ids, &err);
    if (n >= 0) {
        free(tokenizer_decode(t, ids, n, true, &length));
        free(ids);
    }
    tokenizer_close(t);
    return 0;
}
