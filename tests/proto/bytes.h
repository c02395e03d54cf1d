/* bytes.h - hand-made messages: rows of bytes with the words that their refusal must say, and damage done to good ones */
#ifndef TESTS_PROTO_BYTES_H
#define TESTS_PROTO_BYTES_H

#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "proto/rpc.h"

struct bad_bytes {
    const char *bytes;
    size_t size;
    const char *words;
};
#define BAD(text, words)                                                                                                           \
    {                                                                                                                              \
        text, sizeof(text) - 1, words                                                                                              \
    }

/* Unpacks and releases; the result of the unpacking. */
typedef int bytes_try(const void *data, size_t size, struct error *err);

static inline void bytes_expect_refusals(const struct bad_bytes *rows, size_t n, bytes_try *try)
{
    for (size_t i = 0; i < n; i++) {
        struct error err = {""};
        char *copy = mem_new(rows[i].size, 1); /* of its exact size, for the address sanitizer */
        memcpy(copy, rows[i].bytes, rows[i].size);
        if (!try(copy, rows[i].size, &err))
            fail_msg("row %zu was accepted; it should say \"%s\"", i, rows[i].words);
        if (!strstr(err.text, rows[i].words))
            fail_msg("row %zu says \"%s\", not \"%s\"", i, err.text, rows[i].words);
        free(copy);
    }
}

static inline char *bytes_part(const struct rpc_bytes *good, size_t size)
{
    char *copy = mem_new(size, 1);
    memcpy(copy, good->data, size < good->size ? size : good->size);
    return copy;
}

/* Every beginning of a good message, and thousands with a few bytes changed, are accepted or refused with words: never a crash. */
static inline void bytes_damage(const struct rpc_bytes *good, bytes_try *try)
{
    const uint64_t seed = 20261122;
    for (size_t size = 0; size < good->size; size++) {
        struct error err = {""};
        char *copy = bytes_part(good, size);
        assert_true(!try(copy, size, &err) || err.text[0]);
        free(copy);
    }
    for (uint64_t round = 0; round < 4000; round++) {
        struct error err = {""};
        uint32_t random[4];
        char *copy = bytes_part(good, good->size);
        for (uint64_t k = 0; k <= round % 4; k++) {
            random_bits(random, seed, round, k);
            copy[random[0] % good->size] = (char)random[1];
        }
        assert_true(!try(copy, good->size, &err) || err.text[0]);
        free(copy);
    }
}

static inline void bytes_garbage(bytes_try *try)
{
    const uint64_t seed = 4711;
    for (uint64_t round = 0; round < 4000; round++) {
        struct error err = {""};
        uint32_t random[16];
        for (unsigned k = 0; k < 4; k++)
            random_bits(random + 4 * k, seed, round, k);
        char *copy = mem_new(round % sizeof random + 1, 1);
        memcpy(copy, random, round % sizeof random + 1);
        assert_true(!try(copy, round % sizeof random + 1, &err) || err.text[0]);
        free(copy);
    }
}

#endif
