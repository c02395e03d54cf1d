/* model.c - a language model's shard: opening, sequences, and the checks before a step */
#include "model/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/language.h"

enum { MOST_ROWS = 1 << 16 };

/* ---- life ---- */

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int activations_open(struct model *m, struct error *err)
{
    const struct shard *s = &m->shard;
    int c = m->config.c;
    const struct {
        float **p;
        int width;
    } buffers[] = {{&m->x, m->config.d},
                   {&m->y, m->config.d},
                   {&m->wide, max_int((s->h + 2 * s->g) * c, 2 * s->ff)},
                   {&m->narrow, max_int(s->h * c, s->ff)}};
    for (int i = 0; i < 4; i++) {
        size_t bytes = (size_t)m->max_rows * (size_t)buffers[i].width * sizeof(float);
        *buffers[i].p = m->k->alloc(m->dev, bytes);
        if (!*buffers[i].p)
            return fail(err, "%s: no memory on the device for the activations of %d rows (%zu bytes)", m->config.name, m->max_rows,
                        bytes);
    }
    m->k->linear_reserve(m->dev, m->max_rows, max_int(m->config.d, max_int(s->h * c, s->ff)));
    return 0;
}

static int cache_open(struct model *m, int positions, struct error *err)
{
    if (positions < 1 || positions > INT32_MAX - MODEL_PAGE_POSITIONS)
        return fail(err, "%s: a cache of %d positions; it must have at least 1", m->config.name, positions);
    const struct kv_layout layout = kv_layout(&m->config, MODEL_PAGE_POSITIONS);
    int64_t blocks = ((int64_t)positions + MODEL_PAGE_POSITIONS - 1) / MODEL_PAGE_POSITIONS * kv_layout_whole(&layout);
    if (blocks > INT32_MAX / MODEL_PAGE_POSITIONS)
        return fail(err, "%s: a cache of %d positions; it can have at most %d", m->config.name, positions,
                    INT32_MAX / kv_layout_whole(&layout) / MODEL_PAGE_POSITIONS * MODEL_PAGE_POSITIONS);
    kv_pages_init(&m->pages, (int)blocks, &layout);
    kv_layout_places(&layout, &m->config, m->places);
    m->kv = m->k->kv_create(m->dev, layout.block_layers, (int)blocks, MODEL_PAGE_POSITIONS, m->shard.g, m->config.c, err);
    return m->kv ? 0 : fail_in(err, "%s: cache of %d positions", m->config.name, positions);
}

static int source_check(const struct model_options *o, const struct safetensors *st, struct error *err)
{
    if (o->fill && strcmp(o->fill, "random"))
        return fail(err, "weights are filled with \"%s\"; only \"random\" is known", o->fill);
    if (!o->fill && !st)
        return fail(err, "a model needs a checkpoint, or random weights");
    if (o->fill && o->fill_dtype > DTYPE_BF16)
        return fail(err, "random weights of %s; F32, F16 and BF16 are supported", dtype_name(o->fill_dtype));
    if (o->max_rows < 0 || o->max_rows > MOST_ROWS)
        return fail(err, "steps of %d rows; at most %d are supported", o->max_rows, MOST_ROWS);
    return 0;
}

/* A picture that is computed at once must fit into one step. */
static int rows_check(const struct model *m, struct error *err)
{
    int tokens = config_picture_tokens(&m->config);
    if (m->config.has_vision && m->config.family->pictures_whole && m->max_rows < tokens)
        return fail(err, "steps of %d rows hold no picture: its %d tokens go into one step; at least that many rows are needed",
                    m->max_rows, tokens);
    return 0;
}

static int parts_open(struct model *m, struct safetensors *st, const struct model_options *o, struct error *err)
{
    const struct weights_source source = {o->fill ? NULL : st, o->fill_dtype};
    if (rows_check(m, err) || shard_plan(&m->shard, &m->config, o->comm->rank, o->comm->size, err) ||
        weights_load(&m->weights, &source, &m->config, &m->shard, m->k, m->dev, err))
        return -1;
    m->embed_scale = config_embed_scale(&m->config, m->k->activations_f32(m->dev) ? DTYPE_F32 : m->weights.embed_dtype);
    return cache_open(m, o->kv_positions, err) || step_open(&m->step, &m->config, m->max_rows, m->k, m->dev, err) ||
                   activations_open(m, err)
               ? -1
               : 0;
}

int model_open(struct model **model, struct safetensors *st, const struct model_config *config, const struct model_options *options,
               struct error *err)
{
    *model = NULL;
    if (source_check(options, st, err))
        return fail_in(err, "%s", config->name);
    struct model *m = mem_new(1, sizeof *m);
    m->config = *config;
    m->k = options->kernels;
    m->dev = options->device;
    m->comm = options->comm;
    m->max_rows = options->max_rows ? options->max_rows : MODEL_ROWS;
    m->attention_scale = config_attention_scale(config);
    if (parts_open(m, st, options, err)) {
        model_close(m);
        return -1;
    }
    *model = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    float *buffers[] = {m->x, m->y, m->wide, m->narrow};
    for (int i = 0; i < 4; i++)
        m->k->free(m->dev, buffers[i]);
    scores_close(m);
    step_close(&m->step);
    if (m->kv)
        m->k->kv_destroy(m->dev, m->kv);
    kv_pages_free(&m->pages);
    weights_free(&m->weights);
    free(m);
}

/* ---- sequences ---- */

struct sequence *sequence_new(struct model *model)
{
    (void)model;
    return mem_new(1, sizeof(struct sequence));
}

void sequence_release(struct model *model, struct sequence *sequence)
{
    if (!sequence)
        return;
    kv_pages_sequence_free(&model->pages, sequence);
    free(sequence);
}

int sequence_length(const struct sequence *sequence)
{
    return sequence->length;
}

void sequence_truncate(struct model *model, struct sequence *sequence, int length)
{
    kv_pages_truncate(&model->pages, sequence, length);
}

bool sequence_reaches(const struct model *model, const struct sequence *sequence, int length)
{
    return kv_pages_reaches(&model->pages, sequence, length);
}

void sequence_settle(struct model *model, struct sequence *sequence, int length)
{
    kv_pages_settle(&model->pages, sequence, length);
}

const struct kv_layout *model_layout(const struct model *model)
{
    return &model->pages.layout;
}

int model_blocks(const struct model *model)
{
    return model->pages.n;
}

int model_blocks_free(const struct model *model)
{
    return model->pages.n_free;
}

int32_t sequence_page(const struct sequence *sequence, enum kv_kind kind, int i)
{
    return sequence->pages[kind][i];
}

void sequence_adopt(struct model *model, struct sequence *sequence, const int32_t page[KV_KINDS])
{
    kv_pages_adopt(&model->pages, sequence, page);
}

int model_page_blocks(const struct model *model, int32_t page)
{
    return kv_pages_blocks(&model->pages, page);
}

void model_page_hold(struct model *model, int32_t page)
{
    kv_pages_hold(&model->pages, page);
}

void model_page_drop(struct model *model, int32_t page)
{
    kv_pages_drop(&model->pages, page);
}

int model_page_uses(const struct model *model, int32_t page)
{
    return model->pages.uses[page];
}

/* ---- one step ---- */

static int pictures_check(const struct model *m, const struct span *span, int i, struct error *err)
{
    int end = 0, tokens = m->config.family->pictures_whole ? config_picture_tokens(&m->config) : 0;
    for (int j = 0; j < span->n_pictures; j++) {
        const struct span_picture *p = &span->pictures[j];
        if (p->first < end || p->count < 1 || p->count > span->n - p->first)
            return fail(err, "span %d: picture %d: rows %d + %d must follow the picture before within %d rows", i, j, p->first,
                        p->count, span->n);
        bool rest = p->first == 0 && p->count < tokens && span->sequence->length >= tokens - p->count;
        if (tokens && p->count != tokens && !rest)
            return fail(err, "span %d: picture %d: %d rows; its %d see each other, so they go into one step", i, j, p->count,
                        tokens);
        end = p->first + p->count;
    }
    return 0;
}

static int span_check(const struct model *m, const struct span *span, int i, struct error *err)
{
    if (span->n < 1 || span->n_scored < 0 || span->n_scored > span->n)
        return fail(err, "span %d: %d rows with %d scored; it must have at least 1 row and score at most all", i, span->n,
                    span->n_scored);
    if (span->n_history < 0 || !(span->repetition_penalty > 0))
        return fail(err, "span %d: repetition penalty %g of %d ids; it must be above 0 (1 = none)", i,
                    (double)span->repetition_penalty, span->n_history);
    for (int r = 0; r < span->n; r++) {
        const int32_t *position = span->positions[r];
        if (span->ids[r] < 0 || (span->ids[r] >= m->config.vocabulary && span->ids[r] != m->config.image_id))
            return fail(err, "span %d: id %" PRId32 " must be from 0 to %d", i, span->ids[r], m->config.vocabulary - 1);
        if (position[0] < 0 || position[1] < 0 || position[2] < 0)
            return fail(err, "span %d: row %d has a negative position", i, r);
    }
    return pictures_check(m, span, i, err);
}

/* Nothing is changed by a step that is refused, but for the number that finds a sequence named twice. */
static int spans_check(struct model *m, const struct span *spans, int n_spans, struct error *err)
{
    int64_t rows = 0;
    int blocks = 0;
    m->steps++;
    for (int i = 0; i < n_spans; i++) {
        if (span_check(m, &spans[i], i, err))
            return -1;
        rows += spans[i].n;
        if (rows > m->max_rows)
            return fail(err, "a step of more than %d rows; cut the prompt into chunks", m->max_rows);
        if (spans[i].sequence->step == m->steps)
            return fail(err, "span %d: its sequence is already in this step", i);
        spans[i].sequence->step = m->steps;
        blocks += kv_pages_needed(&m->pages, spans[i].sequence, spans[i].n);
    }
    if (!rows)
        return fail(err, "a step without rows");
    if (blocks > m->pages.n_free)
        return fail(err, "the cache is full: the step needs %d blocks of %d positions, %d of %d are free", blocks,
                    MODEL_PAGE_POSITIONS, m->pages.n_free, m->pages.n);
    return 0;
}

int model_extend(struct model *model, const struct span *spans, int n_spans, struct error *err)
{
    if (spans_check(model, spans, n_spans, err) || step_reserve(&model->step, spans, n_spans, err) ||
        scores_reserve(model, spans, n_spans, err))
        return fail_in(err, "%s", model->config.name);
    for (int i = 0; i < n_spans; i++)
        kv_pages_extend(&model->pages, spans[i].sequence, spans[i].n);
    step_make(&model->step, spans, n_spans, &model->pages);
    forward(model, spans, n_spans);
    scores_penalize(model, spans, n_spans);
    return 0;
}
