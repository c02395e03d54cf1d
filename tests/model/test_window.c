/* test_window.c - a sequence that lets go of what its windows have left gives the bits of one that keeps all */
#include "tests/model/golden.h"

enum { ROWS = 340, DRAFTS = 16, OTHERS = 2 };

static int32_t ids[ROWS], wrong[DRAFTS + 1], positions[ROWS + DRAFTS][3];

static struct span rows_of(struct sequence *sequence, const int32_t *at, int first, int n, int scored)
{
    return (struct span){.sequence = sequence,
                         .n = n,
                         .ids = at,
                         .positions = (const int32_t(*)[3])(positions + first),
                         .generated = true,
                         .n_scored = scored,
                         .repetition_penalty = 1};
}

static void ids_make(const struct opened *o)
{
    for (int i = 0; i < ROWS; i++)
        ids[i] = (i * i * 13 + i * 7 + 3) % o->config.vocabulary;
    for (int i = 0; i <= DRAFTS; i++)
        wrong[i] = (i * 31 + 17) % o->config.vocabulary;
    for (int i = 0; i < ROWS + DRAFTS; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = i;
}

/* Scores of all rows in a sequence that keeps everything. */
static float *whole(struct opened *o)
{
    float *all = mem_new((size_t)ROWS * (size_t)o->config.vocabulary, sizeof *all);
    struct sequence *s = sequence_new(o->model);
    for (int at = 0, n; at < ROWS; at += n) {
        n = ROWS - at < 64 ? ROWS - at : 64;
        struct span span = rows_of(s, ids + at, at, n, n);
        extend(o, &span, 1);
        float *scores = scores_of(o);
        memcpy(all + (size_t)at * (size_t)o->config.vocabulary, scores, (size_t)n * (size_t)o->config.vocabulary * sizeof *all);
        free(scores);
    }
    sequence_release(o->model, s);
    return all;
}

/* Whatever is free is written to: pages that were let go of too early would show. */
static void free_pages_spoil(struct opened *o)
{
    int whole_pages = model_blocks_free(o->model) / kv_layout_whole(model_layout(o->model));
    struct sequence *s = sequence_new(o->model);
    for (int i = 0; i < whole_pages && i < OTHERS; i++) {
        struct span span = rows_of(s, ids + 100, i * 64, 64, 0);
        extend(o, &span, 1);
    }
    sequence_release(o->model, s);
}

/* Steps of 1 + drafts rows, of which 1 + kept are right and stay. */
static void check_growth(struct opened *o, const float *all, int drafts)
{
    const struct kv_layout *layout = model_layout(o->model);
    size_t width = (size_t)o->config.vocabulary;
    struct sequence *s = sequence_new(o->model);
    int at = 0, most = 0, local = layout->blocks[KV_LOCAL] * kv_layout_local_most(layout, 1 + drafts);
    for (int step = 0; at + 1 + drafts <= ROWS; step++) {
        int kept = step % (1 + drafts);
        int32_t rows[DRAFTS + 1];
        for (int i = 0; i <= drafts; i++)
            rows[i] = i <= kept ? ids[at + i] : wrong[i];
        struct span span = rows_of(s, rows, at, 1 + drafts, 1 + drafts);
        extend(o, &span, 1);
        float *scores = scores_of(o);
        if (memcmp(scores, all + (size_t)at * width, (size_t)(1 + kept) * width * sizeof *scores))
            fail_msg("%d drafts, position %d: other bits", drafts, at);
        free(scores);
        int blocks = model_blocks(o->model) - model_blocks_free(o->model);
        int global = (at + 1 + drafts + 63) / 64 * layout->blocks[KV_GLOBAL];
        most = blocks - global > most ? blocks - global : most;
        at += 1 + kept;
        sequence_truncate(o->model, s, at);
        sequence_settle(o->model, s, at);
        free_pages_spoil(o);
    }
    assert_true(most <= local && most >= layout->blocks[KV_LOCAL]);
    sequence_release(o->model, s);
    assert_int_equal(model_blocks_free(o->model), model_blocks(o->model));
}

/* One row at a time, so that every alignment of window and pages occurs, and every number of drafts. */
static void check_folder(const char *folder)
{
    struct opened o = opened_with(folder, NULL, 16 * 64, 128);
    ids_make(&o);
    float *all = whole(&o);
    for (int drafts = 0; drafts <= DRAFTS; drafts = drafts ? 2 * drafts : 1)
        check_growth(&o, all, drafts);
    free(all);
    opened_close(&o, 1);
}

static void windows_let_go_without_a_trace(void **state)
{
    (void)state;
    check_folder("tests/golden/gemma3-tiny");      /* a window of 20 */
    check_folder("tests/golden/gemma3-text-tiny"); /* of 8 */
}

/* Prompt chunks, each larger than the window. */
static void prompt_chunks_let_go_too(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/gemma3-tiny", NULL, 16 * 64, 128);
    size_t width = (size_t)o.config.vocabulary;
    ids_make(&o);
    float *all = whole(&o);
    for (int chunk = 1; chunk <= 128; chunk += 1 + chunk / 5) {
        struct sequence *s = sequence_new(o.model);
        for (int at = 0, n; at < ROWS; at += n) {
            n = ROWS - at < chunk ? ROWS - at : chunk;
            struct span span = rows_of(s, ids + at, at, n, n);
            extend(&o, &span, 1);
            float *scores = scores_of(&o);
            assert_memory_equal(scores, all + (size_t)at * width, (size_t)n * width * sizeof *scores);
            free(scores);
            sequence_settle(o.model, s, at + n);
            free_pages_spoil(&o);
        }
        assert_int_equal(model_blocks(o.model) - model_blocks_free(o.model), 6 + 6 * (6 - (ROWS + 1 - 20) / 64));
        sequence_release(o.model, s);
    }
    free(all);
    opened_close(&o, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_let_go_without_a_trace),
        cmocka_unit_test(prompt_chunks_let_go_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
