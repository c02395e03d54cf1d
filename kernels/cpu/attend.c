/* attend.c - cuts attention into units: some query rows of one sequence with some heads that share a key head.
 *
 * Row invariance: a query sees its keys in blocks, in order; where they begin and end is a function of the query's own range and of
 * positions (cache: multiples of 64 within a page; rows: steps of 64 from the range's first key), never of the rows beside it. Rows
 * of a unit see the same blocks one after the other, so that these are read from memory once. */
#include "kernels/cpu/attend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Keys are where one of the two says; the other is NULL. */
struct attend_task {
    struct device *dev;
    float *y;
    const float *q;
    int n, stride;
    struct attention a;
    int heads_per_unit, units_per_tile;
    const int32_t *tiles; /* first row of each tile, then n */
    size_t value_stride;
    const struct kv_cache *kv;
    int layer;
    const struct kv_rows *rows;
    const float *k, *v; /* as the caller gave them */
    float *packed;      /* (g) keys transposed [c][key_stride], then values [row][value_stride] */
    size_t key_stride, head_floats;
};

/* A unit at work. */
struct unit {
    int row, end, head, head_end, last; /* last: no row sees keys from there on */
    struct attend_state *states;        /* (end - row, head_end - head) */
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* Where the block that holds position p ends. base: the first key of the unit's rows. */
static int block_end(const struct attend_task *t, int p, int base)
{
    if (!t->kv)
        return base + ((p - base) / BLOCK_POSITIONS + 1) * BLOCK_POSITIONS;
    int offset = p % t->kv->page_positions;
    return p - offset + smaller((offset / BLOCK_POSITIONS + 1) * BLOCK_POSITIONS, t->kv->page_positions);
}

/* Keys [p, end) of one block, as the queries of `row`'s sequence see them. */
static struct attend_block block_at(const struct attend_task *t, int row, int key_head, int p, int end)
{
    struct attend_block block = {.key_stride = t->key_stride, .value_stride = t->value_stride, .count = end - p};
    const float *head;
    size_t keys = t->key_stride * (size_t)t->a.c, offset = (size_t)p;
    if (t->kv) {
        const int32_t *pages = t->rows->pages + (size_t)t->rows->sequence[row] * (size_t)t->rows->pages_per_sequence;
        head = kv_head(t->kv, pages[p / t->kv->page_positions], t->layer, key_head);
        offset = (size_t)(p % t->kv->page_positions);
    } else {
        head = t->packed + (size_t)key_head * t->head_floats;
    }
    block.keys = head + offset;
    block.values = head + keys + offset * t->value_stride;
    return block;
}

/* The unit's rows [row, end), which see the same keys [p, last) of the block that ends at `to`. */
static void unit_rows(const struct attend_task *t, const struct unit *u, int row, int end, int p, int last, int to)
{
    int key_head = u->head / (t->a.h / t->a.g);
    int heads = u->head_end - u->head, queries = (end - row) * heads, tiles = (queries + TILE_ROWS - 1) / TILE_ROWS;
    struct attend_block block = block_at(t, row, key_head, p, last);
    if (to < u->last) {
        struct attend_block next = block_at(t, row, key_head, to, to + 1);
        block.keys_ahead = next.keys - block.keys;
        block.values_ahead = next.values - block.values;
    }
    struct attend_state *states = u->states + (row - u->row) * heads;
    for (int tile = 0; tile < tiles; tile++) {
        int first = tile_first(queries, tiles, tile), m = tile_first(queries, tiles, tile + 1) - first;
        t->dev->simd->attend_block(states + first, m, t->a.c, t->a.scale, t->a.cap, &block);
    }
}

/* All queries of the unit over the keys [from, to) of one block, each over those that it may see. */
static void unit_block(const struct attend_task *t, const struct unit *u, int from, int to)
{
    for (int row = u->row, end; row < u->end; row = end) {
        int p = larger(from, t->a.first[row]), last = smaller(to, t->a.last[row]);
        for (end = row + 1; end < u->end; end++)
            if (larger(from, t->a.first[end]) != p || smaller(to, t->a.last[end]) != last)
                break;
        if (p < last)
            unit_rows(t, u, row, end, p, last, to);
    }
}

static size_t state_floats(const struct attend_task *t)
{
    return sizeof(struct attend_state) / sizeof(float) + t->value_stride;
}

/* States of all queries of the unit, before their first block. */
static void unit_begin(const struct attend_task *t, struct unit *u, float *scratch)
{
    int heads = u->head_end - u->head, count = (u->end - u->row) * heads;
    u->states = (struct attend_state *)(void *)(scratch + (size_t)count * t->value_stride);
    memset(scratch, 0, (size_t)count * t->value_stride * sizeof *scratch);
    for (int i = 0; i < count; i++) {
        const float *q = t->q + (size_t)(u->row + i / heads) * (size_t)t->stride + (size_t)((u->head + i % heads) * t->a.c);
        u->states[i] = (struct attend_state){.max = -INFINITY, .q = q, .sum = scratch + (size_t)i * t->value_stride};
    }
}

static void unit_run(void *arg, int item, int worker)
{
    const struct attend_task *t = arg;
    int tile = item / t->units_per_tile, head = item % t->units_per_tile * t->heads_per_unit;
    struct unit u = {.row = t->tiles[tile], .end = t->tiles[tile + 1], .head = head, .head_end = head + t->heads_per_unit};
    int first = t->a.first[u.row];
    for (int row = u.row; row < u.end; row++) {
        first = smaller(first, t->a.first[row]);
        u.last = larger(u.last, t->a.last[row]);
    }
    unit_begin(t, &u, device_worker(t->dev, worker));
    for (int p = first, end; p < u.last; p = end) {
        end = block_end(t, p, first);
        unit_block(t, &u, p, end);
    }
    const struct attend_state *state = u.states;
    for (int row = u.row; row < u.end; row++)
        for (int i = head; i < u.head_end; i++)
            t->dev->simd->attend_finish(t->y + ((size_t)row * (size_t)t->a.h + (size_t)i) * (size_t)t->a.c, state++, t->a.c);
}

/* Rows that may share blocks: of one sequence, or, over rows, with the same first key. */
static bool rows_together(const struct attend_task *t, int a, int b)
{
    return t->kv ? t->rows->sequence[a] == t->rows->sequence[b] : t->a.first[a] == t->a.first[b];
}

/* Tiles of at most `rows` rows. */
static int tiles_plan(struct attend_task *t, int rows, int32_t *tiles)
{
    int count = 0;
    for (int row = 0; row < t->n; row++)
        if (!row || row - tiles[count - 1] == rows || !rows_together(t, row - 1, row))
            tiles[count++] = row;
    tiles[count] = t->n;
    t->tiles = tiles;
    return count;
}

/* Heads that share a key head go together, unless that leaves threads without work. */
static void task_run(struct attend_task *t)
{
    struct device *dev = t->dev;
    int group = t->a.h / t->a.g, rows = larger(1, smaller(UNIT_QUERIES / group, UNIT_QUERIES / 2));
    int tiles = tiles_plan(t, rows, device_scratch(dev, SCRATCH_PLAN, ((size_t)t->n + 1) * sizeof *t->tiles));
    t->heads_per_unit = (int64_t)tiles * t->a.g >= 2 * dev->threads ? group : 1;
    t->units_per_tile = t->a.h / t->heads_per_unit;
    device_reserve(dev, (size_t)(rows * t->heads_per_unit) * state_floats(t));
    size_t keys = 0;
    for (int row = 0; row < t->n; row++)
        keys += (size_t)(t->a.last[row] - t->a.first[row]);
    device_run(dev, tiles * t->units_per_tile, keys * (size_t)(t->a.h * t->a.c), unit_run, t);
}

void attend_cached(struct device *dev, float *y, const float *q, int n, int stride, struct kv_cache *kv, int layer,
                   const struct kv_rows *rows, const struct attention *a)
{
    struct attend_task t = {.dev = dev, .y = y, .q = q, .n = n, .stride = stride, .a = *a, .kv = kv, .layer = layer, .rows = rows};
    assert(a->g == kv->g && a->c == kv->c && a->h % a->g == 0);
    t.key_stride = kv->key_stride;
    t.value_stride = kv->value_stride;
    task_run(&t);
}

/* Keys and values of BLOCK_POSITIONS rows of one head go where vectors can read them. */
static void rows_pack(void *arg, int item, int worker)
{
    (void)worker;
    const struct attend_task *t = arg;
    int head = item % t->a.g, from = item / t->a.g * BLOCK_POSITIONS, to = smaller(from + BLOCK_POSITIONS, t->n);
    float *keys = t->packed + (size_t)head * t->head_floats, *values = keys + t->key_stride * (size_t)t->a.c;
    for (int row = from; row < to; row++) {
        size_t source = (size_t)row * (size_t)t->stride + (size_t)(head * t->a.c);
        for (int j = 0; j < t->a.c; j++) {
            keys[(size_t)j * t->key_stride + (size_t)row] = t->k[source + (size_t)j];
            values[(size_t)row * t->value_stride + (size_t)j] = t->v[source + (size_t)j];
        }
    }
}

void attend_rows(struct device *dev, float *y, const float *q, const float *k, const float *v, int n, int stride,
                 const struct attention *a)
{
    struct attend_task t = {.dev = dev, .y = y, .q = q, .n = n, .stride = stride, .a = *a, .k = k, .v = v};
    assert(a->h % a->g == 0);
    /* 16 more than a multiple of 16: successive channels of a key must not fall into one set of the cache. */
    t.key_stride = round_up((size_t)n, 32) + 16;
    t.value_stride = round_up((size_t)a->c, 16);
    t.head_floats = (size_t)a->c * t.key_stride + (size_t)n * t.value_stride;
    size_t floats = (size_t)a->g * t.head_floats;
    t.packed = device_scratch(dev, SCRATCH_ROWS, floats * sizeof *t.packed);
    int blocks = (n + BLOCK_POSITIONS - 1) / BLOCK_POSITIONS;
    device_run(dev, blocks * a->g, floats, rows_pack, &t);
    task_run(&t);
}
