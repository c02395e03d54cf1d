/* matrix.c - packing weights into panels, and reading single rows back out */
#include "kernels/cpu/matrix.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { PACK_PAIRS = 256 }; /* of one panel at a time: source and target stay in the nearest cache */

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
    size_t bytes;
    if (!__builtin_mul_overflow(m->panel_bytes, (size_t)m->panels, &bytes))
        m->data = device_alloc(dev, bytes);
    if (!m->data) {
        fail(err, "weights of %d rows and %d columns: no memory for them", rows, cols);
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

typedef uint32_t quad __attribute__((vector_size(16)));

/* Words (4) of rows 0..3 become lanes (4) of words 0..3. */
static inline void quad_transpose(quad w[4])
{
    const quad low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
    quad a = __builtin_shuffle(w[0], w[1], low), b = __builtin_shuffle(w[2], w[3], low);
    quad c = __builtin_shuffle(w[0], w[1], high), d = __builtin_shuffle(w[2], w[3], high);
    w[0] = __builtin_shuffle(a, b, first);
    w[1] = __builtin_shuffle(a, b, second);
    w[2] = __builtin_shuffle(c, d, first);
    w[3] = __builtin_shuffle(c, d, second);
}

/* Four lanes of f16 pairs: the first numbers of all pairs go before the second ones. */
static inline void quad_store_f16(char *target, size_t stride, quad pairs)
{
    typedef uint16_t octet __attribute__((vector_size(16)));
    octet apart = __builtin_shuffle((octet)pairs, (octet){0, 2, 4, 6, 1, 3, 5, 7});
    memcpy(target, &apart, 8);
    memcpy(target + stride, (const char *)&apart + 8, 8);
}

/* Packs four rows, row_bytes apart, from pair on; returns the first pair that is left to pack_lane. A word of f32 is a number.
 * format is a constant where this is inlined. */
static inline __attribute__((always_inline)) int pack_four(const struct matrix *m, char *panel, int lane, const char *row,
                                                           size_t row_bytes, int pair, int end, const enum dtype format)
{
    const int step = format == DTYPE_F32 ? 2 : 4;                                   /* pairs in four words */
    const size_t size = format == DTYPE_F32 ? 4 : 2, stride = (size_t)m->panel * 4; /* of the target, bytes of a word's lanes */
    end = end < m->cols / 2 ? end : m->cols / 2;
    row += (size_t)pair * 2 * size;
    char *target = panel + (size_t)pair * 2 * size * (size_t)m->panel + (size_t)lane * (format == DTYPE_F16 ? 2 : 4);
    for (; pair + step <= end; pair += step, row += sizeof(quad), target += 4 * stride) {
        quad w[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            memcpy(&w[i], row + i * row_bytes, sizeof w[i]);
        quad_transpose(w);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            if (format == DTYPE_F16)
                quad_store_f16(target + i * stride, stride / 2, w[i]);
            else
                memcpy(target + i * stride, &w[i], sizeof w[i]);
    }
    return pair;
}

static int pack_rows(const struct matrix *m, char *panel, int lane, const char *row, size_t row_bytes, int pair, int end)
{
    if (m->dtype == DTYPE_F16)
        return pack_four(m, panel, lane, row, row_bytes, pair, end, DTYPE_F16);
    if (m->dtype == DTYPE_BF16)
        return pack_four(m, panel, lane, row, row_bytes, pair, end, DTYPE_BF16);
    return pack_four(m, panel, lane, row, row_bytes, pair, end, DTYPE_F32);
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
        for (int row = from, rows; row < to; row += rows) {
            const char *host = job->host + (size_t)(row - job->row) * row_bytes;
            rows = to - row < 4 ? 1 : 4;
            int rest = rows == 4 ? pack_rows(m, panel, row - base, host, row_bytes, pair, end) : pair;
            for (int i = 0; i < rows; i++)
                pack_lane(m, panel, row - base + i, host + (size_t)i * row_bytes, rest, end);
        }
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
