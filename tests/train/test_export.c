/* test_export.c - what an export is made of, for both families and every layout of names: the target's tower byte for byte, the
 * run's projector, the small model's tensors; and a configuration that reads as what was grafted */
#include "tests/check.h"

#include <inttypes.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/drafter_fit.h"
#include "model/fingerprint.h"
#include "model/vision.h"
#include "tests/model/folder.h"
#include "train/export.h"
#include "train/graft.h"

#define GOLDEN "tests/golden/"

static void check_ok(int status, const struct error *err)
{
    if (status)
        fail_msg("%s", err->text);
}

/* A checkpoint, opened. */
struct checkpoint {
    struct model_config config;
    struct safetensors *st;
    struct tokenizer *tokenizer;
};

static void checkpoint_open(struct checkpoint *c, const char *dir)
{
    struct error err;
    check_ok(config_read(&c->config, dir, &err) || safetensors_open(&c->st, dir, &err) || tokenizer_open(&c->tokenizer, dir, &err),
             &err);
}

static void checkpoint_close(struct checkpoint *c)
{
    safetensors_close(c->st);
    tokenizer_close(c->tokenizer);
}

static void setting_fingerprint(json_t *settings, const char *who, struct checkpoint *c)
{
    struct error err;
    uint64_t hash[2];
    char key[64], text[33];
    check_ok(model_fingerprint(c->st, &c->config, hash, &err), &err);
    snprintf(key, sizeof key, "%s_fingerprint", who);
    snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
    json_object_set_new(settings, key, json_string(text));
}

static const struct graft_projector as_it_is = {.kind = -1};

struct trained { /* the projector that a run would leave behind */
    const char *name;
    int64_t shape[2]; /* shape[1] 0: a vector */
};

/* A folder as massv-train project leaves it, of made-up numbers. */
static void run_write(const struct folder *run, struct checkpoint *target, struct checkpoint *small, const struct trained *trained)
{
    struct error err;
    char path[128], names[8][96];
    struct tensor tensors[8];
    void *data[8];
    int n = 0;
    for (; trained[n].name; n++) {
        int64_t rows = trained[n].shape[0], cols = trained[n].shape[1] ? trained[n].shape[1] : 1;
        snprintf(names[n], sizeof names[n], "value/%s", trained[n].name);
        tensors[n] = (struct tensor){names[n], DTYPE_F32, trained[n].shape[1] ? 2 : 1, {rows, trained[n].shape[1]}, 0};
        tensors[n].bytes = (size_t)(rows * cols) * sizeof(float);
        data[n] = mem_new(tensors[n].bytes, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            ((float *)data[n])[i] = (float)(n + 1) / (float)(i + 1);
    }
    folder_path(run, "state.safetensors", path);
    check_ok(safetensors_write(path, tensors, (const void *const *)data, n, &err), &err);
    for (int i = 0; i < n; i++)
        free(data[i]);
    json_t *settings = json_pack("{ss si}", "projector", "mlp", "queries", 0);
    setting_fingerprint(settings, "target", target);
    setting_fingerprint(settings, "drafter", small);
    folder_path(run, "settings.json", path);
    assert_int_equal(json_dump_file(settings, path, 0), 0);
    json_decref(settings);
}

/* Tensor `name` of a is `other` of b, byte for byte. */
static void check_same(struct safetensors *a, const char *name, struct safetensors *b, const char *other)
{
    struct error err;
    uint64_t ours[2], theirs[2];
    if (!safetensors_find(a, name) || !safetensors_find(b, other))
        fail_msg("%s, %s: not there", name, other);
    check_ok(safetensors_hash(a, name, 1, ours, &err) || safetensors_hash(b, other, 1, theirs, &err), &err);
    if (memcmp(ours, theirs, sizeof ours))
        fail_msg("%s is not %s", name, other);
}

struct pair {
    const char *target, *small;
    const char *table, *small_table; /* names of the embedding table, exported and before */
    const struct trained *trained;
};

static void check_exported(struct checkpoint *drafter, const struct pair *pair, struct checkpoint *target, struct checkpoint *small,
                           struct safetensors *state)
{
    struct error err;
    struct model_config grafted;
    enum drafter_kind kind;
    uint64_t tower[2], have[2], want[2];
    check_ok(graft_config(&grafted, &target->config, &small->config, &as_it_is, &err) ||
                 tower_hash(target->st, &target->config, tower, &err),
             &err);
    const struct drafter_target fits = {&target->config, target->tokenizer, tower};
    check_ok(drafter_fit(&kind, &drafter->config, drafter->tokenizer, drafter->st, &fits, &err), &err);
    assert_int_equal(kind, DRAFTER_MASSV);
    check_ok(model_fingerprint(drafter->st, &drafter->config, have, &err) || model_fingerprint(drafter->st, &grafted, want, &err),
             &err);
    assert_memory_equal(have, want, sizeof have); /* every number that changes what is computed */
    assert_memory_equal(drafter->config.picture.mean, target->config.picture.mean, sizeof target->config.picture.mean);
    assert_int_equal(drafter->config.image_id, target->config.image_id);
    check_same(drafter->st, pair->table, small->st, pair->small_table);
    for (const struct trained *t = pair->trained; t->name; t++) {
        char value[128];
        snprintf(value, sizeof value, "value/%s", t->name);
        check_same(drafter->st, t->name, state, value);
    }
    int of_tower = 0, of_small = safetensors_count(small->st), trained = safetensors_count(state);
    for (int i = 0; i < safetensors_count(target->st); i++) {
        char *name = tower_published(target->st, &target->config, safetensors_at(target->st, i)->name);
        of_tower += name != NULL;
        free(name);
    }
    assert_int_equal(safetensors_count(drafter->st), of_tower + of_small + trained);
}

static void export_pair(const struct pair *pair)
{
    struct error err;
    struct export_report report;
    struct checkpoint target, small, drafter;
    struct safetensors *state;
    struct folder run = folder_make(), out = folder_make();
    char path[128];
    checkpoint_open(&target, pair->target);
    checkpoint_open(&small, pair->small);
    run_write(&run, &target, &small, pair->trained);
    const struct export_options options = {
        .run = run.path, .target = pair->target, .drafter = pair->small, .out = out.path, .dtype = -1};
    check_ok(export_run(&report, &options, &err), &err);
    checkpoint_open(&drafter, out.path);
    folder_path(&run, "state.safetensors", path);
    check_ok(safetensors_open(&state, path, &err), &err);
    check_exported(&drafter, pair, &target, &small, state);
    assert_int_equal(report.tensors, safetensors_count(drafter.st));
    safetensors_close(state);
    checkpoint_close(&drafter);
    checkpoint_close(&target);
    checkpoint_close(&small);
    folder_remove(&run);
    folder_remove(&out);
}

static const struct trained merger[] = {{"visual.merger.ln_q.weight", {64, 0}}, {"visual.merger.mlp.0.weight", {256, 256}},
                                        {"visual.merger.mlp.0.bias", {256, 0}}, {"visual.merger.mlp.2.weight", {48, 256}},
                                        {"visual.merger.mlp.2.bias", {48, 0}},  {NULL, {0, 0}}};
static const struct trained matrix[] = {{"multi_modal_projector.mm_soft_emb_norm.weight", {48, 0}},
                                        {"multi_modal_projector.mm_input_projection_weight", {48, 48}},
                                        {NULL, {0, 0}}};

static void every_layout_of_a_target_gives_its_tower(void **state)
{
    (void)state;
    static const char *const qwen[] = {GOLDEN "qwen25vl-tiny", GOLDEN "qwen25vl-tiny-bf16", GOLDEN "qwen25vl-tiny-names",
                                       GOLDEN "qwen25vl-tiny-resaved"};
    static const char *const gemma[] = {GOLDEN "gemma3-tiny", GOLDEN "gemma3-tiny-bf16", GOLDEN "gemma3-tiny-resaved"};
    for (size_t i = 0; i < sizeof qwen / sizeof *qwen; i++)
        export_pair(&(struct pair){qwen[i], GOLDEN "qwen2-tiny", "model.embed_tokens.weight", "model.embed_tokens.weight", merger});
    for (size_t i = 0; i < sizeof gemma / sizeof *gemma; i++)
        export_pair(&(struct pair){gemma[i], GOLDEN "gemma3-text-tiny", "language_model.model.embed_tokens.weight",
                                   "model.embed_tokens.weight", matrix});
}

static void models_of_two_families_are_not_joined(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{GOLDEN "qwen25vl-tiny", GOLDEN "gemma3-text-tiny"},
                                           {GOLDEN "gemma3-tiny", GOLDEN "qwen2-tiny"},
                                           {GOLDEN "gemma3-tiny", GOLDEN "massv-tiny"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct error err;
        struct model_config target, language, drafter;
        check_ok(config_read(&target, pairs[i][0], &err) || config_read(&language, pairs[i][1], &err), &err);
        assert_int_equal(graft_config(&drafter, &target, &language, &as_it_is, &err), -1);
        check_words(err.text,
                    i ? "gemma3-tiny|tiny is a model of qwen2|the target's own family"
                      : "gemma3-text-tiny is a model of gemma3_text|qwen25vl-tiny of qwen2_5_vl|the target's own family",
                    pairs[i][0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_of_a_target_gives_its_tower),
        cmocka_unit_test(models_of_two_families_are_not_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
