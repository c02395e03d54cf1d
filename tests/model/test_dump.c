/* test_dump.c - a dump does not depend on how its prompt is cut into steps, and its continuation is what verification says */
#include "tests/check.h"

#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "model/dump.h"
#include "model/model.h"

#define MODEL "tests/golden/qwen25vl-tiny"
#define PROMPT                                                                                                                     \
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is this, and what is that?<|im_end|>\n"                     \
    "<|im_start|>assistant\n"

struct fixture {
    const struct kernels *kernels;
    struct device *device;
    struct comm *comm;
};

static int set_up(void **state)
{
    static struct fixture f;
    struct error err;
    const struct device_options options = {.threads = 2, .activations_f32 = true};
    f.kernels = kernels_cpu();
    f.device = f.kernels->open(&options, &err);
    *state = &f;
    return !f.device || comm_open_one(&f.comm, &err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    comm_close(f->comm);
    f->kernels->close(f->device);
    return 0;
}

static struct dump *dumped(const struct fixture *f, const char *model, const char *prompt, int max_rows)
{
    static const char *const pictures[] = {"tests/golden/images/deep.png"};
    const struct dump_options options = {.dir = model,
                                         .prompt = prompt,
                                         .raw = true,
                                         .pictures = pictures,
                                         .n_pictures = 1,
                                         .kernels = f->kernels,
                                         .device = f->device,
                                         .comm = f->comm,
                                         .max_rows = max_rows};
    struct dump *dump = NULL;
    struct error err = {{0}};
    if (dump_run(&dump, &options, &err))
        fail_msg("%s", err.text);
    return dump;
}

static const void *data_of(const struct dump *dump, const char *name, const struct tensor **tensor)
{
    for (int i = 0; i < dump_count(dump); i++)
        if (!strcmp(dump_tensor(dump, i)->name, name)) {
            *tensor = dump_tensor(dump, i);
            return dump_data(dump, i);
        }
    fail_msg("no %s", name);
    return NULL;
}

static void check_chunks(const struct fixture *f, const char *model, const char *prompt, int max_rows)
{
    struct dump *whole = dumped(f, model, prompt, 0), *cut = dumped(f, model, prompt, max_rows);
    assert_int_equal(dump_count(whole), dump_count(cut));
    for (int i = 0; i < dump_count(whole); i++) {
        assert_string_equal(dump_tensor(whole, i)->name, dump_tensor(cut, i)->name);
        assert_int_equal(dump_tensor(whole, i)->bytes, dump_tensor(cut, i)->bytes);
        assert_memory_equal(dump_data(whole, i), dump_data(cut, i), dump_tensor(whole, i)->bytes);
    }
    dump_free(whole);
    dump_free(cut);
}

/* Rows are bit for bit independent of the rows beside them (kernels.h), so chunks change nothing: not those that cut a picture, nor
 * those that must not. */
static void test_chunks(void **state)
{
    check_chunks(*state, MODEL, PROMPT, 7);
    check_chunks(*state, "tests/golden/gemma3-tiny",
                 "<bos><start_of_turn>user\nWhat is <start_of_image>, and what is that?<end_of_turn>\n<start_of_turn>model\n", 16);
}

/* A text prompt's greedy continuation, found again by verifying wrong drafts and rolling them back. */
struct verified {
    struct model *model;
    struct sequence *sequence;
    int32_t position;
};

static void extend(struct verified *v, const int32_t *ids, int n, bool generated, int32_t *best, int scored)
{
    int32_t positions[64][3];
    struct error err;
    assert_true(n <= 64);
    for (int i = 0; i < n; i++)
        positions[i][0] = positions[i][1] = positions[i][2] = v->position + i;
    const struct span span = {.sequence = v->sequence,
                              .n = n,
                              .ids = ids,
                              .positions = (const int32_t(*)[3])positions,
                              .generated = generated,
                              .n_scored = scored,
                              .repetition_penalty = 1};
    assert_int_equal(model_extend(v->model, &span, 1, &err), 0);
    model_best(v->model, best);
    v->position += n;
}

static void test_truncation(void **state)
{
    const struct fixture *f = *state;
    const struct dump_options options = {
        .dir = MODEL, .prompt = "one, two,", .raw = true, .kernels = f->kernels, .device = f->device, .comm = f->comm};
    const struct model_options shard = {.kernels = f->kernels, .device = f->device, .comm = f->comm, .kv_positions = 256};
    struct dump *dump = NULL;
    struct error err;
    struct model_config config;
    struct safetensors *st = NULL;
    struct verified v = {0};
    const struct tensor *t;
    assert_int_equal(dump_run(&dump, &options, &err), 0);
    assert_int_equal(config_read(&config, MODEL, &err) || safetensors_open(&st, MODEL, &err), 0);
    assert_int_equal(model_open(&v.model, st, &config, &shard, &err), 0);
    v.sequence = sequence_new(v.model);
    const int64_t *prompt = data_of(dump, "input_ids", &t);
    int n = (int)t->shape[0];
    const int64_t *greedy = data_of(dump, "greedy_ids", &t);
    int32_t ids[64], best[4];
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)prompt[i];
    extend(&v, ids, n, false, best, 1);
    for (int i = 0; i + 2 < DUMP_GREEDY; i += 2) { /* one right draft, then a wrong one, which is rolled back */
        const int32_t drafts[] = {best[0], (int32_t)greedy[i + 1], (int32_t)(greedy[i + 2] + 1) % 500};
        assert_int_equal(best[0], greedy[i]);
        extend(&v, drafts, 3, true, best, 3);
        assert_int_equal(best[0], greedy[i + 1]);
        sequence_truncate(v.model, v.sequence, sequence_length(v.sequence) - 1);
        v.position--;
        best[0] = best[1];
    }
    sequence_release(v.model, v.sequence);
    model_close(v.model);
    safetensors_close(st);
    dump_free(dump);
}

static void test_refusals(void **state)
{
    const struct fixture *f = *state;
    struct dump_options options = {
        .dir = MODEL, .prompt = "", .raw = true, .kernels = f->kernels, .device = f->device, .comm = f->comm};
    struct dump *dump = NULL;
    struct error err;
    assert_int_equal(dump_run(&dump, &options, &err), -1);
    assert_non_null(strstr(err.text, "empty"));
    static const char *const nowhere[] = {"tests/nowhere.png"};
    options.pictures = nowhere;
    options.n_pictures = 1;
    options.prompt = PROMPT;
    assert_int_equal(dump_run(&dump, &options, &err), -1);
    assert_non_null(strstr(err.text, "nowhere.png"));
    options.dir = "tests/golden/qwen2-tiny";
    assert_int_equal(dump_run(&dump, &options, &err), -1);
    assert_non_null(strstr(err.text, "text-only"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a prompt cut into small steps gives the same bits", test_chunks, 0, 0, 0},
        {"the greedy continuation survives wrong drafts that are rolled back", test_truncation, 0, 0, 0},
        {"an empty prompt and a picture that cannot be looked at are refused by name", test_refusals, 0, 0, 0},
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
