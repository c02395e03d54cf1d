/* matrix.c - packing weights into panels, and reading single rows back out */
#include "kernels/cpu/matrix.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { PACK_PAIRS = 64 }; /* of one panel at a time: source and target stay in the nearest cache */

struct matrix *matrix_create(struct device *dev, enum dtype dtype, int rows, int cols, struct error *err)
{
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16) {
        fail(err, "weights of dtype %s: must be F32, F16 or BF16", dtype < DTYPE_COUNT ? dtype_name(dtype) : "unknown");
        return NULL;
    }
    if (rows < 1 || cols < 1 || rows > INT_MAX - 64 || cols == INT_MAX) {
        fail(err, "weights of %d rows and %d columns: both must be at least 1", rows, cols);
        return NULL;
    }
    struct matrix *m = mem_new(1, sizeof *m);
    m->dtype = dtype;
    m->rows = rows;
    m->cols = cols;
    m->pairs = (cols + 1) / 2;
    m->panel = dev->simd->panel;
    m->panels = (rows + m->panel - 1) / m->panel;
    m->panel_bytes = (size_t)m->pairs * 2 * (size_t)m->panel * dtype_size(dtype);
    m->data = device_alloc(dev, matrix_bytes(m));
    if (!m->data) {
        fail(err, "weights of %d rows and %d columns: no memory for %zu bytes", rows, cols, matrix_bytes(m));
        free(m);
        return NULL;
    }
    if (rows % m->panel) /* nothing writes the lanes beyond the last row */
        memset(m->data + matrix_bytes(m) - m->panel_bytes, 0, m->panel_bytes);
    return m;
}

void matrix_destroy(struct device *dev, struct matrix *m)
{
    if (!m)
        return;
    device_free(dev, m->data);
    free(m);
}

size_t matrix_bytes(const struct matrix *m)
{
    return (size_t)m->panels * m->panel_bytes;
}

/* Packs pairs [pair, end) of one row (cols) of 32-bit words into lane words `panel` apart. bf16: a word is a pair. */
static void pack_bf16(uint32_t *lane, const uint16_t *row, const struct matrix *m, int pair, int end)
{
    for (; pair < end; pair++) {
        uint32_t high = 2 * pair + 1 < m->cols ? row[2 * pair + 1] : 0;
        lane[(size_t)pair * (size_t)m->panel] = row[2 * pair] | high << 16;
    }
}

static void pack_f16(uint16_t *lane, const uint16_t *row, const struct matrix *m, int pair, int end)
{
    for (int k = 2 * pair; k < 2 * end; k++)
        lane[(size_t)k * (size_t)m->panel] = k < m->cols ? row[k] : 0;
}

static void pack_f32(uint32_t *lane, const uint32_t *row, const struct matrix *m, int pair, int end)
{
    for (int k = 2 * pair; k < 2 * end; k++)
        lane[(size_t)k * (size_t)m->panel] = k < m->cols ? row[k] : 0;
}

static void pack_lane(const struct matrix *m, char *panel, int lane, const char *row, int pair, int end)
{
    char *target = panel + (size_t)lane * (m->dtype == DTYPE_F16 ? 2 : 4);
    if (m->dtype == DTYPE_BF16)
        pack_bf16((uint32_t *)(void *)target, (const uint16_t *)(const void *)row, m, pair, end);
    else if (m->dtype == DTYPE_F16)
        pack_f16((uint16_t *)(void *)target, (const uint16_t *)(const void *)row, m, pair, end);
    else
        pack_f32((uint32_t *)(void *)target, (const uint32_t *)(const void *)row, m, pair, end);
}

struct write_job {
    const struct matrix *m;
    int row, end; /* rows that are written */
    const char *host;
};

/* What of one panel is written. */
static void write_panel(void *arg, int item, int worker)
{
    (void)worker;
    const struct write_job *job = arg;
    const struct matrix *m = job->m;
    int number = job->row / m->panel + item, base = number * m->panel;
    char *panel = m->data + (size_t)number * m->panel_bytes;
    int from = base > job->row ? base : job->row, to = base + m->panel < job->end ? base + m->panel : job->end;
    size_t row_bytes = (size_t)m->cols * dtype_size(m->dtype);
    for (int pair = 0; pair < m->pairs; pair += PACK_PAIRS) {
        int end = pair + PACK_PAIRS < m->pairs ? pair + PACK_PAIRS : m->pairs;
        for (int row = from; row < to; row++)
            pack_lane(m, panel, row - base, job->host + (size_t)(row - job->row) * row_bytes, pair, end);
    }
}

void matrix_write(struct device *dev, struct matrix *m, int row, int n, const void *host)
{
    assert(row >= 0 && n >= 0 && row + n <= m->rows);
    struct write_job job = {.m = m, .row = row, .end = row + n, .host = host};
    if (!n)
        return;
    int first = row / m->panel, last = (row + n - 1) / m->panel;
    device_run(dev, last - first + 1, (size_t)n * (size_t)m->cols, write_panel, &job);
}

/* By the bits of f16; base's conversion calls libm for each number. */
static float f16_value(uint16_t half)
{
    uint32_t bits = (half & 0x7fffu) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= (value >= 65536.0f ? 0x7f800000u : 0) | (half & 0x8000u) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float matrix_at(const struct matrix *m, const char *panel, int lane, int k)
{
    size_t plain = (size_t)k * (size_t)m->panel + (size_t)lane, paired = ((size_t)(k / 2) * (size_t)m->panel + (size_t)lane) * 2;
    if (m->dtype == DTYPE_F32)
        return ((const float *)(const void *)panel)[plain];
    const uint16_t *half = (const uint16_t *)(const void *)panel;
    return m->dtype == DTYPE_F16 ? f16_value(half[plain]) : bf16_to_f32(half[paired + (size_t)(k & 1)]);
}

struct embed_job {
    const struct matrix *m;
    const int32_t *ids;
    int first_id;
    float *y;
};

static void embed_row(void *arg, int item, int worker)
{
    (void)worker;
    const struct embed_job *job = arg;
    const struct matrix *m = job->m;
    float *y = job->y + (size_t)item * (size_t)m->cols;
    int64_t row = (int64_t)job->ids[item] - job->first_id;
    if (row < 0 || row >= m->rows) {
        memset(y, 0, (size_t)m->cols * sizeof *y);
        return;
    }
    const char *panel = m->data + (size_t)(row / m->panel) * m->panel_bytes;
    for (int k = 0; k < m->cols; k++)
        y[k] = matrix_at(m, panel, (int)(row % m->panel), k);
}

void matrix_embed(struct device *dev, float *y, const int32_t *ids, int n, const struct matrix *w, int first_id)
{
    struct embed_job job = {.m = w, .ids = ids, .first_id = first_id, .y = y};
    device_run(dev, n, (size_t)n * (size_t)w->cols, embed_row, &job);
}
