/* sampling.h - how the next token is chosen from the target's scores, as it travels from a request to the ranks that verify: plain
 * data that proto/, speculate/ and the programs share. What the numbers do stands in speculate/warp.h. */
#ifndef BASE_SAMPLING_H
#define BASE_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SAMPLING_DRAFT_IDS = 64,    /* the most ids of a distribution that a draft is drawn from */
    SAMPLING_BIAS_IDS = 1024,   /* of one request */
    SAMPLING_BANNED_IDS = 2048, /* of one span */
    SAMPLING_TOP_LOGPROBS = 20  /* of one token */
};

/* Both are lossless: the text is distributed as the target's own (docs/numerics.md). */
enum sampling_mode {
    SAMPLING_COUPLED,  /* the token is a function of the scores and of noise keyed by seed, position and token id */
    SAMPLING_REJECTION /* drafts are kept with min(1, p/q); the first that is not is replaced from what p has more than q */
};

/* Zero is off for every number but the repetition penalty, which is off at 1. */
struct sampling {
    float temperature; /* 0 = greedy: the largest score */
    int top_k;
    float top_p, min_p;
    float repetition_penalty;                  /* of ids of prompt and answer */
    float presence_penalty, frequency_penalty; /* of ids of the answer, once and per occurrence */
    const int32_t *bias_ids;                   /* (n_bias) ascending */
    const float *bias;                         /* (n_bias) added to their scores */
    int n_bias;
    const int32_t *banned_ids; /* (n_banned) never chosen before the answer has banned_until tokens */
    int n_banned, banned_until;
    uint64_t seed;
    enum sampling_mode mode;
    bool logprobs;
    int top_logprobs; /* beside the chosen token's */
};

/* The token behind `answered` others is the largest score after the repetition penalty, and nothing else is asked for. */
static inline bool sampling_is_plain(const struct sampling *s, int answered)
{
    bool bans = s->n_banned && answered < s->banned_until;
    return s->temperature == 0 && s->presence_penalty == 0 && s->frequency_penalty == 0 && !s->n_bias && !bans && !s->logprobs;
}

/* Drafts are kept with a probability, for which the verifier must know what they were drawn from. */
static inline bool sampling_rejects(const struct sampling *s)
{
    return s->temperature > 0 && s->mode == SAMPLING_REJECTION;
}

/* What a draft was drawn from: ids ascending, their probabilities. */
struct draft_weights {
    int32_t ids[SAMPLING_DRAFT_IDS];
    float weight[SAMPLING_DRAFT_IDS];
    int n;
};

/* Natural logarithms of probabilities under the target's scores as the head gives them: before penalties, temperature and the
 * rest. top: largest first, the lower id on ties. */
struct logprobs {
    float chosen;
    int32_t top_ids[SAMPLING_TOP_LOGPROBS];
    float top[SAMPLING_TOP_LOGPROBS];
    int n_top;
};

#endif
