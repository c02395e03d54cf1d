/* test_model_steps.c - promises of the language model's steps: the same bits however rows come, pages, what is refused */
#include "tests/model/whole.h"
#include "tests/present.h"

#include "model/family.h"

/* ---- bits ---- */

static void target_close(struct opened *o)
{
    opened_close(o, 1);
    free(o);
}

static struct opened *target_open(const char *folder)
{
    struct opened *o = mem_new(1, sizeof *o);
    *o = opened_with(folder, NULL, KV, ROWS);
    return o;
}

/* Runs check on the target of every family. */
static void every_target(void (*check)(struct opened *o, const char *folder))
{
    const char *const folders[] = {QWEN, GEMMA};
    for (int i = 0; i < 2; i++) {
        struct opened *o = target_open(folders[i]);
        check(o, folders[i]);
        target_close(o);
    }
}

/* n, or what is left of the prompt; more where that would cut a picture which must be whole. */
static int chunk_rows(const struct opened *o, const struct golden *g, int first, int n)
{
    int end = first + n < g->n ? first + n : g->n;
    for (int i = 0; i < g->n_pictures && o->config.family->pictures_whole; i++) {
        const struct span_picture *p = &g->pictures[i];
        if (p->first < end && end < p->first + p->count)
            end = p->first + p->count;
    }
    return end - first;
}

/* Rows [first, first + n) of the prompt; pictures are cut at the ends. */
static void extend_chunk(struct opened *o, const struct golden *g, struct sequence *sequence, int first, int n)
{
    struct span span = golden_prompt(g, sequence, n);
    struct span_picture cut[GOLDEN_PICTURES];
    span.n = n;
    span.ids += first;
    span.positions += first;
    span.pictures = cut;
    span.n_pictures = 0;
    for (int i = 0; i < g->n_pictures; i++) {
        const struct span_picture *p = &g->pictures[i];
        int begin = p->first > first ? p->first : first;
        int end = p->first + p->count < first + n ? p->first + p->count : first + n;
        if (begin < end)
            cut[span.n_pictures++] =
                (struct span_picture){begin - first, end - begin, p->features + (size_t)(begin - p->first) * (size_t)o->config.d};
    }
    extend(o, &span, 1);
}

static void check_chunks(struct opened *o, const char *folder)
{
    struct golden g = golden_open(folder, "two-images", o->config.image_id);
    float *whole = alone(o, &g);
    const int sizes[] = {1, 7, 16, 64};
    for (int i = 0; i < 4; i++) {
        struct sequence *sequence = sequence_new(o->model);
        for (int first = 0, n; first < g.n; first += n) {
            n = chunk_rows(o, &g, first, sizes[i]);
            extend_chunk(o, &g, sequence, first, n);
            float *scores = scores_of(o);
            assert_memory_equal(scores, whole + (size_t)first * (size_t)g.vocabulary,
                                (size_t)n * (size_t)g.vocabulary * sizeof *scores);
            free(scores);
        }
        sequence_release(o->model, sequence);
    }
    free(whole);
    golden_close(&g);
}

static void a_prompt_in_chunks_gets_the_same_bits(void **state)
{
    (void)state;
    every_target(check_chunks);
}

static void check_truncated(struct opened *o, const char *folder)
{
    struct golden g = golden_open(folder, "text-only", o->config.image_id);
    struct sequence *sequence = sequence_new(o->model);
    struct span prompt = golden_prompt(&g, sequence, 0);
    extend(o, &prompt, 1);
    golden_ids(&g, "greedy_ids", g.ids + g.n);
    struct span six = golden_generated(&g, sequence, g.n, 6, 1);
    extend(o, &six, 1);
    float *first = scores_of(o);
    int32_t wrong[6] = {1, 2, 3, 4, 5, 6};
    for (int keep = 0; keep < 6; keep++) { /* wrong drafts after `keep` right ones, rolled back, then the right ones */
        sequence_truncate(o->model, sequence, g.n + keep);
        struct span rejected = golden_generated(&g, sequence, g.n + keep, 6 - keep, 1);
        rejected.ids = wrong;
        extend(o, &rejected, 1);
        sequence_truncate(o->model, sequence, g.n + keep);
        struct span again = golden_generated(&g, sequence, g.n + keep, 6 - keep, 1);
        extend(o, &again, 1);
        float *scores = scores_of(o);
        assert_memory_equal(scores, first + (size_t)keep * (size_t)g.vocabulary,
                            (size_t)(6 - keep) * (size_t)g.vocabulary * sizeof *scores);
        free(scores);
    }
    free(first);
    sequence_release(o->model, sequence);
    golden_close(&g);
}

/* The rest of a picture behind rows that were computed with all of it, as adopted pages leave it. */
static void the_rest_of_a_whole_picture_gets_the_same_bits(void **state)
{
    (void)state;
    struct opened *o = target_open(GEMMA);
    struct golden g = golden_open(GEMMA, "two-images", o->config.image_id);
    float *whole = alone(o, &g);
    for (int rows = 1; rows < g.pictures[0].count; rows += 5) {
        struct sequence *sequence = sequence_new(o->model);
        struct span prompt = golden_prompt(&g, sequence, 0);
        int first = g.pictures[0].first + rows;
        extend(o, &prompt, 1);
        sequence_truncate(o->model, sequence, first);
        extend_chunk(o, &g, sequence, first, g.n - first);
        float *scores = scores_of(o);
        assert_memory_equal(scores, whole + (size_t)first * (size_t)g.vocabulary,
                            (size_t)(g.n - first) * (size_t)g.vocabulary * sizeof *scores);
        free(scores);
        sequence_release(o->model, sequence);
    }
    free(whole);
    golden_close(&g);
    target_close(o);
}

static void truncated_and_extended_again_gets_the_same_bits(void **state)
{
    (void)state;
    every_target(check_truncated);
}

/* A step of a verification, a prompt, a single token and a prompt; prompts must be put before the others within it. */
struct mixed {
    struct golden g[4];
    struct sequence *sequences[4];
    struct span spans[4];
};

static void mixed_start(struct mixed *m, struct opened *o)
{
    for (int i = 0; i < 4; i++) {
        m->sequences[i] = sequence_new(o->model);
        m->spans[i] = golden_prompt(&m->g[i], m->sequences[i], i % 2 ? 3 : 0);
    }
    for (int i = 0; i < 4; i += 2) {
        extend(o, &m->spans[i], 1);
        golden_ids(&m->g[i], "greedy_ids", m->g[i].ids + m->g[i].n);
        m->spans[i] = golden_generated(&m->g[i], m->sequences[i], m->g[i].n, i ? 1 : 5, i ? 1 : 1.05f);
    }
}

static void mixed_end(struct mixed *m, struct opened *o)
{
    for (int i = 0; i < 4; i++)
        sequence_release(o->model, m->sequences[i]);
}

static void check_mixed(struct opened *o, const char *folder)
{
    const char *const names[] = {"wide", "two-turns", "photo", "text-only"};
    struct mixed m;
    float *want[4];
    for (int i = 0; i < 4; i++)
        m.g[i] = golden_open(folder, names[i], o->config.image_id);
    mixed_start(&m, o);
    for (int i = 0; i < 4; i++) {
        extend(o, &m.spans[i], 1);
        want[i] = scores_of(o);
    }
    mixed_end(&m, o);
    mixed_start(&m, o);
    extend(o, m.spans, 4);
    float *together = scores_of(o), *at = together;
    int32_t best[12];
    assert_int_equal(model_scored_rows(o->model), 12);
    model_best(o->model, best);
    for (int i = 0; i < 12; i++)
        assert_int_equal(best[i], argmax(together + (size_t)i * (size_t)o->config.vocabulary, o->config.vocabulary));
    for (int i = 0; i < 4; i++) {
        size_t count = (size_t)m.spans[i].n_scored * (size_t)o->config.vocabulary;
        assert_memory_equal(at, want[i], count * sizeof *at);
        at += count;
        free(want[i]);
    }
    free(together);
    mixed_end(&m, o);
    for (int i = 0; i < 4; i++)
        golden_close(&m.g[i]);
}

static void rows_have_the_same_bits_alone_and_in_a_batch(void **state)
{
    (void)state;
    every_target(check_mixed);
}

/* ---- pages, and steps that are refused ---- */

enum { PLAIN_ROWS = 1024 };

static int32_t row_ids[PLAIN_ROWS];
static int32_t row_positions[PLAIN_ROWS][3];

static struct span plain(struct sequence *sequence, int n)
{
    return (struct span){.sequence = sequence,
                         .n = n,
                         .ids = row_ids,
                         .positions = (const int32_t(*)[3])row_positions,
                         .n_scored = 1,
                         .repetition_penalty = 1};
}

static void pages_are_taken_and_given_back(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/qwen2-tiny", NULL, 250, 0);
    assert_int_equal(model_blocks(o.model), 4);
    struct sequence *a = sequence_new(o.model), *b = sequence_new(o.model);
    const struct {
        struct sequence *sequence;
        int extend, truncate, free; /* pages free afterwards */
    } steps[] = {{a, 1, -1, 3}, {a, 63, -1, 3}, {a, 1, -1, 2}, {b, 128, -1, 0}, {a, 0, 64, 1},
                 {b, 0, 65, 1}, {b, 0, 64, 2},  {a, 0, 0, 3},  {a, 64, -1, 2},  {b, 0, 1, 2}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct span span = plain(steps[i].sequence, steps[i].extend);
        if (steps[i].extend)
            extend(&o, &span, 1);
        else
            sequence_truncate(o.model, steps[i].sequence, steps[i].truncate);
        assert_int_equal(model_blocks_free(o.model), steps[i].free);
    }
    sequence_release(o.model, a);
    sequence_release(o.model, b);
    sequence_release(o.model, NULL);
    assert_int_equal(model_blocks_free(o.model), 4);
    opened_close(&o, 1);
}

static void the_largest_step_finds_its_memory_present(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it keeps what was freed */
#endif
    struct opened o = opened_with("tests/golden/qwen2-tiny", NULL, PLAIN_ROWS, PLAIN_ROWS);
    struct sequence *sequence = sequence_new(o.model);
    struct span few = plain(sequence, 16), all = plain(sequence, PLAIN_ROWS);
    for (int i = 0; i < PLAIN_ROWS; i += few.n) /* after that, pages of the cache are present, too */
        extend(&o, &few, 1);
    sequence_truncate(o.model, sequence, 0);
    int64_t before = resident("Anonymous");
    extend(&o, &all, 1);
    assert_true(resident("Anonymous") - before < PLAIN_ROWS * o.config.d * (int64_t)sizeof(float) / 4); /* of the smallest buffer */
    sequence_release(o.model, sequence);
    opened_close(&o, 1);
}

static void refused(struct opened *o, const struct span *spans, int n, const char *words)
{
    struct error err = {""};
    int free_before = model_blocks_free(o->model), length = sequence_length(spans[0].sequence);
    assert_int_equal(model_extend(o->model, spans, n, &err), -1);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_int_equal(model_blocks_free(o->model), free_before);
    assert_int_equal(sequence_length(spans[0].sequence), length);
}

static void an_impossible_step_is_refused_and_appends_nothing(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/qwen2-tiny", NULL, 128, 200);
    struct sequence *a = sequence_new(o.model), *b = sequence_new(o.model);
    struct span spans[2] = {plain(a, 60), plain(b, 100)};
    refused(&o, spans, 2, "cache is full");
    spans[1] = plain(a, 3);
    refused(&o, spans, 2, "already in this step");
    spans[0].n = 201;
    refused(&o, spans, 1, "more than 200 rows");
    spans[0] = plain(a, 0);
    spans[0].n_scored = 0;
    refused(&o, spans, 1, "at least 1 row");
    spans[0] = plain(a, 4);
    spans[0].n_scored = 5;
    refused(&o, spans, 1, "score at most all");
    spans[0] = plain(a, 4);
    spans[0].repetition_penalty = 0;
    refused(&o, spans, 1, "must be above 0");
    refused(&o, spans, 0, "without rows");
    spans[0] = plain(a, 4);
    row_ids[2] = o.config.vocabulary;
    refused(&o, spans, 1, "must be from 0 to 663");
    row_ids[2] = 0;
    row_positions[3][1] = -1;
    refused(&o, spans, 1, "negative position");
    row_positions[3][1] = 0;
    const struct span_picture beyond = {2, 3, NULL}, twice[] = {{0, 2, NULL}, {1, 1, NULL}};
    spans[0].pictures = &beyond;
    spans[0].n_pictures = 1;
    refused(&o, spans, 1, "picture 0");
    spans[0].pictures = twice;
    spans[0].n_pictures = 2;
    refused(&o, spans, 1, "picture 1");
    spans[0] = plain(a, 64); /* and after all that a step still works */
    spans[1] = plain(b, 64);
    extend(&o, spans, 2);
    assert_int_equal(model_blocks_free(o.model), 0);
    sequence_release(o.model, a);
    sequence_release(o.model, b);
    opened_close(&o, 1);
}

/* A picture in parts, and steps that could never hold one. */
static void pictures_that_must_be_whole_are_not_cut(void **state)
{
    (void)state;
    struct opened o = opened_with(GEMMA, NULL, 128, 16);
    struct sequence *a = sequence_new(o.model);
    struct error err = {""};
    struct model *model = NULL;
    const struct span_picture part = {1, 15, NULL};
    struct span span = plain(a, 16);
    span.pictures = &part;
    span.n_pictures = 1;
    refused(&o, &span, 1, "its 16 see each other");
    sequence_release(o.model, a);
    const struct model_options narrow = {
        .kernels = o.k, .device = o.dev, .comm = o.comm, .kv_positions = 64, .max_rows = 15, .fill = "random"};
    assert_int_equal(model_open(&model, NULL, &o.config, &narrow, &err), -1);
    assert_non_null(strstr(err.text, "steps of 15 rows hold no picture: its 16 tokens"));
    opened_close(&o, 1);
}

static void random_weights_of_every_dtype_give_finite_scores(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/qwen2-tiny", NULL, 64, 0);
    for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct error err;
        struct model_options options = {
            .kernels = o.k, .device = o.dev, .comm = o.comm, .kv_positions = 64, .fill = "random", .fill_dtype = (enum dtype)dtype};
        model_close(o.model);
        check_ok(model_open(&o.model, NULL, &o.config, &options, &err), &err);
        struct sequence *sequence = sequence_new(o.model);
        struct span span = plain(sequence, 5);
        extend(&o, &span, 1);
        float *scores = scores_of(&o), least = scores[0], most = scores[0];
        for (int i = 0; i < o.config.vocabulary; i++) {
            assert_true(isfinite(scores[i]));
            least = fminf(least, scores[i]);
            most = fmaxf(most, scores[i]);
        }
        assert_true(most > least);
        free(scores);
        sequence_release(o.model, sequence);
    }
    opened_close(&o, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_step_finds_its_memory_present), /* first: nothing that was freed is there yet */
        cmocka_unit_test(a_prompt_in_chunks_gets_the_same_bits),
        cmocka_unit_test(the_rest_of_a_whole_picture_gets_the_same_bits),
        cmocka_unit_test(truncated_and_extended_again_gets_the_same_bits),
        cmocka_unit_test(rows_have_the_same_bits_alone_and_in_a_batch),
        cmocka_unit_test(pages_are_taken_and_given_back),
        cmocka_unit_test(an_impossible_step_is_refused_and_appends_nothing),
        cmocka_unit_test(pictures_that_must_be_whole_are_not_cut),
        cmocka_unit_test(random_weights_of_every_dtype_give_finite_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
