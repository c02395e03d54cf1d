/* tokenizer_fixture.h - a small tokenizer as the state of tests */
#ifndef TESTS_MODEL_TOKENIZER_FIXTURE_H
#define TESTS_MODEL_TOKENIZER_FIXTURE_H

#include "tests/check.h"

#include "model/tokenizer.h"

#define TINY "tests/golden/qwen25vl-tiny"
#define GEMMA "tests/golden/gemma3-tiny"

static inline int open_tiny(void **state)
{
    struct error err;
    return tokenizer_open((struct tokenizer **)state, TINY, &err);
}

static inline int close_tiny(void **state)
{
    tokenizer_close(*state);
    return 0;
}

#endif
