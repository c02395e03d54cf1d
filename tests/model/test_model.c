/* test_model.c - the language model on one rank against what transformers computed */
#include "tests/model/whole.h"

#include "model/language.h"

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
enum { CASES = sizeof cases / sizeof *cases };

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
        assert_int_equal(model_blocks_free(o.model), model_blocks(o.model));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
