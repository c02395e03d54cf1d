/* step.c - the layout of one ragged batch */
#include "model/step.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/rotary.h"

enum { INT_COLUMNS = 7, ANGLE_COLUMNS = 4 };

/* Cuts one piece of memory into the columns of max_rows rows; slots of `blocks` blocks come last. */
static void columns_lay(struct step_columns *columns, void *block, int max_rows, int c, int blocks)
{
    int32_t **ints[INT_COLUMNS] = {&columns->ids,  &columns->sequence, &columns->first,  &columns->local_first,
                                   &columns->last, &columns->scored,   &columns->picture};
    float **angles[ANGLE_COLUMNS] = {&columns->global.cosine, &columns->global.sine, &columns->local.cosine, &columns->local.sine};
    size_t n = (size_t)max_rows;
    for (size_t i = 0; i < INT_COLUMNS; i++)
        *ints[i] = (int32_t *)block + i * n;
    columns->slot = (int32_t *)block + INT_COLUMNS * n;
    for (size_t i = 0; i < ANGLE_COLUMNS; i++)
        *angles[i] = (float *)block + (INT_COLUMNS + (size_t)blocks) * n + i * n * (size_t)(c / 2);
}

int step_open(struct step *step, const struct model_config *config, int max_rows, const struct kernels *k, struct device *dev,
              struct error *err)
{
    const struct kv_layout layout = kv_layout(config, MODEL_PAGE_POSITIONS);
    int blocks = kv_layout_whole(&layout);
    size_t ints = INT_COLUMNS + (size_t)blocks, angles = ANGLE_COLUMNS * (size_t)(config->c / 2);
    size_t bytes = (size_t)max_rows * (ints * sizeof(int32_t) + angles * sizeof(float));
    *step = (struct step){.k = k, .dev = dev, .config = config, .layout = layout, .max_rows = max_rows};
    step->host_block = mem_new(bytes, 1);
    mem_touch(step->host_block, bytes);
    step->order = mem_new((size_t)max_rows, sizeof *step->order);
    step->frequency = mem_new((size_t)config->c / 2, sizeof *step->frequency);
    rotary_frequencies(step->frequency, config, false);
    step->local_frequency = mem_new((size_t)config->c / 2, sizeof *step->local_frequency);
    if (config->window)
        rotary_frequencies(step->local_frequency, config, true);
    step->device_block = k->alloc(dev, bytes);
    if (!step->device_block)
        return fail(err, "no memory on the device for steps of %d rows", max_rows);
    columns_lay(&step->host, step->host_block, max_rows, config->c, blocks);
    columns_lay(&step->device, step->device_block, max_rows, config->c, blocks);
    return 0;
}

void step_close(struct step *step)
{
    if (!step->k)
        return;
    step->k->free(step->dev, step->device_block);
    step_buffer_free(&step->device_pages, step->k, step->dev);
    step_buffer_free(&step->host_pages, NULL, NULL);
    free(step->host_block);
    free(step->order);
    free(step->frequency);
    free(step->local_frequency);
}

/* ---- memory that grows ---- */

int step_buffer_reserve(struct step_buffer *buffer, size_t bytes, const struct kernels *k, struct device *dev, struct error *err)
{
    if (bytes <= buffer->bytes)
        return 0;
    step_buffer_free(buffer, k, dev);
    buffer->p = k ? k->alloc(dev, bytes) : malloc(bytes);
    if (!buffer->p)
        return fail(err, "no memory %sfor %zu bytes of a step", k ? "on the device " : "", bytes);
    buffer->bytes = bytes;
    return 0;
}

void step_buffer_free(struct step_buffer *buffer, const struct kernels *k, struct device *dev)
{
    if (k)
        k->free(dev, buffer->p);
    else
        free(buffer->p);
    *buffer = (struct step_buffer){0};
}

int step_reserve(struct step *step, const struct span *spans, int n_spans, struct error *err)
{
    int most = 1;
    for (int i = 0; i < n_spans; i++) {
        int n = (spans[i].sequence->length + spans[i].n + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS;
        most = n > most ? n : most;
    }
    size_t bytes = (size_t)kv_layout_whole(&step->layout) * (size_t)n_spans * (size_t)most * sizeof(int32_t);
    step->pages_per_sequence = most;
    step->n_sequences = n_spans;
    if (bytes > step->device_pages.bytes)
        bytes *= 2; /* so that growing sequences do not bring a new buffer at each page */
    return step_buffer_reserve(&step->host_pages, bytes, NULL, NULL, err) ||
                   step_buffer_reserve(&step->device_pages, bytes, step->k, step->dev, err)
               ? -1
               : 0;
}

/* ---- rows ---- */

static void angles_make(struct step *step, int row, const int32_t position[3])
{
    size_t at = (size_t)row * (size_t)(step->config->c / 2);
    const struct step_angles *global = &step->host.global, *local = &step->host.local;
    rotary_angles(global->cosine + at, global->sine + at, step->config, step->frequency, position);
    if (step->config->window)
        rotary_angles(local->cosine + at, local->sine + at, step->config, step->local_frequency, position);
}

/* A row sees what is before it and itself; in local layers the last `window` of these. */
static void span_rows(struct step *step, const struct span *span, int sequence, int row)
{
    int before = span->sequence->length - span->n, window = step->config->window;
    struct step_columns *to = &step->host;
    for (int i = 0; i < span->n; i++, row++) {
        to->ids[row] = span->ids[i];
        to->sequence[row] = sequence;
        to->first[row] = 0;
        to->last[row] = before + i + 1;
        to->local_first[row] = window && to->last[row] > window ? to->last[row] - window : 0;
        angles_make(step, row, span->positions[i]);
    }
}

/* Where the family has it so, the rows of a picture see each other both ways. */
static void span_pictures(struct step *step, const struct span *span, int row)
{
    int before = span->sequence->length - span->n;
    for (int i = 0; i < span->n_pictures; i++)
        for (int j = 0; j < span->pictures[i].count; j++) {
            int first = span->pictures[i].first, at = row + first + j;
            step->host.picture[step->n_pictures++] = at;
            if (step->config->family->pictures_whole)
                step->host.last[at] = before + first + span->pictures[i].count;
        }
}

static void span_scored(struct step *step, const struct span *span, int row, int in_order)
{
    int *count = span->generated ? &step->scored_rows.generated : &step->scored_rows.prompt;
    for (int i = 0; i < span->n_scored; i++) {
        int at = rows_count(step->scored_rows);
        step->host.scored[at] = row + span->n - span->n_scored + i;
        step->order[in_order + i] = at;
        ++*count;
    }
}

static int32_t *pages_row(const struct step *step, int block, int sequence)
{
    size_t at = (size_t)block * (size_t)step->n_sequences + (size_t)sequence;
    return (int32_t *)step->host_pages.p + at * (size_t)step->pages_per_sequence;
}

/* The numbers of the blocks of a sequence's pages; 0 where a page is gone, which no row sees. */
static void pages_table(struct step *step, const struct sequence *sequence, int at, const struct kv_pages *pages)
{
    for (int b = 0; b < kv_layout_whole(&step->layout); b++)
        memset(pages_row(step, b, at), 0, (size_t)step->pages_per_sequence * sizeof(int32_t));
    for (int kind = 0, first = 0; kind < KV_KINDS; first += step->layout.blocks[kind++])
        for (int i = sequence->first_local * (kind == KV_LOCAL); i < sequence->n_pages; i++) {
            int32_t block = sequence->pages[kind][i];
            for (int b = first; b < first + step->layout.blocks[kind]; b++) {
                pages_row(step, b, at)[i] = block;
                block = pages->next[block];
            }
        }
}

static void span_slots(struct step *step, const struct span *span, int sequence, int row)
{
    int before = span->sequence->length - span->n;
    for (int block = 0; block < kv_layout_whole(&step->layout); block++) {
        int32_t *slots = step->host.slot + (size_t)block * (size_t)step->max_rows;
        const int32_t *pages = pages_row(step, block, sequence);
        for (int i = 0, p = before; i < span->n; i++, p++)
            slots[row + i] = pages[p / MODEL_PAGE_POSITIONS] * MODEL_PAGE_POSITIONS + p % MODEL_PAGE_POSITIONS;
    }
}

static void step_upload(struct step *step)
{
    const struct kernels *k = step->k;
    size_t n = (size_t)rows_count(step->rows), ints = n * sizeof(int32_t);
    size_t angles = n * (size_t)(step->config->c / 2) * sizeof(float);
    k->upload(step->dev, step->device.ids, step->host.ids, ints);
    for (size_t at = 0; at < (size_t)kv_layout_whole(&step->layout) * (size_t)step->max_rows; at += (size_t)step->max_rows)
        k->upload(step->dev, step->device.slot + at, step->host.slot + at, ints);
    k->upload(step->dev, step->device.sequence, step->host.sequence, ints);
    k->upload(step->dev, step->device.first, step->host.first, ints);
    k->upload(step->dev, step->device.local_first, step->host.local_first, ints);
    k->upload(step->dev, step->device.last, step->host.last, ints);
    k->upload(step->dev, step->device.scored, step->host.scored, (size_t)rows_count(step->scored_rows) * sizeof(int32_t));
    k->upload(step->dev, step->device.picture, step->host.picture, (size_t)step->n_pictures * sizeof(int32_t));
    k->upload(step->dev, step->device.global.cosine, step->host.global.cosine, angles);
    k->upload(step->dev, step->device.global.sine, step->host.global.sine, angles);
    if (step->config->window) {
        k->upload(step->dev, step->device.local.cosine, step->host.local.cosine, angles);
        k->upload(step->dev, step->device.local.sine, step->host.local.sine, angles);
    }
    k->upload(step->dev, step->device_pages.p, step->host_pages.p,
              (size_t)kv_layout_whole(&step->layout) * (size_t)step->n_sequences * (size_t)step->pages_per_sequence *
                  sizeof(int32_t));
}

void step_make(struct step *step, const struct span *spans, int n_spans, const struct kv_pages *pages)
{
    step->rows = step->scored_rows = (struct rows){0, 0};
    step->n_pictures = 0;
    for (int generated = 0; generated < 2; generated++) {
        int in_order = 0;
        for (int i = 0; i < n_spans; in_order += spans[i++].n_scored) {
            if (spans[i].generated != generated)
                continue;
            int row = rows_count(step->rows);
            pages_table(step, spans[i].sequence, i, pages);
            span_rows(step, &spans[i], i, row);
            span_slots(step, &spans[i], i, row);
            span_pictures(step, &spans[i], row);
            span_scored(step, &spans[i], row, in_order);
            *(generated ? &step->rows.generated : &step->rows.prompt) += spans[i].n;
        }
    }
    step_upload(step);
}

struct kv_rows step_kv_rows(const struct step *step, int block)
{
    size_t table = (size_t)step->n_sequences * (size_t)step->pages_per_sequence;
    return (struct kv_rows){.slot = step->device.slot + (size_t)block * (size_t)step->max_rows,
                            .sequence = step->device.sequence,
                            .pages = (const int32_t *)step->device_pages.p + (size_t)block * table,
                            .pages_per_sequence = step->pages_per_sequence};
}
