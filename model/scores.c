/* scores.c - what happens to scores after the head: repetition penalty, the best id over all ranks, gathering for diagnosis */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/language.h"

/* The arguments of kernels->penalize in one block of memory, rows in the step's order. */
struct penalty_columns {
    int32_t *ids;   /* (n, stride) */
    int32_t *count; /* (n) */
    float *penalty; /* (n) */
    int n, stride;
};

static bool span_penalized(const struct span *span)
{
    return span->n_scored && span->repetition_penalty != 1;
}

/* How long the longest list of ids can get; 0 = no span has a penalty. */
static int penalty_stride(const struct model *m, const struct span *spans, int n_spans)
{
    int most = 0;
    for (int i = 0; i < n_spans; i++) {
        if (!span_penalized(&spans[i]))
            continue;
        /* Distinct ids of this shard: never more than it has rows. */
        int64_t n = (int64_t)spans[i].n_history + spans[i].n;
        int stride = n < m->shard.rows ? (int)n : m->shard.rows;
        most = stride > most ? stride : most;
    }
    return most;
}

static size_t penalty_bytes(int n, int stride)
{
    return (size_t)n * ((size_t)stride + 2) * 4;
}

static struct penalty_columns penalty_lay(void *block, int n, int stride)
{
    int32_t *ids = block;
    return (struct penalty_columns){ids, ids + (size_t)n * (size_t)stride, (float *)ids + (size_t)n * ((size_t)stride + 1), n,
                                    stride};
}

int scores_reserve(struct model *m, const struct span *spans, int n_spans, struct error *err)
{
    int n = 0, stride = penalty_stride(m, spans, n_spans);
    for (int i = 0; i < n_spans; i++)
        n += spans[i].n_scored;
    size_t rows = (size_t)n;
    if (step_buffer_reserve(&m->scores, rows * (size_t)m->shard.rows * sizeof(float), m->k, m->dev, err) ||
        step_buffer_reserve(&m->best_value, rows * sizeof(float), m->k, m->dev, err) ||
        step_buffer_reserve(&m->best_id, rows * sizeof(int32_t), m->k, m->dev, err))
        return -1;
    if (!stride)
        return 0;
    return step_buffer_reserve(&m->penalty, penalty_bytes(n, stride), m->k, m->dev, err) ||
                   step_buffer_reserve(&m->penalty_host, penalty_bytes(n, stride), NULL, NULL, err)
               ? -1
               : 0;
}

void scores_close(struct model *m)
{
    if (!m->k)
        return;
    step_buffer_free(&m->scores, m->k, m->dev);
    step_buffer_free(&m->best_value, m->k, m->dev);
    step_buffer_free(&m->best_id, m->k, m->dev);
    step_buffer_free(&m->penalty, m->k, m->dev);
    step_buffer_free(&m->penalty_host, NULL, NULL);
}

/* ---- repetition penalty ---- */

/* Appends the columns of ids that are this shard's and not yet seen; returns the new length. */
static int ids_add(const struct model *m, int32_t *list, int n, const int32_t *ids, int n_ids, uint8_t *seen)
{
    for (int i = 0; i < n_ids; i++) {
        int64_t column = (int64_t)ids[i] - m->shard.first_row;
        if (column < 0 || column >= m->shard.rows || seen[column])
            continue;
        seen[column] = 1;
        list[n++] = (int32_t)column;
    }
    return n;
}

/* A row is penalised for the ids before it and its own: the token that its scores choose comes after all of them. */
static void span_penalty(const struct model *m, struct penalty_columns *to, const struct span *span, const int *order)
{
    uint8_t *seen = mem_new((size_t)m->shard.rows, 1);
    int32_t *list = mem_new((size_t)to->stride, sizeof *list);
    int n = ids_add(m, list, 0, span->history, span->n_history, seen), first = span->n - span->n_scored;
    n = ids_add(m, list, n, span->ids, first, seen);
    for (int i = 0; i < span->n_scored; i++) {
        n = ids_add(m, list, n, span->ids + first + i, 1, seen);
        memcpy(to->ids + (size_t)order[i] * (size_t)to->stride, list, (size_t)n * sizeof *list);
        to->count[order[i]] = n;
        to->penalty[order[i]] = span->repetition_penalty;
    }
    free(list);
    free(seen);
}

void scores_penalize(struct model *m, const struct span *spans, int n_spans)
{
    int n = rows_count(m->step.scored_rows), stride = penalty_stride(m, spans, n_spans);
    if (!n || !stride)
        return;
    struct penalty_columns host = penalty_lay(m->penalty_host.p, n, stride), dev = penalty_lay(m->penalty.p, n, stride);
    memset(host.ids, 0, penalty_bytes(n, stride));
    for (int i = 0; i < n; i++)
        host.penalty[i] = 1;
    const int *order = m->step.order;
    for (int i = 0; i < n_spans; order += spans[i++].n_scored)
        if (span_penalized(&spans[i]))
            span_penalty(m, &host, &spans[i], order);
    m->k->upload(m->dev, dev.ids, host.ids, penalty_bytes(n, stride));
    m->k->penalize(m->dev, m->scores.p, n, m->shard.rows, dev.ids, dev.count, stride, dev.penalty);
}

/* ---- over all ranks ---- */

struct candidate {
    float value;
    int32_t id; /* -1 = none: all NaN */
};

int model_scored_rows(const struct model *model)
{
    return rows_count(model->step.scored_rows);
}

/* This rank's best of every scored row, in order of spans. */
static void candidates_find(struct model *m, struct candidate *own, int n)
{
    float *value = mem_new((size_t)n, sizeof *value);
    int32_t *id = mem_new((size_t)n, sizeof *id);
    m->k->best(m->dev, m->best_value.p, m->best_id.p, m->scores.p, n, m->shard.rows);
    m->k->download(m->dev, value, m->best_value.p, (size_t)n * sizeof *value);
    m->k->download(m->dev, id, m->best_id.p, (size_t)n * sizeof *id);
    for (int i = 0; i < n; i++) {
        int at = m->step.order[i];
        own[i] = (struct candidate){value[at], id[at] < 0 ? -1 : id[at] + m->shard.first_row};
    }
    free(value);
    free(id);
}

void model_best(struct model *model, int32_t *ids)
{
    int n = model_scored_rows(model), size = model->comm->size;
    if (!n)
        return;
    struct candidate *own = mem_new((size_t)n, sizeof *own), *all = mem_new((size_t)n * (size_t)size, sizeof *all);
    candidates_find(model, own, n);
    model->comm->calls->all_gather(model->comm, all, own, (size_t)n * sizeof *own);
    for (int i = 0; i < n; i++) {
        struct candidate best = {0, -1};
        for (int rank = 0; rank < size; rank++) { /* ids rise with the rank: the first of equal values has the lowest */
            struct candidate c = all[rank * n + i];
            if (c.id >= 0 && (best.id < 0 || c.value > best.value))
                best = c;
        }
        ids[i] = best.id;
    }
    free(own);
    free(all);
}

int model_scores_part(struct model *model, int i, float *scores, int *first)
{
    size_t row = (size_t)model->shard.rows;
    model->k->download(model->dev, scores, (float *)model->scores.p + (size_t)model->step.order[i] * row, row * sizeof *scores);
    *first = model->shard.first_row;
    return model->shard.rows;
}

/* Ranks may hold different numbers of columns: all send the most. */
void model_scores_row(struct model *model, int i, float *scores)
{
    int size = model->comm->size, most = (model->config.vocabulary + size - 1) / size + 2 * SHARD_UNIT;
    int first;
    float *own = mem_new((size_t)most, sizeof *own), *all = mem_new((size_t)most * (size_t)size, sizeof *all);
    model_scores_part(model, i, own, &first);
    model->comm->calls->all_gather(model->comm, all, own, (size_t)most * sizeof *own);
    for (int rank = 0; rank < size; rank++) {
        struct shard shard;
        shard_plan(&shard, &model->config, rank, size, NULL);
        assert(shard.rows <= most);
        memcpy(scores + shard.first_row, all + (size_t)rank * (size_t)most, (size_t)shard.rows * sizeof *scores);
    }
    free(own);
    free(all);
}

/* Row by row, so that the buffers are one row of scores. */
void model_scores(struct model *model, float *scores)
{
    for (int i = 0; i < model_scored_rows(model); i++)
        model_scores_row(model, i, scores + (size_t)i * (size_t)model->config.vocabulary);
}
