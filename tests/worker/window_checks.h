/* window_checks.h - what must hold of sequences that are longer than the window of local layers, on one rank (test_engine_window.c)
 * and on several (mpi_engine.c) */
#ifndef TESTS_WORKER_WINDOW_CHECKS_H
#define TESTS_WORKER_WINDOW_CHECKS_H

#include "tests/worker/engine_checks.h"

#define WINDOW_TARGET "tests/golden/gemma3-tiny" /* a window of 20 positions */

/* Row r of a prompt of n, and what is said behind it, as the model computes it in a sequence that is never settled. Collective. */
static inline struct golden *window_golden(const char *folder, struct comm *comm, int n)
{
    struct group g;
    struct error err;
    struct golden *golden = mem_new(1, sizeof *golden);
    group_open(&g, folder, comm, n + GOLDEN_TOKENS);
    golden->n = golden->next_position = n;
    golden->ids = mem_new((size_t)n, sizeof *golden->ids);
    golden->positions = mem_new((size_t)n + GOLDEN_TOKENS, sizeof *golden->positions);
    for (int i = 0; i < n + GOLDEN_TOKENS; i++)
        golden->positions[i][0] = golden->positions[i][1] = golden->positions[i][2] = i;
    for (int i = 0; i < n; i++)
        golden->ids[i] = (i * i * 37 + i * 11 + 5) % 600;
    struct span span = {.sequence = sequence_new(g.model), .repetition_penalty = 1};
    for (int at = 0; at < n + GOLDEN_TOKENS - 1; at += span.n) {
        bool prompt = at < n;
        span.n = prompt ? least(n - at, GROUP_ROWS) : 1;
        span.ids = prompt ? golden->ids + at : &golden->greedy[at - n];
        span.positions = (const int32_t(*)[3])(golden->positions + at);
        span.generated = !prompt;
        span.n_scored = at + span.n >= n;
        if (model_extend(g.model, &span, 1, &err) != 0)
            fail_msg("%s", err.text);
        if (span.n_scored)
            model_best(g.model, &golden->greedy[at + span.n - n]);
    }
    sequence_release(g.model, span.sequence);
    group_close(&g);
    return golden;
}

/* Beside each other in a cache that holds them only because local pages go: one whose pages are taken and overwritten by others as
 * soon as they are free, for every number of drafts, all of which, none or some are rejected. After every step exactly those pages
 * are held of which a row to come sees a key. */
static inline void check_window_drafts(struct comm *comm, const struct golden *golden)
{
    struct group g;
    static struct request r[3];
    const struct kv_layout layout = {.page_positions = MODEL_PAGE_POSITIONS, .blocks = {1, 6}, .window = 20};
    int64_t blocks = 3 * kv_layout_blocks(&layout, golden->n + GOLDEN_TOKENS + 17, 40);
    group_open(&g, WINDOW_TARGET, comm, (int)(blocks + 6) / 7 * MODEL_PAGE_POSITIONS);
    assert_int_equal(kv_layout_whole(model_layout(g.model)), 7);
    for (int k = 0; k <= 16; k += comm->size > 1 ? 5 : 1) { /* several ranks share cores with others */
        for (int i = 0; i < 3; i++)
            r[i] = request_of((uint64_t)i + 1, golden, (k + 3 * i) % 17, (enum drafts)((k + i) % 3));
        while (requests_step(&g, r, 3, 40)) {
            int held = 0;
            for (int i = 0; i < 3; i++)
                held += blocks_of(&g, r[i].length);
            assert_int_equal(group_blocks(&g), held);
        }
        for (int i = 0; i < 3; i++) {
            assert_tokens(r[i].tokens, golden->greedy, GOLDEN_TOKENS);
            group_release(&g, r[i].id);
        }
    }
    assert_int_equal(group_blocks(&g), 0);
    group_close(&g);
}

/* Requests that begin with the kept pages of one before them, of both kinds. */
static inline void check_window_shared(struct comm *comm, const struct golden *golden)
{
    struct group g;
    group_open(&g, WINDOW_TARGET, comm, 2 * GROUP_POSITIONS);
    check_shared(&g, golden, 1);
    group_close(&g);
}

#endif
