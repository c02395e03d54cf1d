/* whole.h - prompts of the goldens in one step of one rank */
#ifndef TESTS_MODEL_WHOLE_H
#define TESTS_MODEL_WHOLE_H

#include "tests/model/golden.h"

#define QWEN "tests/golden/qwen25vl-tiny"
#define GEMMA "tests/golden/gemma3-tiny"

enum { KV = 1024, ROWS = 256 }; /* positions of the cache, rows of a step */

/* Scores of the whole prompt, computed at once in a fresh sequence. */
static inline float *alone(struct opened *o, const struct golden *g)
{
    struct sequence *sequence = sequence_new(o->model);
    struct span span = golden_prompt(g, sequence, g->n);
    extend(o, &span, 1);
    float *scores = scores_of(o);
    sequence_release(o->model, sequence);
    return scores;
}

#endif
