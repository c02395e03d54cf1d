/* engine_checks.h - what must hold on one rank (test_engine.c) and on several (mpi_engine.c) */
#ifndef TESTS_WORKER_ENGINE_CHECKS_H
#define TESTS_WORKER_ENGINE_CHECKS_H

#include "tests/worker/golden.h"

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
enum {
    K_STEP = 8,
    K_STEP_SAMPLED = 15
}; /* what sanitizers see shows with few draft lengths, and a step takes many times as long */
#else
enum { K_STEP = 1, K_STEP_SAMPLED = 5 };
#endif

static inline struct request request_of(uint64_t id, const struct golden *golden, int k, enum drafts drafts)
{
    return (struct request){
        .id = id, .golden = golden, .wanted = golden->greedy, .sampling.repetition_penalty = 1, .k = k, .drafts = drafts};
}

/* Greedy and penalised tokens of the goldens for every k and kind of draft. */
static inline void check_drafts(struct group *g, const struct golden *golden, float penalty, const int32_t *wanted)
{
    for (int k = 0; k <= 16; k += K_STEP)
        for (enum drafts drafts = DRAFTS_RIGHT; drafts <= DRAFTS_MIXED; drafts++) {
            struct request r = request_of(9, golden, k, drafts);
            r.sampling.repetition_penalty = penalty;
            r.wanted = wanted;
            group_pictures(g, golden);
            requests_run(g, &r, 1, 40);
            assert_tokens(r.tokens, wanted, GOLDEN_TOKENS);
            /* The first token belongs to the prompt; right drafts make k + 1 tokens a step, wrong ones one. */
            if (drafts == DRAFTS_RIGHT)
                assert_int_equal(r.steps, (GOLDEN_TOKENS - 1 + k) / (k + 1));
            if (drafts == DRAFTS_WRONG)
                assert_int_equal(r.steps, GOLDEN_TOKENS - 1);
            group_release(g, 9);
        }
}

/* The pages under the first n keys, of the kinds that the model has. */
static inline void group_forget_keys(struct group *g, int n)
{
    uint64_t keys[KV_KINDS * GOLDEN_KEYS][2];
    struct step step = {.forget = keys};
    struct step_verdict verdict;
    for (int kind = 0; kind < KV_KINDS && model_layout(g->model)->blocks[kind]; kind++)
        for (int i = 0; i < n; i++)
            step_key_of(keys[step.n_forget++], golden_keys[i], kind);
    engine_step(g->engine, &step, &verdict);
    assert_string_equal(verdict.error, "");
    engine_verdict_free(&verdict);
}

static inline int group_blocks(const struct group *g)
{
    return model_blocks(g->model) - model_blocks_free(g->model);
}

/* Blocks that one sequence of so many final positions holds. */
static inline int blocks_of(const struct group *g, int length)
{
    const struct kv_layout *layout = model_layout(g->model);
    int pages = (length + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
    return pages * kv_layout_whole(layout) - kv_layout_first(layout, length) * layout->blocks[KV_LOCAL];
}

/* A request that begins with the pages of one before it says what that one said, while the first still runs and when it is gone;
 * under a penalty far below 1, too, where what was said before is said again, so that one lost id shows. */
static inline void check_shared(struct group *g, const struct golden *golden, float penalty)
{
    static struct request r[3];
    int pages = (golden->n - 1) / MODEL_PAGE_POSITIONS;
    int whole = kv_layout_whole(model_layout(g->model));
    assert_true(pages > 0 && pages <= GOLDEN_KEYS);
    group_pictures(g, golden);
    for (int i = 0; i < 3; i++) {
        r[i] = request_of((uint64_t)i + 1, golden, i, DRAFTS_MIXED);
        r[i].sampling.repetition_penalty = penalty;
        r[i].keeps = i == 0;
        r[i].keeps_local = model_layout(g->model)->blocks[KV_LOCAL] > 0;
        r[i].adopts = i ? pages : 0;
        r[i].length = r[i].adopts * MODEL_PAGE_POSITIONS;
    }
    while (r[0].n == 0)
        requests_step(g, r, 1, 40);
    int used = group_blocks(g);
    requests_step(g, r, 2, 40); /* the second takes its last page only */
    assert_int_equal(group_blocks(g), used + whole);
    requests_run(g, r, 2, 40);
    group_release(g, 1);
    group_release(g, 2);
    assert_int_equal(group_blocks(g), pages * whole);
    requests_run(g, r + 2, 1, 40);
    if (penalty == 1)
        assert_tokens(r[0].tokens, golden->greedy, GOLDEN_TOKENS);
    for (int i = 1; i < 3; i++)
        assert_tokens(r[i].tokens, r[0].tokens, GOLDEN_TOKENS);
    group_forget_keys(g, pages); /* its user has them until it goes */
    assert_int_equal(group_blocks(g), blocks_of(g, r[2].length));
    group_release(g, 3);
    assert_int_equal(model_blocks_free(g->model), model_blocks(g->model));
}

static const int32_t check_bias_ids[] = {3, 40, 41};
static const float check_bias[] = {2, -1, 30};

/* All that changes what is chosen; by number. */
static inline struct sampling check_sampling(int number)
{
    struct sampling s = {.temperature = 1, .repetition_penalty = 1, .seed = 77 + (uint64_t)number};
    const struct sampling all = {.temperature = 0.8f,
                                 .top_k = 40,
                                 .top_p = 0.9f,
                                 .min_p = 0.01f,
                                 .repetition_penalty = 1.1f,
                                 .presence_penalty = 0.5f,
                                 .frequency_penalty = 0.25f,
                                 .bias_ids = check_bias_ids,
                                 .bias = check_bias,
                                 .n_bias = 2,
                                 .seed = UINT64_MAX,
                                 .logprobs = true,
                                 .top_logprobs = 20};
    const struct sampling greedy = {.repetition_penalty = 1.05f,
                                    .frequency_penalty = 1,
                                    .bias_ids = check_bias_ids,
                                    .bias = check_bias,
                                    .n_bias = 3, /* the third makes sure that something is banned */
                                    .banned_ids = check_bias_ids + 2,
                                    .n_banned = 1,
                                    .banned_until = 5};
    const struct sampling wide = {.temperature = 4, .top_p = 0.999f, .repetition_penalty = 1, .seed = 5}; /* no list covers that */
    const struct sampling narrow = {.temperature = 1, .top_k = 20, .repetition_penalty = 1, .seed = 6};   /* lists do */
    const struct sampling numbers[] = {s, all, wide, greedy, narrow};
    return numbers[number];
}
enum { CHECK_SAMPLINGS = 5 };

/* Coupled text and its log-probabilities are the same, bit for bit, for every k and kind of draft. */
static inline void check_sampled(struct group *g, const struct golden *golden)
{
    static struct request plain, r;
    for (int number = 0; number < CHECK_SAMPLINGS; number++) {
        plain = request_of(1, golden, 0, DRAFTS_RIGHT);
        plain.sampling = check_sampling(number);
        group_pictures(g, golden);
        requests_run(g, &plain, 1, 40);
        group_release(g, 1);
        assert_memory_not_equal(plain.tokens, golden->greedy, sizeof golden->greedy);
        r = request_of(3, golden, 0, DRAFTS_RIGHT); /* rows that are gathered and rows whose parts make offers: the same */
        r.sampling = plain.sampling;
        r.sampling.logprobs = !plain.sampling.logprobs;
        requests_run(g, &r, 1, 40);
        assert_tokens(r.tokens, plain.tokens, GOLDEN_TOKENS);
        group_release(g, 3);
        for (int i = 0; i < GOLDEN_TOKENS && plain.sampling.n_banned; i++)
            assert_true(i >= 5 ? i > 5 || plain.tokens[i] == 41 : plain.tokens[i] != 41);
        for (int k = 1; k <= 16; k += K_STEP_SAMPLED)
            for (enum drafts drafts = DRAFTS_RIGHT; drafts <= DRAFTS_MIXED; drafts++) {
                r = request_of(2, golden, k, drafts);
                r.sampling = plain.sampling;
                r.wanted = plain.tokens;
                requests_run(g, &r, 1, 40);
                assert_tokens(r.tokens, plain.tokens, GOLDEN_TOKENS);
                assert_memory_equal(r.logprobs, plain.logprobs, GOLDEN_TOKENS * sizeof *r.logprobs);
                if (drafts == DRAFTS_RIGHT)
                    assert_int_equal(r.steps, (GOLDEN_TOKENS - 1 + k) / (k + 1));
                group_release(g, 2);
            }
    }
}

/* Eight requests of all kinds of drafts in the same steps. */
static inline void check_batch(struct group *g, struct golden *const cases[3])
{
    struct request requests[8];
    for (int i = 0; i < 8; i++)
        requests[i] = request_of((uint64_t)i + 1, cases[i % 3], (5 * i) % 9, (enum drafts)(i % 3));
    for (int i = 0; i < 3; i++)
        group_pictures(g, cases[i]);
    requests_run(g, requests, 8, 31);
    for (int i = 0; i < 8; i++) {
        assert_tokens(requests[i].tokens, cases[i % 3]->greedy, GOLDEN_TOKENS);
        group_release(g, requests[i].id);
    }
    assert_int_equal(model_blocks_free(g->model), model_blocks(g->model));
}

#endif
