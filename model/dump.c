/* dump.c - one forward pass with everything it computed on the way */
#include "model/dump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "model/model.h"
#include "model/prompt.h"
#include "model/vision.h"

static const int64_t PICTURE_PIXELS = 1 << 26; /* of one file: 8192 x 8192 */
static const long PICTURE_BYTES = 64L << 20;   /* the service's message limit: what it could be asked, too */

struct dump {
    struct tensor *tensors;
    void **data;
    int count;
};

/* What one dump holds while it runs. */
struct pass {
    const struct dump_options *options;
    struct dump *dump;
    struct model_config config;
    struct safetensors *st;
    struct tokenizer *tokenizer;
    struct tower *tower;
    struct merger *merger;
    struct picture_shape *shapes; /* (pictures) */
    const float **features;       /* (n_views) (tokens, d) of pictures and their crops; the dump's */
    int n_views;
    struct prompt prompt; /* the answer behind it */
    int n_prompt;         /* rows of it without the answer */
    struct model *model;
    struct sequence *sequence;
};

/* A zeroed tensor of the dump; columns 0 = 1-D. NULL with text when memory ends. */
static void *dump_add(struct dump *dump, const char *name, enum dtype dtype, int64_t rows, int64_t columns, struct error *err)
{
    struct tensor t = {.dtype = dtype, .dims = columns ? 2 : 1, .shape = {rows, columns}};
    size_t count = (size_t)rows * (size_t)(columns ? columns : 1);
    void *data = calloc(count, dtype_size(dtype));
    if (!data) {
        fail(err, "%s: no memory for %zu numbers; a shorter prompt makes it smaller", name, count);
        return NULL;
    }
    t.bytes = count * dtype_size(dtype);
    t.name = mem_string(name);
    dump->tensors = mem_grow(dump->tensors, (size_t)dump->count + 1, sizeof *dump->tensors);
    dump->data = mem_grow(dump->data, (size_t)dump->count + 1, sizeof *dump->data);
    dump->tensors[dump->count] = t;
    dump->data[dump->count++] = data;
    return data;
}

static void *dump_add_numbered(struct dump *dump, const char *stem, int i, enum dtype dtype, int64_t rows, int64_t columns,
                               struct error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%d", stem, i);
    return dump_add(dump, name, dtype, rows, columns, err);
}

static int file_read(const char *path, struct image *image, struct error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(err, "%s: %s", path, strerror(errno));
    int result = -1;
    void *bytes = NULL;
    long size;
    struct stat status;
    if (!fstat(fileno(f), &status) && S_ISDIR(status.st_mode))
        fail(err, "%s: is a folder, not a picture file", path);
    else if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
        fail(err, "%s: not a file that can be read: %s", path, strerror(errno));
    else if (size > PICTURE_BYTES)
        fail(err, "%s: %ld bytes; a picture file may have at most %ld", path, size, PICTURE_BYTES);
    else if (bytes = mem_new((size_t)size + 1, 1), fread(bytes, 1, (size_t)size, f) != (size_t)size)
        fail(err, "%s: cannot be read to its end", path);
    else if (image_decode(image, bytes, (size_t)size, PICTURE_PIXELS, err))
        fail_in(err, "%s", path);
    else
        result = 0;
    free(bytes);
    fclose(f);
    return result;
}

/* What the tower reads: patches and their grid, or the planes of a picture of the one size. */
static int pass_pixels(struct pass *p, int i, const struct patches *patches, struct error *err)
{
    const struct model_config *c = &p->config;
    int64_t rows = (int64_t)patches->grid_h * patches->grid_w, side = c->picture.side;
    float *pixels = side ? dump_add_numbered(p->dump, "pixel_values", i, DTYPE_F32, 3 * side, side, err)
                         : dump_add_numbered(p->dump, "pixel_values", i, DTYPE_F32, rows, patches->width, err);
    if (!pixels)
        return -1;
    if (side) {
        struct tensor *t = &p->dump->tensors[p->dump->count - 1];
        t->dims = 3;
        t->shape[0] = 3;
        t->shape[1] = t->shape[2] = side;
        patches_planes(pixels, patches, c);
        return 0;
    }
    memcpy(pixels, patches->rows, (size_t)rows * (size_t)patches->width * sizeof *pixels);
    int64_t *grid = dump_add_numbered(p->dump, "grid_thw", i, DTYPE_I64, 3, 0, err);
    if (!grid)
        return -1;
    grid[0] = 1;
    grid[1] = patches->grid_h;
    grid[2] = patches->grid_w;
    return 0;
}

/* Tower and merger over one picture or crop; adds its tensors. */
static int pass_see(struct pass *p, const struct patches *patches, struct error *err)
{
    const struct model_config *c = &p->config;
    int i = p->n_views++;
    if (pass_pixels(p, i, patches, err))
        return -1;
    float *features = dump_add_numbered(p->dump, "image_features", i, DTYPE_F32, patches_tokens(patches, c), c->d, err);
    if (!features)
        return -1;
    p->features = mem_grow(p->features, (size_t)p->n_views, sizeof *p->features);
    p->features[i] = features;
    struct vision_states states = {0};
    if (tower_run(p->tower, patches, &states, err))
        return -1;
    int result = merger_run(p->merger, &states, features, err);
    vision_states_free(p->tower, &states);
    return result;
}

static int pass_picture(struct pass *p, int i, struct error *err)
{
    struct image image = {0};
    struct views views = {0};
    const char *path = p->options->pictures[i];
    int result = file_read(path, &image, err);
    if (!result && (result = views_make(&views, &image, &p->config, err)))
        fail_in(err, "%s", path);
    if (!result)
        p->shapes[i] = views_shape(&views, &p->config);
    for (int view = 0; view < views.n && !result; view++)
        result = pass_see(p, &views.patches[view], err);
    views_free(&views);
    image_free(&image);
    return result;
}

static int pass_pictures(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    if (o->n_pictures && !p->config.has_vision)
        return fail(err, "%s: a text-only model cannot look at %s", o->dir, o->pictures[0]);
    p->shapes = mem_new((size_t)o->n_pictures + 1, sizeof *p->shapes);
    if (o->n_pictures && (tower_open(&p->tower, p->st, &p->config, o->kernels, o->device, err) ||
                          merger_open(&p->merger, p->st, &p->config, o->kernels, o->device, err)))
        return -1;
    for (int i = 0; i < o->n_pictures; i++)
        if (pass_picture(p, i, err))
            return -1;
    return 0;
}

/* The conversation of the options: perhaps a system turn, then the pictures and the text. */
static int pass_turns(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    struct prompt_part system = {.text = o->system};
    struct prompt_part *parts = mem_new((size_t)o->n_pictures + 1, sizeof *parts); /* NULL texts: pictures */
    parts[o->n_pictures].text = o->prompt;
    const struct prompt_turn turns[] = {{.role = ROLE_SYSTEM, .parts = &system, .n_parts = 1},
                                        {.role = ROLE_USER, .parts = parts, .n_parts = o->n_pictures + 1}};
    int skip = o->system ? 0 : 1;
    int result = prompt_make_turns(&p->prompt, &p->config, p->tokenizer, turns + skip, 2 - skip, p->shapes, o->n_pictures, err);
    free(parts);
    return result;
}

/* Ids, never text: that of an answer may have other tokens. */
static int pass_answer(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    struct prompt *prompt = &p->prompt;
    size_t rows = (size_t)prompt->n + (size_t)o->n_answer;
    p->n_prompt = prompt->n;
    prompt->ids = mem_grow(prompt->ids, rows, sizeof *prompt->ids);
    prompt->positions = mem_grow(prompt->positions, rows, sizeof *prompt->positions);
    for (int i = 0; i < o->n_answer; i++) {
        if (o->answer[i] >= p->config.vocabulary)
            return fail(err, "id %d of the answer, but the vocabulary of %s is %d", (int)o->answer[i], p->config.name,
                        p->config.vocabulary);
        int32_t *position = prompt->positions[prompt->n], at = prompt->next_position++;
        position[0] = position[1] = position[2] = at;
        prompt->ids[prompt->n++] = o->answer[i];
    }
    return 0;
}

static int pass_prompt(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    if (o->raw ? prompt_make(&p->prompt, &p->config, p->tokenizer, o->prompt, p->shapes, o->n_pictures, err) : pass_turns(p, err))
        return -1;
    if (pass_answer(p, err))
        return -1;
    int n = p->prompt.n, axes = config_axes(&p->config);
    if (p->n_prompt < 1)
        return fail(err, "the prompt is empty: it has no token");
    if (n > p->config.max_positions - DUMP_GREEDY)
        return fail(err, "prompt and answer have %d tokens; with the %d of their continuation %s holds at most %d", n, DUMP_GREEDY,
                    p->config.name, p->config.max_positions);
    int64_t *ids = dump_add(p->dump, "input_ids", DTYPE_I64, n, 0, err);
    int64_t *positions = dump_add(p->dump, "position_ids", DTYPE_I64, axes == 1 ? n : axes, axes == 1 ? 0 : n, err);
    if (!ids || !positions)
        return -1;
    for (int r = 0; r < n; r++) {
        ids[r] = p->prompt.ids[r];
        for (int a = 0; a < axes; a++)
            positions[a * n + r] = p->prompt.positions[r][a];
    }
    return 0;
}

/* Appends rows [first, first + n) of the prompt, or of the answer. */
static int pass_chunk(struct pass *p, int first, int n, struct error *err)
{
    const struct prompt *prompt = &p->prompt;
    struct span_picture *pictures = mem_new((size_t)prompt->n_pictures + 1, sizeof *pictures);
    int count = 0;
    for (int i = 0; i < prompt->n_pictures; i++) {
        const struct prompt_picture *at = &prompt->pictures[i];
        int from = at->first > first ? at->first : first;
        int to = at->first + at->count < first + n ? at->first + at->count : first + n;
        if (from < to)
            pictures[count++] =
                (struct span_picture){from - first, to - from, p->features[i] + (size_t)(from - at->first) * (size_t)p->config.d};
    }
    const struct span span = {.sequence = p->sequence,
                              .n = n,
                              .ids = prompt->ids + first,
                              .positions = (const int32_t(*)[3])(prompt->positions + first),
                              .generated = first >= p->n_prompt,
                              .n_scored = n,
                              .pictures = pictures,
                              .n_pictures = count,
                              .repetition_penalty = 1};
    int result = model_extend(p->model, &span, 1, err);
    free(pictures);
    return result;
}

/* All scores of the rows of prompt and answer, and the token that follows the last one. */
static int pass_scores(struct pass *p, int32_t *next, struct error *err)
{
    int n = p->prompt.n, rows = p->options->max_rows ? p->options->max_rows : DUMP_MAX_ROWS;
    size_t v = (size_t)p->config.vocabulary;
    float *logits = dump_add(p->dump, "logits", DTYPE_F32, n, p->config.vocabulary, err);
    if (!logits)
        return -1;
    int32_t *best = mem_new((size_t)rows, sizeof *best);
    int result = 0;
    for (int first = 0, count; first < n && !result; first += count) {
        count = prompt_chunk_rows(&p->prompt, first, rows); /* above 0: model_open has compared rows with a picture's */
        if (first < p->n_prompt && first + count > p->n_prompt)
            count = p->n_prompt - first; /* the answer's rows are generated rows */
        result = pass_chunk(p, first, count, err);
        if (result)
            break;
        model_scores(p->model, logits + (size_t)first * v);
        model_best(p->model, best);
        *next = best[count - 1];
    }
    free(best);
    return result;
}

static int pass_greedy(struct pass *p, int32_t next, struct error *err)
{
    int64_t *greedy = dump_add(p->dump, "greedy_ids", DTYPE_I64, DUMP_GREEDY, 0, err);
    if (!greedy)
        return -1;
    for (int i = 0; i < DUMP_GREEDY; i++) {
        if (next < 0)
            return fail(err, "%s: the scores of generated token %d are not numbers", p->options->dir, i);
        greedy[i] = next;
        int32_t at = p->prompt.next_position + i;
        const int32_t position[1][3] = {{at, at, at}};
        const struct span span = {.sequence = p->sequence,
                                  .n = 1,
                                  .ids = &next,
                                  .positions = position,
                                  .generated = true,
                                  .n_scored = 1,
                                  .repetition_penalty = 1};
        int32_t chosen;
        if (i + 1 == DUMP_GREEDY)
            break;
        if (model_extend(p->model, &span, 1, err))
            return -1;
        model_best(p->model, &chosen);
        next = chosen;
    }
    return 0;
}

static int pass_language(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    const struct model_options options = {.kernels = o->kernels,
                                          .device = o->device,
                                          .comm = o->comm,
                                          .kv_positions = p->prompt.n + DUMP_GREEDY,
                                          .max_rows = o->max_rows ? o->max_rows : DUMP_MAX_ROWS};
    int32_t next = -1;
    if (model_open(&p->model, p->st, &p->config, &options, err))
        return -1;
    p->sequence = sequence_new(p->model);
    return pass_scores(p, &next, err) || pass_greedy(p, next, err) ? -1 : 0;
}

static int pass_run(struct pass *p, struct error *err)
{
    const struct dump_options *o = p->options;
    if (config_read(&p->config, o->dir, err) || config_pan_and_scan(&p->config, o->pan_and_scan, err) ||
        model_ranks_possible(&p->config, o->comm->size, err) || tokenizer_open(&p->tokenizer, o->dir, err) ||
        safetensors_open(&p->st, o->dir, err))
        return -1;
    return pass_pictures(p, err) || pass_prompt(p, err) || pass_language(p, err) ? -1 : 0;
}

static void pass_close(struct pass *p)
{
    if (p->model) {
        sequence_release(p->model, p->sequence);
        model_close(p->model);
    }
    prompt_free(&p->prompt);
    merger_close(p->merger);
    tower_close(p->tower);
    tokenizer_close(p->tokenizer);
    safetensors_close(p->st);
    free(p->shapes);
    free(p->features);
}

int dump_run(struct dump **out, const struct dump_options *options, struct error *err)
{
    struct pass pass = {.options = options, .dump = mem_new(1, sizeof *pass.dump)};
    int result = pass_run(&pass, err);
    pass_close(&pass);
    if (result)
        dump_free(pass.dump);
    else
        *out = pass.dump;
    return result;
}

void dump_free(struct dump *dump)
{
    if (!dump)
        return;
    for (int i = 0; i < dump->count; i++) {
        free((char *)dump->tensors[i].name);
        free(dump->data[i]);
    }
    free(dump->tensors);
    free(dump->data);
    free(dump);
}

int dump_count(const struct dump *dump)
{
    return dump->count;
}

const struct tensor *dump_tensor(const struct dump *dump, int i)
{
    return &dump->tensors[i];
}

const void *dump_data(const struct dump *dump, int i)
{
    return dump->data[i];
}

int dump_write(const struct dump *dump, const char *path, struct error *err)
{
    return safetensors_write(path, dump->tensors, (const void *const *)dump->data, dump->count, err);
}
