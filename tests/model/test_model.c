/* test_model.c - the language model on one rank against what transformers computed, and its promises on bits and pages */
#include "tests/model/golden.h"

#include "model/family.h"
#include "model/language.h"

#define QWEN "tests/golden/qwen25vl-tiny"
#define GEMMA "tests/golden/gemma3-tiny"

static const struct {
    const char *folder, *name;
} cases[] = {
    {"tests/golden/qwen25vl-tiny", "clear"},       {"tests/golden/qwen25vl-tiny", "deep"},
    {"tests/golden/qwen25vl-tiny", "grey-jpeg"},   {"tests/golden/qwen25vl-tiny", "grey"},
    {"tests/golden/qwen25vl-tiny", "palette"},     {"tests/golden/qwen25vl-tiny", "photo"},
    {"tests/golden/qwen25vl-tiny", "progressive"}, {"tests/golden/qwen25vl-tiny", "scene"},
    {"tests/golden/qwen25vl-tiny", "speck"},       {"tests/golden/qwen25vl-tiny", "text-only"},
    {"tests/golden/qwen25vl-tiny", "turned"},      {"tests/golden/qwen25vl-tiny", "two-images"},
    {"tests/golden/qwen25vl-tiny", "two-turns"},   {"tests/golden/qwen25vl-tiny", "wide"},
    {"tests/golden/qwen2-tiny", "code"},           {"tests/golden/qwen2-tiny", "long"},
    {"tests/golden/qwen2-tiny", "short"},          {"tests/golden/qwen2-tiny", "unicode"},
    {"tests/golden/massv-tiny", "picture"},        {"tests/golden/massv-tiny", "text-only"},
    {"tests/golden/massv-tiny", "two-images"},     {"tests/golden/massv-tiny", "two-turns"},
    {"tests/golden/gemma3-tiny", "clear"},         {"tests/golden/gemma3-tiny", "deep"},
    {"tests/golden/gemma3-tiny", "grey-jpeg"},     {"tests/golden/gemma3-tiny", "grey"},
    {"tests/golden/gemma3-tiny", "palette"},       {"tests/golden/gemma3-tiny", "photo"},
    {"tests/golden/gemma3-tiny", "progressive"},   {"tests/golden/gemma3-tiny", "scene"},
    {"tests/golden/gemma3-tiny", "speck"},         {"tests/golden/gemma3-tiny", "text-only"},
    {"tests/golden/gemma3-tiny", "turned"},        {"tests/golden/gemma3-tiny", "two-images"},
    {"tests/golden/gemma3-tiny", "two-turns"},     {"tests/golden/gemma3-tiny", "wide"},
    {"tests/golden/gemma3-text-tiny", "code"},     {"tests/golden/gemma3-text-tiny", "long"},
    {"tests/golden/gemma3-text-tiny", "short"},    {"tests/golden/gemma3-text-tiny", "unicode"},
};
enum { CASES = sizeof cases / sizeof *cases, KV = 1024, ROWS = 256 };

/* Runs check on every case, each model opened once. */
static void every_case(void (*check)(struct opened *o, struct golden *g))
{
    struct opened o = {0};
    for (int i = 0; i < CASES; i++) {
        if (!i || strcmp(cases[i].folder, cases[i - 1].folder)) {
            if (i)
                opened_close(&o, 1);
            o = opened_with(cases[i].folder, NULL, KV, ROWS);
        }
        struct golden g = golden_open(cases[i].folder, cases[i].name, o.config.image_id);
        check(&o, &g);
        assert_int_equal(model_pages_free(o.model), model_pages(o.model));
        golden_close(&g);
    }
    opened_close(&o, 1);
}

static void check_logits(struct opened *o, struct golden *g)
{
    struct sequence *sequence = sequence_new(o->model);
    struct span span = golden_prompt(g, sequence, g->n);
    extend(o, &span, 1);
    float *scores = scores_of(o);
    check_close(g, "logits", scores, g->logits, (size_t)g->n * (size_t)g->vocabulary);
    free(scores);
    sequence_release(o->model, sequence);
}

static void logits_of_every_prompt_equal_the_reference(void **state)
{
    (void)state;
    every_case(check_logits);
}

static void check_greedy(struct opened *o, struct golden *g)
{
    int32_t want[GOLDEN_STEPS];
    golden_greedy(o, g, GOLDEN_STEPS, 1);
    golden_ids(g, "greedy_ids", want);
    assert_memory_equal(g->ids + g->n, want, sizeof want);
}

static void greedy_continuations_equal_the_reference(void **state)
{
    (void)state;
    every_case(check_greedy);
}

static void check_penalty(struct opened *o, struct golden *g)
{
    int32_t want[GOLDEN_STEPS];
    golden_greedy(o, g, GOLDEN_STEPS, g->penalty);
    golden_ids(g, "penalty_ids", want);
    assert_memory_equal(g->ids + g->n, want, sizeof want);
}

static void continuations_with_repetition_penalty_equal_the_reference(void **state)
{
    (void)state;
    every_case(check_penalty);
}

static void check_verify(struct opened *o, struct golden *g)
{
    struct sequence *sequence = sequence_new(o->model);
    struct span prompt = golden_prompt(g, sequence, 0);
    int64_t rows, cols;
    extend(o, &prompt, 1);
    golden_ids(g, "verify_ids", g->ids + g->n);
    struct span verify = golden_generated(g, sequence, g->n, GOLDEN_VERIFY, 1);
    extend(o, &verify, 1);
    float *scores = scores_of(o), *want = golden_tensor(g, "verify_logits", &rows, &cols);
    check_close(g, "verify_logits", scores, want, (size_t)(rows * cols));
    free(scores);
    free(want);
    sequence_release(o->model, sequence);
}

static void five_ids_appended_at_once_get_the_reference_logits(void **state)
{
    (void)state;
    every_case(check_verify);
}

/* A verification of five rows with a penalty: row i must be penalised for the drafts before it and its own id. */
static void check_penalty_rows(struct opened *o, struct golden *g)
{
    golden_ids(g, "penalty_ids", g->ids + g->n);
    int32_t best[GOLDEN_VERIFY];
    struct sequence *sequence = sequence_new(o->model);
    struct span prompt = golden_prompt(g, sequence, 0);
    extend(o, &prompt, 1);
    for (int at = 0; at + GOLDEN_VERIFY < GOLDEN_STEPS; at += GOLDEN_VERIFY) {
        struct span verify = golden_generated(g, sequence, g->n + at, GOLDEN_VERIFY, g->penalty);
        extend(o, &verify, 1);
        model_best(o->model, best);
        assert_memory_equal(best, g->ids + g->n + at + 1, sizeof best);
    }
    sequence_release(o->model, sequence);
}

static void a_verification_applies_the_penalty_row_by_row(void **state)
{
    (void)state;
    every_case(check_penalty_rows);
}

/* ---- layer by layer ---- */

/* With fewer layers the residual stream ends where a layer of the whole model ends. */
static void check_layers(const char *folder, const char *name)
{
    struct opened o = opened_with(folder, NULL, KV, ROWS);
    struct golden g = golden_open(folder, name, o.config.image_id);
    struct safetensors *st;
    struct error err;
    int64_t rows, cols;
    int d = o.config.d;
    float *want = golden_tensor(&g, "hidden_last", &rows, &cols), *x = mem_new((size_t)d, sizeof *x);
    assert_int_equal(rows, o.config.layers);
    check_ok(safetensors_open(&st, folder, &err), &err);
    for (int layers = 1; layers <= rows; layers++) {
        struct model_options options = {.kernels = o.k, .device = o.dev, .comm = o.comm, .kv_positions = KV, .max_rows = ROWS};
        model_close(o.model);
        o.config.layers = layers;
        check_ok(model_open(&o.model, st, &o.config, &options, &err), &err);
        struct sequence *sequence = sequence_new(o.model);
        struct span span = golden_prompt(&g, sequence, 0);
        extend(&o, &span, 1);
        o.k->download(o.dev, x, o.model->x + (size_t)(g.n - 1) * (size_t)d, (size_t)d * sizeof *x);
        double most = largest_difference(x, want + (size_t)(layers - 1) * (size_t)d, (size_t)d);
        if (!(most <= 1e-4)) /* as the goldens allow */
            fail_msg("%s: the last row behind layer %d differs by %g", g.path, layers - 1, most);
        sequence_release(o.model, sequence);
    }
    free(x);
    free(want);
    safetensors_close(st);
    golden_close(&g);
    opened_close(&o, 1);
}

static void every_layer_equals_the_reference(void **state)
{
    (void)state;
    check_layers(QWEN, "two-images");
    check_layers(GEMMA, "two-images");
    check_layers("tests/golden/gemma3-text-tiny", "long");
}

/* ---- weights in bf16, and the names of the three layouts ---- */

/* The pictures' features are those of f32 weights in the goldens, but not in this reference: cases of text only. */
static void check_bf16(struct opened *o, struct golden *g)
{
    struct sequence *sequence = sequence_new(o->model);
    int n = g->n < 16 ? g->n : 16;
    struct span span = golden_prompt(g, sequence, n);
    int64_t rows, cols;
    extend(o, &span, 1);
    float *scores = scores_of(o), *want = golden_tensor(g, "logits_bf16_weights", &rows, &cols);
    assert_int_equal(rows, n);
    check_close(g, "logits_bf16_weights", scores, want, (size_t)(rows * cols));
    free(scores);
    free(want);
    sequence_release(o->model, sequence);
}

static void logits_of_bf16_checkpoints_equal_the_reference(void **state)
{
    (void)state;
    const struct {
        const char *folder, *golden;
    } folders[] = {{"tests/golden/qwen25vl-tiny-bf16", QWEN},
                   {"tests/golden/qwen25vl-tiny-resaved", QWEN},
                   {"tests/golden/qwen25vl-tiny-names", QWEN},
                   {"tests/golden/gemma3-tiny-bf16", GEMMA},
                   {"tests/golden/gemma3-tiny-resaved", GEMMA}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct opened o = opened_with(folders[i].folder, NULL, KV, ROWS);
        struct golden g = golden_open(folders[i].golden, "text-only", o.config.image_id);
        check_bf16(&o, &g);
        golden_close(&g);
        opened_close(&o, 1);
    }
}

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

/* Scores of the whole prompt, computed at once in a fresh sequence. */
static float *alone(struct opened *o, const struct golden *g)
{
    struct sequence *sequence = sequence_new(o->model);
    struct span span = golden_prompt(g, sequence, g->n);
    extend(o, &span, 1);
    float *scores = scores_of(o);
    sequence_release(o->model, sequence);
    return scores;
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

static int32_t row_ids[300];
static int32_t row_positions[300][3];

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
    assert_int_equal(model_pages(o.model), 4);
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
        assert_int_equal(model_pages_free(o.model), steps[i].free);
    }
    sequence_release(o.model, a);
    sequence_release(o.model, b);
    sequence_release(o.model, NULL);
    assert_int_equal(model_pages_free(o.model), 4);
    opened_close(&o, 1);
}

static void refused(struct opened *o, const struct span *spans, int n, const char *words)
{
    struct error err = {""};
    int free_before = model_pages_free(o->model), length = sequence_length(spans[0].sequence);
    assert_int_equal(model_extend(o->model, spans, n, &err), -1);
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_int_equal(model_pages_free(o->model), free_before);
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
    assert_int_equal(model_pages_free(o.model), 0);
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

/* With a cap on the scores x becomes cap * tanh(x / cap); a cap on attention's changes what they are. */
static void capped_scores_are_those_of_the_formula(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/gemma3-text-tiny", NULL, 128, 0);
    struct golden g = golden_open("tests/golden/gemma3-text-tiny", "long", -1);
    struct safetensors *st;
    struct error err;
    check_ok(safetensors_open(&st, "tests/golden/gemma3-text-tiny", &err), &err);
    for (int attention = 0; attention < 2; attention++) {
        struct model_options options = {.kernels = o.k, .device = o.dev, .comm = o.comm, .kv_positions = 128};
        model_close(o.model);
        o.config.score_cap = attention ? 0 : 1.5f;
        o.config.attention_cap = attention ? 0.25f : 0;
        check_ok(model_open(&o.model, st, &o.config, &options, &err), &err);
        float *scores = alone(&o, &g);
        double most = 0, changed = 0;
        for (size_t i = 0; i < (size_t)g.n * (size_t)g.vocabulary; i++) {
            most = fmax(most, fabs((double)scores[i] - 1.5 * tanh((double)g.logits[i] / 1.5)));
            changed = fmax(changed, fabs((double)scores[i] - (double)g.logits[i]));
        }
        if (!(attention ? changed > 0.01 : most <= GOLDEN_TOLERANCE))
            fail_msg("off by %g, changed by %g", most, changed);
        free(scores);
    }
    safetensors_close(st);
    golden_close(&g);
    opened_close(&o, 1);
}

/* The factor of embeddings is rounded as the table's numbers are, unless the device keeps f32. */
static void embeddings_are_scaled_by_a_factor_in_the_numbers_of_the_table(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/gemma3-text-tiny", NULL, 64, 0); /* sqrt(48) = 6.9282 */
    const struct device_options rounding = {.threads = 1};
    const float want[2][3] = {{6.9282032f, 6.9282032f, 6.9282032f}, {6.9282032f, 6.9296875f, 6.9375f}};
    for (int auto_ = 0; auto_ < 2; auto_++)
        for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            struct error err;
            struct device *dev = auto_ ? o.k->open(&rounding, &err) : o.dev;
            struct model_options options = {.kernels = o.k,
                                            .device = dev,
                                            .comm = o.comm,
                                            .kv_positions = 64,
                                            .fill = "random",
                                            .fill_dtype = (enum dtype)dtype};
            struct model *model;
            check_ok(model_open(&model, NULL, &o.config, &options, &err), &err);
            assert_float_equal(model->embed_scale, want[auto_][dtype], 0);
            model_close(model);
            if (auto_)
                o.k->close(dev);
        }
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
        cmocka_unit_test(logits_of_every_prompt_equal_the_reference),
        cmocka_unit_test(greedy_continuations_equal_the_reference),
        cmocka_unit_test(continuations_with_repetition_penalty_equal_the_reference),
        cmocka_unit_test(five_ids_appended_at_once_get_the_reference_logits),
        cmocka_unit_test(a_verification_applies_the_penalty_row_by_row),
        cmocka_unit_test(every_layer_equals_the_reference),
        cmocka_unit_test(logits_of_bf16_checkpoints_equal_the_reference),
        cmocka_unit_test(a_prompt_in_chunks_gets_the_same_bits),
        cmocka_unit_test(the_rest_of_a_whole_picture_gets_the_same_bits),
        cmocka_unit_test(truncated_and_extended_again_gets_the_same_bits),
        cmocka_unit_test(rows_have_the_same_bits_alone_and_in_a_batch),
        cmocka_unit_test(pages_are_taken_and_given_back),
        cmocka_unit_test(an_impossible_step_is_refused_and_appends_nothing),
        cmocka_unit_test(pictures_that_must_be_whole_are_not_cut),
        cmocka_unit_test(capped_scores_are_those_of_the_formula),
        cmocka_unit_test(embeddings_are_scaled_by_a_factor_in_the_numbers_of_the_table),
        cmocka_unit_test(random_weights_of_every_dtype_give_finite_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
