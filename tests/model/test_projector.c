/* test_projector.c - projectors of every kind over one picture against a computation in double precision, and checkpoints whose
 * projector does not fit what their configuration says of it */
#include "tests/model/folder.h"

#include <math.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/projector.h"
#include "model/vision.h"

#define ALLOWED 2e-5 /* of features about 1 large, between f32 and f64 */

enum { LINES = 3, COLUMNS = 4, CELLS = LINES * COLUMNS, QUERIES = 5 };

/* A projector in a file, and the same numbers in hand. */
struct trial {
    struct model_config config;
    struct projector projector;
    struct folder folder;
    struct safetensors *st;
    float *parts[PROJECTOR_PARTS]; /* as stored */
    struct device *dev;
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (float)(1 << 24) - 0.5f;
}

static float *numbers(uint32_t *state, size_t count)
{
    float *x = mem_new(count, sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = noise(state);
    return x;
}

/* except: a part that the file lacks, or PROJECTOR_PARTS. */
static void trial_open(struct trial *t, const char *folder, enum projector_kind kind, enum projector_part except)
{
    const struct device_options options = {.threads = 2, .activations_f32 = true};
    struct tensor tensors[PROJECTOR_PARTS];
    const void *data[PROJECTOR_PARTS];
    char names[PROJECTOR_PARTS][128], path[128];
    struct error err;
    uint32_t state = 7 + (uint32_t)kind;
    int n = 0;
    *t = (struct trial){.folder = folder_make(), .dev = kernels_cpu()->open(&options, &err)};
    if (!t->dev || config_read(&t->config, folder, &err))
        fail_msg("%s", err.text);
    t->config.projector = kind;
    t->config.queries = QUERIES;
    t->projector = projector_of(&t->config);
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        int rows, cols;
        if (!projector_has(&t->projector, part))
            continue;
        projector_shape(&t->projector, part, &rows, &cols);
        size_t count = (size_t)(rows ? rows : 1) * (size_t)cols;
        t->parts[part] = numbers(&state, count);
        snprintf(names[n], sizeof names[n], "%s%s", t->projector.form->of_family ? t->config.family->projector_prefixes[1] : "",
                 t->projector.form->names[part]);
        tensors[n] = (struct tensor){names[n], DTYPE_F32, rows ? 2 : 1, {rows ? rows : cols, cols}, count * sizeof(float)};
        data[n] = t->parts[part];
        n += part != except;
    }
    folder_path(&t->folder, "model.safetensors", path);
    if (safetensors_write(path, tensors, data, n, &err) || safetensors_open(&t->st, path, &err))
        fail_msg("%s", err.text);
}

static void trial_close(struct trial *t)
{
    for (int i = 0; i < PROJECTOR_PARTS; i++)
        free(t->parts[i]);
    safetensors_close(t->st);
    folder_remove(&t->folder);
    kernels_cpu()->close(t->dev);
}

/* ---- the same in double precision ---- */

/* y = w x + b; turned: w is stored (in, out). */
static void layer(double *y, const double *x, const float *w, const float *b, int out, int in, bool turned)
{
    for (int o = 0; o < out; o++) {
        y[o] = b ? (double)b[o] : 0;
        for (int i = 0; i < in; i++)
            y[o] += x[i] * (double)w[turned ? i * out + o : o * in + i];
    }
}

/* Cells as the tower's rows make them: rows (merge^2 of each cell beside each other) in raster order of cells. */
static void cell_read(double *cell, const struct trial *t, const float *rows, int number)
{
    int group = t->config.vision.merge * t->config.vision.merge, d = t->config.vision.d, joined = vision_joined(&t->config);
    for (int i = 0; i < joined * d; i++)
        cell[i] = 0;
    for (int r = 0; r < group; r++)
        for (int i = 0; i < d; i++)
            cell[joined == 1 ? i : r * d + i] +=
                (double)rows[(size_t)(number * group + r) * (size_t)d + (size_t)i] / (group / joined);
}

static void cell_norm(double *cell, const struct trial *t)
{
    const struct projector *p = &t->projector;
    for (int r = 0; r < p->merge && projector_has(p, PART_NORM); r++) {
        double sum = 0, *x = cell + r * p->width;
        for (int i = 0; i < p->width; i++)
            sum += x[i] * x[i];
        for (int i = 0; i < p->width; i++)
            x[i] *= ((double)t->parts[PART_NORM][i] + (double)p->form->norm_offset) / sqrt(sum / p->width + (double)p->norm_eps);
    }
}

/* What query q sees of all cells (d). */
static void query_see(double *seen, const struct trial *t, const double *cells, int q)
{
    const struct projector *p = &t->projector;
    int wide = p->merge * p->width, d = p->d, c = d / p->heads;
    double *keys = mem_new((size_t)(CELLS * d), sizeof *keys), *values = mem_new((size_t)(CELLS * d), sizeof *values);
    for (int i = 0; i < CELLS; i++) {
        layer(keys + i * d, cells + i * wide, t->parts[PART_KEYS], NULL, d, wide, false);
        layer(values + i * d, cells + i * wide, t->parts[PART_FIRST], t->parts[PART_FIRST_BIAS], d, wide, false);
    }
    for (int h = 0; h < p->heads; h++) {
        double weights[CELLS], sum = 0;
        for (int i = 0; i < CELLS; i++) {
            double score = 0;
            for (int j = 0; j < c; j++)
                score += (double)t->parts[PART_QUERIES][q * d + h * c + j] * keys[i * d + h * c + j];
            sum += weights[i] = exp(score / sqrt(c));
        }
        for (int j = 0; j < c; j++) {
            seen[h * c + j] = 0;
            for (int i = 0; i < CELLS; i++)
                seen[h * c + j] += weights[i] / sum * values[i * d + h * c + j];
        }
    }
    free(keys);
    free(values);
}

static void token_make(double *out, const struct trial *t, const double *cells, int token)
{
    const struct projector *p = &t->projector;
    int wide = p->merge * p->width, inner = projector_inner(p);
    const double *in = cells + (projector_has(p, PART_QUERIES) ? 0 : token * wide);
    double *hidden = mem_new((size_t)inner + 1, sizeof *hidden);
    if (projector_has(p, PART_QUERIES))
        query_see(hidden, t, cells, token);
    else if (inner)
        layer(hidden, in, t->parts[PART_FIRST], t->parts[PART_FIRST_BIAS], inner, wide, false);
    for (int i = 0; i < inner && !projector_has(p, PART_QUERIES); i++)
        hidden[i] *= 0.5 * (1 + erf(hidden[i] / sqrt(2)));
    layer(out, inner ? hidden : in, t->parts[PART_SECOND], t->parts[PART_SECOND_BIAS], p->d, inner ? inner : wide, p->form->turned);
    free(hidden);
}

/* ---- one picture ---- */

/* The tower's states of cells in raster order: as the family's tower leaves them. Qwen: cells in some other order. Gemma: patches
 * in raster order. */
static struct vision_states states_of(const struct trial *t, const float *rows)
{
    int merge = t->config.vision.merge, group = merge * merge, d = t->config.vision.d;
    struct vision_states s = {LINES * merge, COLUMNS * merge, NULL, NULL};
    size_t bytes = (size_t)(CELLS * group * d) * sizeof(float), row = (size_t)d * sizeof(float);
    float *host = mem_new(bytes, 1);
    bool averaged = vision_joined(&t->config) == 1;
    s.window_index = averaged ? NULL : mem_new(CELLS, sizeof *s.window_index);
    for (int cell = 0; cell < CELLS; cell++)
        for (int r = 0; r < group; r++) {
            int line = cell / COLUMNS * merge + r / merge, column = cell % COLUMNS * merge + r % merge, at = (cell * 5 + 3) % CELLS;
            int to = averaged ? line * COLUMNS * merge + column : at * group + r;
            if (!averaged)
                s.window_index[at] = cell;
            memcpy(host + (size_t)to * (size_t)d, rows + (size_t)(cell * group + r) * (size_t)d, row);
        }
    s.rows = kernels_cpu()->alloc(t->dev, bytes);
    kernels_cpu()->upload(t->dev, s.rows, host, bytes);
    free(host);
    return s;
}

static void check_kind(const char *folder, enum projector_kind kind)
{
    struct trial t;
    struct error err;
    struct merger *merger;
    uint32_t state = 99;
    trial_open(&t, folder, kind, PROJECTOR_PARTS);
    int wide = t.projector.merge * t.projector.width, d = t.projector.d, tokens = kind == PROJECTOR_RESAMPLER ? QUERIES : CELLS;
    float *rows = numbers(&state, (size_t)(CELLS * t.config.vision.merge * t.config.vision.merge * t.config.vision.d));
    struct vision_states states = states_of(&t, rows);
    float *have = mem_new((size_t)(tokens * d), sizeof *have);
    double *cells = mem_new((size_t)(CELLS * wide), sizeof *cells), *want = mem_new((size_t)d, sizeof *want), largest = 0;
    if (merger_open(&merger, t.st, &t.config, kernels_cpu(), t.dev, &err) || merger_run(merger, &states, have, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < CELLS; i++) {
        cell_read(cells + i * wide, &t, rows, i);
        cell_norm(cells + i * wide, &t);
    }
    for (int token = 0; token < tokens; token++) {
        token_make(want, &t, cells, token);
        for (int i = 0; i < d; i++) {
            largest = fmax(largest, fabs(want[i]));
            if (!(fabs((double)have[token * d + i] - want[i]) <= ALLOWED * fmax(1, fabs(want[i]))))
                fail_msg("%s, %s: [%d][%d] is %.9g instead of %.9g", folder, projector_kind_names[kind], token, i,
                         (double)have[token * d + i], want[i]);
        }
    }
    assert_true(largest > 0.1);
    merger_close(merger);
    kernels_cpu()->free(t.dev, states.rows);
    free(states.window_index);
    free(rows);
    free(have);
    free(cells);
    free(want);
    trial_close(&t);
}

static void every_kind_is_its_formula(void **state)
{
    (void)state;
    for (enum projector_kind kind = 0; kind < PROJECTOR_KINDS; kind++) {
        check_kind("tests/golden/qwen25vl-tiny", kind);
        check_kind("tests/golden/gemma3-tiny", kind);
    }
}

/* ---- what does not fit ---- */

static void check_refused(struct trial *t, const char *words)
{
    struct merger *merger;
    struct error err;
    if (!merger_open(&merger, t->st, &t->config, kernels_cpu(), t->dev, &err))
        fail_msg("was opened; should say %s", words);
    check_words(err.text, words, "merger_open");
}

static void a_missing_part_is_named(void **state)
{
    (void)state;
    struct trial t;
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        char words[256];
        trial_open(&t, "tests/golden/qwen25vl-tiny", PROJECTOR_RESAMPLER, part);
        snprintf(words, sizeof words, "projector of kind resampler|tensor %s is missing", t.projector.form->names[part]);
        check_refused(&t, words);
        trial_close(&t);
    }
}

static void another_shape_is_named(void **state)
{
    (void)state;
    struct trial t;
    trial_open(&t, "tests/golden/qwen25vl-tiny", PROJECTOR_RESAMPLER, PROJECTOR_PARTS);
    t.config.queries = QUERIES + 1;
    check_refused(&t, "projector.queries is (5, 128) where the configuration wants (6, 128)");
    t.config.projector = PROJECTOR_LINEAR;
    check_refused(&t, "projector of kind linear|tensor projector.linear.weight is missing");
    t.config.projector = PROJECTOR_MLP;
    check_refused(&t, "tensor visual.merger.ln_q.weight is missing");
    trial_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_its_formula),
        cmocka_unit_test(a_missing_part_is_named),
        cmocka_unit_test(another_shape_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
