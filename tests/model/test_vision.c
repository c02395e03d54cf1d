/* test_vision.c - towers and projectors against the reference, window order, towers that are one, checkpoints that do not fit */
#include "tests/check.h"

#include <unistd.h>

#include "model/vision.h"
#include "model/vision_parts.h"
#include "model/windows.h"
#include "tests/model/cases.h"

/* What two f32 computations in different orders may differ by; an f64 one differs from the reference by up to 3e-5. */
#define ALLOWED 1e-4

struct eyes {
    struct model_config config;
    struct safetensors *st;
    struct device *dev;
    struct tower *tower;
    struct merger *merger;
};

static void eyes_open_with(struct eyes *e, const char *folder, int threads)
{
    const struct device_options options = {.threads = threads, .activations_f32 = true};
    char dir[100];
    struct error err;
    snprintf(dir, sizeof dir, "tests/golden/%s", folder);
    e->dev = kernels_cpu()->open(&options, &err);
    if (!e->dev || config_read(&e->config, dir, &err) || safetensors_open(&e->st, dir, &err) ||
        tower_open(&e->tower, e->st, &e->config, kernels_cpu(), e->dev, &err) ||
        merger_open(&e->merger, e->st, &e->config, kernels_cpu(), e->dev, &err))
        fail_msg("%s: %s", folder, err.text);
}

static void eyes_open(struct eyes *e, const char *folder)
{
    eyes_open_with(e, folder, 2);
}

static void eyes_close(struct eyes *e)
{
    tower_close(e->tower);
    merger_close(e->merger);
    safetensors_close(e->st);
    kernels_cpu()->close(e->dev);
}

/* What e sees in patches: (patches, d) states and (tokens, out_d) features, malloc'ed. */
struct sight {
    float *states, *features;
    size_t n_states, n_features;
};

static struct sight look(struct eyes *e, const struct patches *p, const int64_t *window_index)
{
    struct vision_states states;
    struct error err;
    if (tower_run(e->tower, p, &states, &err))
        fail_msg("%s", err.text);
    size_t tokens = (size_t)patches_tokens(p, &e->config), n = (size_t)p->grid_h * (size_t)p->grid_w * (size_t)e->config.vision.d;
    struct sight s = {.n_states = n, .n_features = tokens * (size_t)e->config.d};
    s.states = malloc(n * sizeof *s.states);
    s.features = malloc(s.n_features * sizeof *s.features);
    kernels_cpu()->download(e->dev, s.states, states.rows, n * sizeof *s.states);
    for (size_t i = 0; window_index && i < tokens; i++)
        assert_int_equal(states.window_index[i], window_index[i]);
    if (merger_run(e->merger, &states, s.features, &err))
        fail_msg("%s", err.text);
    vision_states_free(e->tower, &states);
    return s;
}

static void sight_free(struct sight *s)
{
    free(s->states);
    free(s->features);
}

/* Patches of picture i of a golden case, as the reference cut them. */
static struct patches golden_patches(struct safetensors *st, int i)
{
    const struct tensor *t;
    struct patches p = {.rows = case_tensor(st, "pixel_values", i, &t)};
    int64_t *grid = case_tensor(st, "grid_thw", i, NULL);
    p.grid_h = (int)grid[1];
    p.grid_w = (int)grid[2];
    p.width = (int)t->shape[1];
    free(grid);
    return p;
}

/* Patches of a picture of tests/golden, as they are cut here (test_patches.c compares them with the reference). */
static struct patches file_patches(const struct model_config *config, const char *file)
{
    char path[200];
    struct image image;
    struct patches p;
    struct error err = {""};
    size_t size;
    snprintf(path, sizeof path, "tests/golden/images/%s", file);
    unsigned char *bytes = case_file(path, &size);
    if (image_decode(&image, bytes, size, 1 << 22, &err) || patches_make(&p, &image, config, &err))
        fail_msg("%s: %s", path, err.text);
    image_free(&image);
    free(bytes);
    return p;
}

/* Averages of the states, where a golden case has them. */
static void expect_pooled(struct eyes *e, struct safetensors *st, const struct patches *p, int i)
{
    struct vision_states states;
    const struct tensor *t;
    float *want = case_tensor(st, "pooled", i, &t), *have = malloc(t->bytes), *device = kernels_cpu()->alloc(e->dev, t->bytes);
    assert_int_equal(tower_run(e->tower, p, &states, NULL), 0);
    assert_int_equal(vision_cells(&(const struct vision_reader){&e->config, kernels_cpu(), e->dev}, &states, device, NULL), 0);
    kernels_cpu()->download(e->dev, have, device, t->bytes);
    assert_true(case_difference(have, want, t->bytes / sizeof *want) <= ALLOWED);
    vision_states_free(e->tower, &states);
    kernels_cpu()->free(e->dev, device);
    free(have);
    free(want);
}

static void expect_case(struct eyes *e, struct safetensors *st, const char *name, const char *file, int i)
{
    bool whole = e->config.picture.side > 0; /* one size for all: raster order, averages */
    struct patches p = whole ? file_patches(&e->config, file) : golden_patches(st, i);
    int64_t *order = whole ? NULL : case_tensor(st, "window_index", i, NULL);
    if (whole)
        expect_pooled(e, st, &p, i);
    float *hidden = case_tensor(st, "vision_hidden", i, NULL), *features = case_tensor(st, "image_features", i, NULL);
    struct sight s = look(e, &p, order);
    double off_hidden = case_difference(s.states, hidden, s.n_states), off = case_difference(s.features, features, s.n_features);
    if (!(off_hidden <= ALLOWED && off <= ALLOWED))
        fail_msg("%s.%d: states off by %g, features by %g", name, i, off_hidden, off);
    sight_free(&s);
    patches_free(&p);
    free(order);
    free(hidden);
    free(features);
}

static void golden_pictures_look_as_to_the_reference(void **state)
{
    (void)state;
    static const char *const folders[] = {"qwen25vl-tiny", "massv-tiny", "gemma3-tiny"};
    for (size_t f = 0; f < 3; f++) {
        struct eyes e;
        eyes_open(&e, folders[f]);
        json_t *cases = cases_read(folders[f]);
        int pictures = 0;
        for (size_t k = 0; k < json_array_size(cases); k++) {
            const json_t *test = json_array_get(cases, k), *images = json_object_get(test, "images");
            struct safetensors *st = case_open(folders[f], test);
            for (int i = 0; i < (int)json_array_size(images); i++, pictures++)
                expect_case(&e, st, json_string_value(json_object_get(test, "name")),
                            json_string_value(json_array_get(images, (size_t)i)), i);
            safetensors_close(st);
        }
        assert_true(pictures >= 5);
        json_decref(cases);
        eyes_close(&e);
    }
}

static struct patches scene_patches(void)
{
    json_t *cases = cases_read("qwen25vl-tiny");
    struct safetensors *st = case_open("qwen25vl-tiny", json_array_get(cases, 0));
    struct patches p = golden_patches(st, 0);
    safetensors_close(st);
    json_decref(cases);
    return p;
}

/* The layouts hold the same bf16 numbers under other names: the same bits must come out. Against the unrounded model, weights are
 * off by up to 2^-9 of themselves; a wrong tensor would be off by the features' own size. */
static void every_layout_of_names_gives_the_same_features(void **state)
{
    (void)state;
    static const char *const folders[] = {"qwen25vl-tiny", "qwen25vl-tiny-bf16", "qwen25vl-tiny-names", "qwen25vl-tiny-resaved"};
    struct patches p = scene_patches();
    struct sight exact = {NULL}, first = {NULL};
    for (size_t f = 0; f < 4; f++) {
        struct eyes e;
        eyes_open(&e, folders[f]);
        struct sight s = look(&e, &p, NULL);
        eyes_close(&e);
        if (f == 0) {
            exact = s;
            continue;
        }
        assert_true(case_difference(s.features, exact.features, s.n_features) < 0.3);
        if (f == 1)
            first = s;
        else
            assert_memory_equal(s.features, first.features, s.n_features * sizeof *s.features);
        if (f > 1)
            sight_free(&s);
    }
    sight_free(&exact);
    sight_free(&first);
    patches_free(&p);
}

static void check_pieces(const char *folder)
{
    struct eyes e;
    eyes_open(&e, folder);
    struct patches p = file_patches(&e.config, "scene.png");
    struct sight whole = look(&e, &p, NULL);
    eyes_close(&e);
    static const int chunks[] = {1, 7, 100};
    for (size_t i = 0; i < 3; i++) {
        eyes_open_with(&e, folder, 1 + (int)i);
        e.tower->chunk = chunks[i];
        struct sight pieces = look(&e, &p, NULL);
        assert_memory_equal(pieces.states, whole.states, whole.n_states * sizeof *whole.states);
        assert_memory_equal(pieces.features, whole.features, whole.n_features * sizeof *whole.features);
        sight_free(&pieces);
        eyes_close(&e);
    }
    sight_free(&whole);
    patches_free(&p);
}

static void pieces_and_threads_change_no_bit(void **state)
{
    (void)state;
    check_pieces("qwen25vl-tiny");
    check_pieces("gemma3-tiny");
}

static void hash_of(const char *folder, uint64_t hash[2])
{
    struct model_config config;
    struct safetensors *st;
    struct error err;
    char dir[100];
    snprintf(dir, sizeof dir, "tests/golden/%s", folder);
    if (config_read(&config, dir, &err) || safetensors_open(&st, dir, &err) || tower_hash(st, &config, hash, &err))
        fail_msg("%s: %s", folder, err.text);
    safetensors_close(st);
}

static void towers_are_one_if_their_tensors_are(void **state)
{
    (void)state;
    uint64_t target[2], other[2], names[2];
    hash_of("qwen25vl-tiny", target);
    hash_of("massv-tiny", other); /* its merger is another */
    assert_memory_equal(target, other, sizeof target);
    hash_of("qwen25vl-tiny-bf16", other);
    assert_memory_not_equal(target, other, sizeof target);
    hash_of("qwen25vl-tiny-names", names); /* other names, the same tensors */
    assert_memory_equal(names, other, sizeof names);
    hash_of("gemma3-tiny-bf16", other);
    hash_of("gemma3-tiny-resaved", names);
    assert_memory_equal(names, other, sizeof names);
    hash_of("gemma3-tiny", target);
    assert_memory_not_equal(target, other, sizeof target);
}

/* The same tensors under another shape of attention are another tower. */
static void the_hash_knows_the_shape(void **state)
{
    (void)state;
    struct eyes e;
    uint64_t a[2], b[2];
    eyes_open(&e, "qwen25vl-tiny");
    assert_int_equal(tower_hash(e.st, &e.config, a, NULL), 0);
    e.config.vision.full_attention[0] ^= 1;
    assert_int_equal(tower_hash(e.st, &e.config, b, NULL), 0);
    assert_memory_not_equal(a, b, sizeof a);
    eyes_close(&e);
}

/* The worked example of the reference: a grid of 10 x 12 patches, windows of 4 x 4 cells. */
static void windows_come_in_the_order_of_the_reference(void **state)
{
    (void)state;
    static const int32_t want[30] = {0,  1, 2, 3,  6,  7,  8,  9,  12, 13, 14, 15, 18, 19, 20,
                                     21, 4, 5, 10, 11, 16, 17, 22, 23, 24, 25, 26, 27, 28, 29};
    static const int32_t ends[] = {0, 64, 96, 112, 120};
    const struct windows w = {.lines = 5, .columns = 6, .merge = 2, .side = 4};
    int32_t order[30], first[120], last[120];
    windows_order(&w, order);
    windows_ranges(&w, first, last);
    assert_memory_equal(order, want, sizeof want);
    for (int row = 0, window = 0; row < 120; row++) {
        window += row == ends[window + 1];
        assert_int_equal(first[row], ends[window]);
        assert_int_equal(last[row], ends[window + 1]);
    }
}

static void angles_follow_the_place_in_the_whole_picture(void **state)
{
    (void)state;
    const struct windows w = {.lines = 5, .columns = 6, .merge = 2, .side = 4};
    int32_t order[30];
    static float cosine[120 * 40], sine[120 * 40];
    windows_order(&w, order);
    windows_angles(&w, order, 80, cosine, sine);
    /* Row 64 begins the second window: cell 4, patch (0, 8). Row 67: patch (1, 9). */
    for (int i = 0; i < 20; i++) {
        double f = pow(10000, -2.0 * i / 40);
        assert_true(fabs((double)cosine[64 * 40 + i] - 1) < 1e-6);
        assert_true(fabs((double)sine[64 * 40 + 20 + i] - sin(8 * f)) < 2e-6); /* an angle of 8 has 5e-7 of rounding */
        assert_true(fabs((double)sine[67 * 40 + i] - sin(f)) < 2e-6);
        assert_true(fabs((double)cosine[67 * 40 + 20 + i] - cos(9 * f)) < 2e-6);
    }
}

/* Opens tower and merger of qwen25vl-tiny under a config that was changed. */
static void expect_refused(struct eyes *e, const char *why)
{
    struct tower *tower = NULL;
    struct merger *merger = NULL;
    struct error err = {""};
    int rc = tower_open(&tower, e->st, &e->config, kernels_cpu(), e->dev, &err);
    if (!rc)
        rc = merger_open(&merger, e->st, &e->config, kernels_cpu(), e->dev, &err);
    if (rc != -1 || !strstr(err.text, why))
        fail_msg("%d, \"%s\" has no \"%s\"", rc, err.text, why);
    tower_close(tower);
    assert_null(merger);
}

static void a_checkpoint_that_does_not_fit_its_config_is_refused(void **state)
{
    (void)state;
    struct eyes e;
    eyes_open(&e, "qwen25vl-tiny");
    const struct model_config good = e.config;
    e.config.vision.ff = 176;
    expect_refused(&e, "visual.blocks.0.mlp.gate_proj.weight is (172, 64) where the configuration wants (176, 64)");
    e.config = good;
    e.config.vision.depth = 5;
    expect_refused(&e, "tensor visual.blocks.4.norm1.weight is missing");
    e.config = good;
    e.config.vision.patch = 16;
    expect_refused(&e, "visual.patch_embed.proj.weight is (64, 1176)");
    e.config = good;
    e.config.vision.out_d = 96;
    expect_refused(&e, "projector: ");
    e.config = good;
    e.config.vision.merge = 4;
    expect_refused(&e, "visual.merger.mlp.0.weight");
    e.config = good;
    e.config.has_vision = false;
    expect_refused(&e, "has no vision tower: it is a text model");
    uint64_t hash[2];
    struct error err;
    assert_int_equal(tower_hash(e.st, &e.config, hash, &err), -1);
    eyes_close(&e);
}

static void a_checkpoint_without_a_tower_says_what_is_missing(void **state)
{
    (void)state;
    struct eyes e;
    struct error err;
    eyes_open(&e, "qwen25vl-tiny");
    safetensors_close(e.st);
    assert_int_equal(safetensors_open(&e.st, "tests/golden/qwen2-tiny", &err), 0);
    expect_refused(&e, "tensor visual.patch_embed.proj.weight is missing");
    eyes_close(&e);
}

/* gate and up become one matrix: they must be stored alike. */
static void neighbours_of_two_dtypes_are_refused(void **state)
{
    (void)state;
    char path[80];
    snprintf(path, sizeof path, "/tmp/massv-test-vision-%d.safetensors", (int)getpid());
    struct eyes e;
    struct error err;
    eyes_open(&e, "qwen25vl-tiny");
    int n = safetensors_count(e.st);
    struct tensor *tensors = malloc((size_t)n * sizeof *tensors);
    void **data = malloc((size_t)n * sizeof *data);
    for (int i = 0; i < n; i++) {
        tensors[i] = *safetensors_at(e.st, i);
        data[i] = calloc(1, tensors[i].bytes);
        if (!strcmp(tensors[i].name, "visual.blocks.2.mlp.up_proj.weight")) {
            tensors[i].dtype = DTYPE_BF16;
            tensors[i].bytes /= 2;
        }
    }
    assert_int_equal(safetensors_write(path, tensors, (const void *const *)data, n, &err), 0);
    safetensors_close(e.st);
    assert_int_equal(safetensors_open(&e.st, path, &err), 0);
    expect_refused(&e, "tensor visual.blocks.2.mlp.up_proj.weight is BF16");
    remove(path);
    for (int i = 0; i < n; i++)
        free(data[i]);
    free(data);
    free(tensors);
    eyes_close(&e);
}

static void patches_that_the_tower_cannot_read_are_refused(void **state)
{
    (void)state;
    struct eyes e;
    struct vision_states states;
    struct error err;
    eyes_open(&e, "qwen25vl-tiny");
    static const struct {
        int h, w, width;
        const char *why;
    } bad[] = {
        {4, 4, 1200, "have 1200 numbers each, the vision tower reads 1176"},
        {3, 4, 1176, "does not consist of blocks of 2 x 2"},
        {4, 0, 1176, "does not consist of blocks"},
        {-2, -2, 1176, "does not consist of blocks"},
        {1 << 20, 1 << 20, 1176, "too large"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct patches p = {bad[i].h, bad[i].w, bad[i].width, NULL};
        assert_int_equal(tower_run(e.tower, &p, &states, &err), -1);
        assert_non_null(strstr(err.text, bad[i].why));
    }
    eyes_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_pictures_look_as_to_the_reference),
        cmocka_unit_test(every_layout_of_names_gives_the_same_features),
        cmocka_unit_test(pieces_and_threads_change_no_bit),
        cmocka_unit_test(towers_are_one_if_their_tensors_are),
        cmocka_unit_test(the_hash_knows_the_shape),
        cmocka_unit_test(windows_come_in_the_order_of_the_reference),
        cmocka_unit_test(angles_follow_the_place_in_the_whole_picture),
        cmocka_unit_test(a_checkpoint_that_does_not_fit_its_config_is_refused),
        cmocka_unit_test(a_checkpoint_without_a_tower_says_what_is_missing),
        cmocka_unit_test(neighbours_of_two_dtypes_are_refused),
        cmocka_unit_test(patches_that_the_tower_cannot_read_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
