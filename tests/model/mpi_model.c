/* mpi_model.c - the sharded language model on the ranks of mpirun: the same results as on one, to the tolerance; the same bits for
 * a row in any company; and no more memory than the shard */
#include "tests/model/golden.h"
#include "tests/mpi.h"
#include "tests/present.h"

#include "model/shard.h"

static const char *const folder = "tests/golden/qwen25vl-tiny"; /* 2 key/value heads: 4 ranks hold each of them twice */

static void logits_of_a_sharded_model_equal_the_reference(void **state)
{
    const char *const folders[] = {folder, "tests/golden/qwen2-tiny", "tests/golden/massv-tiny", "tests/golden/gemma3-tiny",
                                   "tests/golden/gemma3-text-tiny"};
    const char *const names[] = {"two-images", "unicode", "two-turns", "two-images", "long"};
    for (int i = 0; i < 5; i++) {
        struct opened o = opened_with(folders[i], *state, 512, 256);
        struct golden g = golden_open(folders[i], names[i], o.config.image_id);
        struct sequence *sequence = sequence_new(o.model);
        struct span span = golden_prompt(&g, sequence, g.n);
        extend(&o, &span, 1);
        float *scores = scores_of(&o);
        check_close(&g, "logits", scores, g.logits, (size_t)g.n * (size_t)g.vocabulary);
        free(scores);
        sequence_release(o.model, sequence);
        golden_close(&g);
        opened_close(&o, 0);
    }
}

static void greedy_text_of_a_sharded_model_equals_the_reference(void **state)
{
    const char *const folders[] = {folder, "tests/golden/gemma3-tiny"};
    for (int i = 0; i < 2; i++) {
        struct opened o = opened_with(folders[i], *state, 512, 256);
        struct golden g = golden_open(folders[i], "scene", o.config.image_id);
        int32_t want[GOLDEN_STEPS];
        golden_greedy(&o, &g, GOLDEN_STEPS, 1);
        golden_ids(&g, "greedy_ids", want);
        assert_memory_equal(g.ids + g.n, want, sizeof want);
        golden_greedy(&o, &g, GOLDEN_STEPS, g.penalty);
        golden_ids(&g, "penalty_ids", want);
        assert_memory_equal(g.ids + g.n, want, sizeof want);
        golden_close(&g);
        opened_close(&o, 0);
    }
}

static void the_best_id_is_the_argmax_of_the_gathered_scores(void **state)
{
    struct opened o = opened_with(folder, *state, 512, 256);
    struct golden g = golden_open(folder, "photo", o.config.image_id);
    struct sequence *sequence = sequence_new(o.model);
    struct span span = golden_prompt(&g, sequence, g.n);
    int32_t *best = mem_new((size_t)g.n, sizeof *best);
    span.repetition_penalty = 1.3f;
    extend(&o, &span, 1);
    float *scores = scores_of(&o);
    model_best(o.model, best);
    for (int i = 0; i < g.n; i++)
        assert_int_equal(best[i], argmax(scores + (size_t)i * (size_t)g.vocabulary, g.vocabulary));
    free(scores);
    free(best);
    sequence_release(o.model, sequence);
    golden_close(&g);
    opened_close(&o, 0);
}

static void a_row_has_the_same_bits_alone_and_among_others(void **state)
{
    struct opened o = opened_with(folder, *state, 1024, 256);
    const char *const names[] = {"two-turns", "wide", "text-only"};
    struct golden g[3];
    float *want[3], *together, *at;
    for (int round = 0; round < 2; round++) {
        struct span spans[3];
        for (int i = 0; i < 3; i++) {
            g[i] = golden_open(folder, names[i], o.config.image_id);
            spans[i] = golden_prompt(&g[i], sequence_new(o.model), 1 + i);
            if (!round) {
                extend(&o, &spans[i], 1);
                want[i] = scores_of(&o);
            }
        }
        if (round)
            extend(&o, spans, 3);
        together = at = round ? scores_of(&o) : NULL;
        for (int i = 0; i < 3; i++) {
            size_t count = (size_t)(1 + i) * (size_t)g[i].vocabulary;
            if (round) {
                assert_memory_equal(at, want[i], count * sizeof *at);
                at += count;
                free(want[i]);
            }
            sequence_release(o.model, spans[i].sequence);
            golden_close(&g[i]);
        }
        free(together);
    }
    opened_close(&o, 0);
}

/* ---- a checkpoint made here ---- */

/* A folder of its own with a config.json of this text; the same on every rank, made by rank 0. */
static void folder_make(struct comm *comm, char path[64], const char *config)
{
    snprintf(path, 64, "/tmp/massv-mpi-model-XXXXXX");
    if (comm->rank == 0) {
        assert_non_null(mkdtemp(path));
        char *name = mem_format("%s/config.json", path);
        FILE *f = fopen(name, "w");
        assert_non_null(f);
        fputs(config, f);
        fclose(f);
        free(name);
    }
    comm->calls->broadcast(comm, path, 64, 0);
}

static void folder_remove(struct comm *comm, const char *path)
{
    comm->calls->barrier(comm);
    if (comm->rank)
        return;
    const char *const names[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char *name = mem_format("%s/%s", path, names[i]);
        unlink(name);
        free(name);
    }
    rmdir(path);
}

static int tensor_add(struct tensor *t, const void **data, int n, char *name, enum dtype dtype, int64_t rows, int64_t cols,
                      const void *bytes)
{
    t[n] = (struct tensor){.name = name, .dtype = dtype, .dims = rows ? 2 : 1, .shape = {rows ? rows : cols, cols}};
    t[n].bytes = (size_t)((rows ? rows : 1) * cols) * dtype_size(dtype);
    data[n] = bytes;
    return n + 1;
}

/* All tensors of a tied qwen2 model, zeros but for the embedding table. */
static void checkpoint_write(const char *path, const struct model_config *c, enum dtype dtype, const void *table)
{
    enum { LAYER_TENSORS = 12 };
    struct error err;
    int most = c->layers * LAYER_TENSORS + 2, n = 0;
    size_t largest = (size_t)c->d * (size_t)(c->ff > c->vocabulary ? c->ff : c->vocabulary) * 4;
    struct tensor *t = mem_new((size_t)most, sizeof *t);
    const void **data = mem_new((size_t)most, sizeof *data);
    void *zeros = mem_new(largest, 1);
    const struct {
        const char *name;
        int rows, cols;
    } layer[LAYER_TENSORS] = {{"input_layernorm.weight", 0, c->d},
                              {"post_attention_layernorm.weight", 0, c->d},
                              {"self_attn.q_proj.weight", c->h * c->c, c->d},
                              {"self_attn.k_proj.weight", c->g * c->c, c->d},
                              {"self_attn.v_proj.weight", c->g * c->c, c->d},
                              {"self_attn.q_proj.bias", 0, c->h * c->c},
                              {"self_attn.k_proj.bias", 0, c->g * c->c},
                              {"self_attn.v_proj.bias", 0, c->g * c->c},
                              {"self_attn.o_proj.weight", c->d, c->h * c->c},
                              {"mlp.gate_proj.weight", c->ff, c->d},
                              {"mlp.up_proj.weight", c->ff, c->d},
                              {"mlp.down_proj.weight", c->d, c->ff}};
    n = tensor_add(t, data, n, mem_string("model.embed_tokens.weight"), dtype, c->vocabulary, c->d, table ? table : zeros);
    n = tensor_add(t, data, n, mem_string("model.norm.weight"), dtype, 0, c->d, zeros);
    for (int i = 0; i < c->layers * LAYER_TENSORS; i++)
        n = tensor_add(t, data, n, mem_format("model.layers.%d.%s", i / LAYER_TENSORS, layer[i % LAYER_TENSORS].name), dtype,
                       layer[i % LAYER_TENSORS].rows, layer[i % LAYER_TENSORS].cols, zeros);
    char *file = mem_format("%s/model.safetensors", path);
    check_ok(safetensors_write(file, t, data, n, &err), &err);
    free(file);
    for (int i = 0; i < n; i++)
        free((char *)t[i].name);
    free(zeros);
    free(t);
    free(data);
}

static const char small_config[] =
    "{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"hidden_size\": 64, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 4, \"intermediate_size\": 64, \"vocab_size\": 200, \"max_position_embeddings\": 512, "
    "\"rms_norm_eps\": 1e-6, \"rope_theta\": 1e6, \"tie_word_embeddings\": true}";

/* Weights of zeros: every score is 0 on every rank. An embedding table of NaN: every score is NaN. */
static void equal_scores_give_the_lowest_id_and_nan_none(void **state)
{
    struct comm *comm = *state;
    char path[64];
    folder_make(comm, path, small_config);
    for (int nan = 0; nan < 2; nan++) {
        struct model_config config;
        struct error err;
        check_ok(config_read(&config, path, &err), &err);
        size_t count = (size_t)config.vocabulary * (size_t)config.d;
        float *table = mem_new(count, sizeof *table);
        for (size_t i = 0; i < count && nan; i++)
            table[i] = NAN;
        if (comm->rank == 0)
            checkpoint_write(path, &config, DTYPE_F32, table);
        comm->calls->barrier(comm);
        struct opened o = opened_with(path, comm, 64, 8);
        const int32_t ids[2] = {5, 150}, positions[2][3] = {{0}, {1}};
        struct span span = {
            .sequence = sequence_new(o.model), .n = 2, .ids = ids, .positions = positions, .n_scored = 2, .repetition_penalty = 1};
        int32_t best[2];
        extend(&o, &span, 1);
        model_best(o.model, best);
        assert_int_equal(best[0], nan ? -1 : 0);
        assert_int_equal(best[1], nan ? -1 : 0);
        sequence_release(o.model, span.sequence);
        opened_close(&o, 0);
        comm->calls->barrier(comm);
        free(table);
    }
    folder_remove(comm, path);
}

/* ---- memory ---- */

static const char large_config[] =
    "{\"model_type\": \"qwen2\", \"num_hidden_layers\": 3, \"hidden_size\": 1024, \"num_attention_heads\": 8, "
    "\"num_key_value_heads\": 4, \"intermediate_size\": 4096, \"vocab_size\": 16384, \"max_position_embeddings\": 512, "
    "\"rms_norm_eps\": 1e-6, \"rope_theta\": 1e6, \"tie_word_embeddings\": true}";

static void a_rank_holds_its_shard_and_little_more(void **state)
{
#ifdef __SANITIZE_ADDRESS__
    (void)state;
    (void)large_config;
    print_message("skipped: the sanitizer's own memory would be counted\n");
    skip();
#else
    struct comm *comm = *state;
    struct model_config config;
    struct error err;
    char path[64];
    folder_make(comm, path, large_config);
    check_ok(config_read(&config, path, &err), &err);
    if (comm->rank == 0)
        checkpoint_write(path, &config, DTYPE_BF16, NULL);
    comm->calls->barrier(comm);
    struct model *model = NULL;
    struct safetensors *st = NULL;
    const struct device_options device = {.threads = 1, .activations_f32 = true};
    const struct kernels *k = kernels_cpu();
    struct device *dev = k->open(&device, &err);
    check_ok(dev ? 0 : -1, &err);
    int64_t before = resident("Rss");
    check_ok(safetensors_open(&st, path, &err), &err);
    /* What a step needs beside the shard is of one row. */
    const struct model_options options = {.kernels = k, .device = dev, .comm = comm, .kv_positions = 512, .max_rows = 1};
    check_ok(model_open(&model, st, &config, &options, &err), &err);
    int64_t grown = resident("Rss") - before;
    int64_t shard = model_shard_bytes(&config, comm->size, DTYPE_BF16);
    /* 15 % of it, and the buffer through which it was read, which in a shard of gigabytes is part of these. */
    if ((double)grown > 1.15 * (double)shard + (4 << 20))
        fail_msg("a shard of %.1f MB takes %.1f MB", (double)shard / 1e6, (double)grown / 1e6);
    assert_true((double)grown > 0.9 * (double)shard); /* else the measure is broken */
    model_close(model);
    safetensors_close(st);
    k->close(dev);
    folder_remove(comm, path);
#endif
}

int main(void)
{
    struct comm *comm = mpi_ranks(0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(logits_of_a_sharded_model_equal_the_reference, comm),
        cmocka_unit_test_prestate(greedy_text_of_a_sharded_model_equals_the_reference, comm),
        cmocka_unit_test_prestate(the_best_id_is_the_argmax_of_the_gathered_scores, comm),
        cmocka_unit_test_prestate(a_row_has_the_same_bits_alone_and_among_others, comm),
        cmocka_unit_test_prestate(equal_scores_give_the_lowest_id_and_nan_none, comm),
        cmocka_unit_test_prestate(a_rank_holds_its_shard_and_little_more, comm),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_close(comm);
    return failed;
}
