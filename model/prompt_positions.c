/* prompt_positions.c - ids with one placeholder per picture to rows with positions on three axes (M-RoPE; Qwen2.5-VL technical
 * report, 2025): text counts on all three at once, the tokens of a picture stand at one time in a grid of height and width. Models
 * with one axis count pictures' tokens like text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/projector.h"
#include "model/prompt.h"

enum { ROWS_MAX = 1 << 28 }; /* keeps sums of lying grids within an int; far above any context */

static int check_ids(const struct model_config *config, const int32_t *ids, int n, int n_pictures, int n_crops, struct error *err)
{
    int placeholders = 0;
    char crops[32] = "";
    if (n <= 0)
        return fail(err, "the prompt is empty");
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || (ids[i] >= config->vocabulary && ids[i] != config->image_id))
            return fail(err, "the prompt's id %d at %d is outside 0..%d", (int)ids[i], i, config->vocabulary - 1);
        placeholders += config->image_id >= 0 && ids[i] == config->image_id;
    }
    if (n_crops)
        snprintf(crops, sizeof crops, " and %d crop%s", n_crops, n_crops == 1 ? "" : "s");
    if (placeholders != n_pictures + n_crops)
        return fail(err, "the prompt has %d picture placeholder%s, the request %d picture%s%s; there must be one for each",
                    placeholders, placeholders == 1 ? "" : "s", n_pictures, n_pictures == 1 ? "" : "s", crops);
    return 0;
}

/* Rows with every placeholder expanded, or -1. */
static int count_rows(int n, const struct picture_shape *shapes, int n_shapes, struct error *err)
{
    int64_t rows = n;
    for (int i = 0; i < n_shapes; i++) {
        const struct picture_shape *s = &shapes[i];
        if (s->lines < 1 || s->columns < 1 || s->lines > ROWS_MAX || s->columns > ROWS_MAX)
            return fail(err, "picture %d has a grid of %d x %d tokens", i + 1, s->lines, s->columns);
        for (int view = 0; view <= s->crops && rows <= ROWS_MAX; view++)
            rows += (int64_t)s->lines * s->columns - 1;
        if (rows > ROWS_MAX)
            return fail(err, "the prompt has more than %d tokens", ROWS_MAX);
    }
    return (int)rows;
}

static void put_row(struct prompt *p, int32_t id, int32_t time, int32_t height, int32_t width)
{
    p->ids[p->n] = id;
    p->positions[p->n][0] = time;
    p->positions[p->n][1] = height;
    p->positions[p->n][2] = width;
    p->n++;
}

static void put_text(struct prompt *p, int32_t id)
{
    put_row(p, id, p->next_position, p->next_position, p->next_position);
    p->next_position++;
}

static void put_picture(struct prompt *p, int32_t id, int lines, int columns, int axes)
{
    int32_t start = p->next_position;
    p->pictures[p->n_pictures++] = (struct prompt_picture){p->n, lines * columns, lines, columns};
    for (int i = 0; i < lines * columns && axes == 1; i++)
        put_text(p, id);
    if (axes == 1)
        return;
    for (int y = 0; y < lines; y++)
        for (int x = 0; x < columns; x++)
            put_row(p, id, start, start + y, start + x);
    p->next_position = start + (lines > columns ? lines : columns);
}

static void prompt_allocate(struct prompt *p, int rows, int n_pictures)
{
    *p = (struct prompt){.ids = mem_new((size_t)rows + 1, sizeof *p->ids),
                         .positions = mem_new((size_t)rows + 1, sizeof *p->positions),
                         .pictures = mem_new((size_t)n_pictures + 1, sizeof *p->pictures)};
}

static void put_words(struct prompt *p, const struct model_config *config, const int32_t *ids, int n)
{
    p->words = mem_new((size_t)n, sizeof *p->words);
    for (int i = 0; i < n; i++)
        if (ids[i] != config->image_id && ids[i] != config->vision_start_id && ids[i] != config->vision_end_id)
            p->words[p->n_words++] = ids[i];
}

int prompt_make_ids(struct prompt *prompt, const struct model_config *config, const int32_t *ids, int n,
                    const struct picture_shape *shapes, int n_shapes, struct error *err)
{
    int crops = 0, view = 0;
    for (int i = 0; i < n_shapes; i++)
        crops += shapes[i].crops;
    if (check_ids(config, ids, n, n_shapes, crops, err))
        return -1;
    int rows = count_rows(n, shapes, n_shapes, err);
    if (rows < 0)
        return -1;
    prompt_allocate(prompt, rows, n_shapes + crops);
    prompt->pictures_whole = config->family->pictures_whole;
    if (n_shapes)
        put_words(prompt, config, ids, n);
    for (int i = 0; i < n; i++) {
        if (config->image_id < 0 || ids[i] != config->image_id) {
            put_text(prompt, ids[i]);
            continue;
        }
        put_picture(prompt, ids[i], shapes->lines, shapes->columns, config_axes(config));
        if (view++ == shapes->crops) {
            shapes++;
            view = 0;
        }
    }
    return 0;
}

int prompt_chunk_rows(const struct prompt *prompt, int first, int most)
{
    int end = most < prompt->n - first ? first + most : prompt->n;
    for (int i = 0; i < prompt->n_pictures && prompt->pictures_whole; i++) {
        const struct prompt_picture *p = &prompt->pictures[i];
        if (p->first < end && end < p->first + p->count)
            end = p->first;
    }
    return end > first ? end - first : 0;
}

int prompt_whole_rows(const struct prompt *prompt, int first)
{
    for (int i = 0; i < prompt->n_pictures && prompt->pictures_whole; i++)
        if (prompt->pictures[i].first <= first && first < prompt->pictures[i].first + prompt->pictures[i].count)
            return prompt->pictures[i].first + prompt->pictures[i].count - first;
    return 0;
}

void prompt_for_projector(struct prompt *out, const struct prompt *prompt, const struct model_config *config)
{
    int rows = prompt->n, picture = 0;
    for (int i = 0; i < prompt->n_pictures; i++)
        rows += config_picture_tokens(config);
    prompt_allocate(out, rows, prompt->n_pictures);
    out->pictures_whole = config->family->pictures_whole;
    for (int i = 0; i < prompt->n; i++) {
        const struct prompt_picture *p = &prompt->pictures[picture];
        int grid[2];
        if (picture == prompt->n_pictures || i < p->first) {
            put_text(out, prompt->ids[i]);
            continue;
        }
        projector_grid(config, (const int[]){p->lines, p->columns}, grid);
        put_picture(out, prompt->ids[i], grid[0], grid[1], config_axes(config));
        i += p->count - 1;
        picture++;
    }
}

void prompt_without_pictures(struct prompt *out, const struct prompt *prompt)
{
    const int32_t *words = prompt->n_pictures ? prompt->words : prompt->ids;
    int n = prompt->n_pictures ? prompt->n_words : prompt->n;
    prompt_allocate(out, n, 0);
    for (int i = 0; i < n; i++)
        put_text(out, words[i]);
}

static void *copied(const void *from, size_t count, size_t size)
{
    void *to = mem_new(count, size);
    if (count)
        memcpy(to, from, count * size);
    return to;
}

void prompt_copy(struct prompt *out, const struct prompt *prompt)
{
    *out = *prompt;
    out->ids = copied(prompt->ids, (size_t)prompt->n, sizeof *prompt->ids);
    out->positions = copied(prompt->positions, (size_t)prompt->n, sizeof *prompt->positions);
    out->pictures = copied(prompt->pictures, (size_t)prompt->n_pictures, sizeof *prompt->pictures);
    if (prompt->n_pictures)
        out->words = copied(prompt->words, (size_t)prompt->n_words, sizeof *prompt->words);
}

void prompt_free(struct prompt *prompt)
{
    free(prompt->ids);
    free(prompt->positions);
    free(prompt->pictures);
    free(prompt->words);
    memset(prompt, 0, sizeof *prompt);
}
