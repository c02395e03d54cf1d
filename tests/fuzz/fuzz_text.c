/* fuzz_text.c - a user's text through a good tokenizer of each kind: what is UTF-8 comes back (NFC aside), ids are in range */
#include "tests/fuzz/fuzz.h"

#include "model/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *kinds[2];
    struct error err;
    int32_t *ids;
    size_t length;
    if (!kinds[0] &&
        (tokenizer_open(&kinds[0], "tests/golden/qwen2-tiny", &err) || tokenizer_open(&kinds[1], "tests/golden/gemma3-tiny", &err)))
        abort();
    if (!size)
        return 0;
    const struct tokenizer *t = kinds[data[0] >> 1 & 1];
    int n = tokenizer_encode(t, (const char *)data + 1, size - 1, data[0] & 1, &ids, &err);
    if (n < 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= tokenizer_size(t))
            abort();
    free(tokenizer_decode(t, ids, n, true, &length));
    free(ids);
    return 0;
}
