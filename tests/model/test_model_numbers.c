/* test_model_numbers.c - numbers of a language model that the tiny checkpoints leave at their default */
#include "tests/model/whole.h"

#include "model/language.h"

/* o as if its config.json said so. */
static void opened_again(struct opened *o, const char *folder)
{
    struct safetensors *st;
    struct error err;
    const struct model_options options = {.kernels = o->k, .device = o->dev, .comm = o->comm, .kv_positions = KV, .max_rows = ROWS};
    model_close(o->model);
    check_ok(safetensors_open(&st, folder, &err), &err);
    check_ok(model_open(&o->model, st, &o->config, &options, &err), &err);
    safetensors_close(st);
}

static void the_cap_of_scores_is_that_of_the_formula(void **state)
{
    (void)state;
    struct opened o = opened_with("tests/golden/gemma3-text-tiny", NULL, KV, ROWS);
    struct golden g = golden_open("tests/golden/gemma3-text-tiny", "long", -1);
    o.config.score_cap = 1.5f;
    opened_again(&o, "tests/golden/gemma3-text-tiny");
    float *scores = alone(&o, &g);
    for (size_t i = 0; i < (size_t)g.n * (size_t)g.vocabulary; i++) {
        double off = fabs((double)scores[i] - 1.5 * tanh((double)g.logits[i] / 1.5));
        if (!(off <= GOLDEN_TOLERANCE))
            fail_msg("score %zu is off by %g", i, off);
    }
    free(scores);
    golden_close(&g);
    opened_close(&o, 1);
}

/* Cross-entropy summed over the labels of sample i of a batch that PyTorch trained on. */
static double sample_loss(struct opened *o, const struct golden *batch, int i, int *supervised)
{
    char name[2][16];
    int64_t rows, n;
    int32_t ids[ROWS], labels[ROWS], positions[ROWS][3];
    snprintf(name[0], sizeof name[0], "ids.%d", i);
    snprintf(name[1], sizeof name[1], "labels.%d", i);
    free(golden_tensor(batch, name[0], &rows, &n));
    assert_in_range(n, 2, ROWS);
    golden_ids(batch, name[0], ids);
    golden_ids(batch, name[1], labels);
    for (int t = 0; t < (int)n; t++)
        positions[t][0] = positions[t][1] = positions[t][2] = t;
    const struct golden g = {.n = (int)n, .ids = ids, .positions = positions};
    float *scores = alone(o, &g);
    double loss = 0;
    for (int t = 1; t < (int)n; t++) {
        const float *row = scores + (size_t)(t - 1) * (size_t)o->config.vocabulary;
        double sum = 0;
        for (int j = 0; j < o->config.vocabulary; j++)
            sum += exp((double)row[j]);
        loss += labels[t] < 0 ? 0 : log(sum) - (double)row[labels[t]];
        *supervised += labels[t] >= 0;
    }
    free(scores);
    return loss;
}

/* Both caps, a query scalar that is not the width of heads, a factor of positions. What is served is what was trained: the loss
 * before the first step, to f32's last digits. */
static void a_model_with_caps_has_the_loss_that_pytorch_found(void **state)
{
    (void)state;
    struct error err;
    struct opened o = opened_with("tests/golden/gemma3-text-tiny", NULL, KV, ROWS);
    struct golden batch = {0};
    json_t *report = json_load_file("tests/golden/training_gemma_text/training.json", 0, NULL), *losses = NULL;
    double loss = 0, want;
    int supervised = 0;
    check_ok(config_read(&o.config, "tests/golden/training_gemma_text", &err), &err);
    check_ok(safetensors_open(&batch.st, "tests/golden/training_gemma_text/batch.safetensors", &err), &err);
    assert_int_equal(json_unpack(report, "{s{s{so}}}", "phases", "phase2", "losses", &losses), 0);
    want = json_number_value(json_array_get(losses, 0));
    assert_true(o.config.attention_cap > 0 && o.config.score_cap > 0 && o.config.rope_factor > 1 && want > 1);
    opened_again(&o, "tests/golden/gemma3-text-tiny");
    for (int i = 0; i < 3; i++)
        loss += sample_loss(&o, &batch, i, &supervised);
    if (!(fabs(loss / supervised - want) <= 1e-5))
        fail_msg("%.7f, not %.7f", loss / supervised, want);
    json_decref(report);
    safetensors_close(batch.st);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cap_of_scores_is_that_of_the_formula),
        cmocka_unit_test(a_model_with_caps_has_the_loss_that_pytorch_found),
        cmocka_unit_test(embeddings_are_scaled_by_a_factor_in_the_numbers_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
