/* engine_checks.h - what must hold on one rank (test_engine.c) and on several (mpi_engine.c) */
#ifndef TESTS_WORKER_ENGINE_CHECKS_H
#define TESTS_WORKER_ENGINE_CHECKS_H

#include "tests/worker/golden.h"

static inline struct request request_of(uint64_t id, const struct golden *golden, int k, enum drafts drafts)
{
    return (struct request){.id = id, .golden = golden, .wanted = golden->greedy, .penalty = 1, .k = k, .drafts = drafts};
}

/* Greedy and penalised tokens of the goldens for every k and kind of draft. */
static inline void check_drafts(struct group *g, const struct golden *golden, float penalty, const int32_t *wanted)
{
    for (int k = 0; k <= 16; k++)
        for (enum drafts drafts = DRAFTS_RIGHT; drafts <= DRAFTS_MIXED; drafts++) {
            struct request r = request_of(9, golden, k, drafts);
            r.penalty = penalty;
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
    assert_int_equal(model_pages_free(g->model), model_pages(g->model));
}

#endif
