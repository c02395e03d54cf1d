/* vision.c - the Qwen2.5-VL vision tower and the merger, forward. Rows are patches in window order throughout; most blocks look
 * within windows, a few over the whole picture. Activations live for one picture.
 * Letters: n patches, d width, ff MLP width, heads of width c. */
#include "model/vision.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/vision_parts.h"
#include "model/windows.h"

/* One picture in the tower; device memory unless said otherwise. */
struct run {
    const struct tower *t;
    int n, chunk;                  /* patches; the most that go through wide and narrow of the MLP at once */
    float *x, *y;                  /* (n, d) */
    float *wide, *narrow;          /* (n, 3d) or (chunk, 2ff); (n, d) or (chunk, ff) */
    float *cosine, *sine;          /* (n, c / 2) */
    int32_t *first, *last;         /* (n) a row's window */
    int32_t *all_first, *all_last; /* (n) the whole picture */
    int32_t *order;                /* (n) window order of patches */
    bool short_of_memory;
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static void run_free(struct run *r)
{
    void *parts[] = {r->x, r->y, r->wide, r->narrow, r->cosine, r->sine, r->first, r->last, r->all_first, r->all_last, r->order};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        r->t->k->free(r->t->dev, parts[i]);
}

/* Device memory for count 4-byte elements. */
static void *take(struct run *r, size_t count)
{
    void *p = r->t->k->alloc(r->t->dev, count * 4);
    r->short_of_memory |= !p;
    return p;
}

static int run_allocate(struct run *r, int patch_width, struct error *err)
{
    const struct vision_config *v = &r->t->config;
    size_t n = (size_t)r->n, chunk = (size_t)r->chunk, d = (size_t)v->d, ff = (size_t)v->ff, half = d / (size_t)v->heads / 2;
    r->x = take(r, n * d);
    r->y = take(r, n * d);
    r->wide = take(r, larger(larger(n * 3 * d, chunk * 2 * ff), chunk * (size_t)patch_width));
    r->narrow = take(r, larger(n * d, chunk * ff));
    r->cosine = take(r, n * half);
    r->sine = take(r, n * half);
    r->first = take(r, n);
    r->last = take(r, n);
    r->all_first = take(r, n);
    r->all_last = take(r, n);
    r->order = take(r, n);
    return r->short_of_memory ? fail(err, "no memory on the device for a picture of %d patches", r->n) : 0;
}

/* Order, ranges and angles of the picture to the device. order: of cells, host. */
static void place(struct run *r, const struct windows *w, const int32_t *order)
{
    const struct kernels *k = r->t->k;
    int c = r->t->config.d / r->t->config.heads, group = w->merge * w->merge;
    size_t n = (size_t)r->n, angles = n * (size_t)(c / 2);
    int32_t *host = mem_new(5 * n, sizeof *host);
    float *turns = mem_new(2 * angles, sizeof *turns);
    windows_ranges(w, host, host + n);
    for (int i = 0; i < r->n; i++) {
        host[2 * n + (size_t)i] = 0;
        host[3 * n + (size_t)i] = r->n;
        host[4 * n + (size_t)i] = order[i / group] * group + i % group;
    }
    int32_t *to[] = {r->first, r->last, r->all_first, r->all_last, r->order};
    for (size_t i = 0; i < 5; i++)
        k->upload(r->t->dev, to[i], host + i * n, n * sizeof *host);
    windows_angles(w, order, c, turns, turns + angles);
    k->upload(r->t->dev, r->cosine, turns, angles * sizeof *turns);
    k->upload(r->t->dev, r->sine, turns + angles, angles * sizeof *turns);
    free(turns);
    free(host);
}

/* x = patches W^T, put into window order. */
static void embed(struct run *r, const struct patches *patches)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    size_t d = (size_t)r->t->config.d, width = (size_t)patches->width;
    for (int at = 0; at < r->n; at += r->chunk) {
        int n = smaller(r->chunk, r->n - at);
        k->upload(dev, r->wide, patches->rows + (size_t)at * width, (size_t)n * width * sizeof(float));
        k->linear(dev, r->y + (size_t)at * d, r->wide, (struct rows){n, 0}, r->t->patch_embed, NULL);
    }
    k->gather(dev, r->x, r->y, r->order, r->n, r->t->config.d);
}

/* x += proj(attention(norm(x))), over the window or the whole picture. */
static void attention_block(struct run *r, const struct tower_block *b, bool whole)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    int n = r->n, d = r->t->config.d, heads = r->t->config.heads, c = d / heads;
    const struct rows rows = {n, 0};
    float *q = r->wide; /* q, k, v side by side in each row */
    const struct attention a = {.h = heads,
                                .g = heads,
                                .c = c,
                                .scale = 1 / sqrtf((float)c),
                                .first = whole ? r->all_first : r->first,
                                .last = whole ? r->all_last : r->last};
    k->rms_norm(dev, r->y, r->x, n, d, d, b->norm1, 0, VISION_EPS);
    k->linear(dev, q, r->y, rows, b->qkv.w, b->qkv.b);
    k->rope(dev, q, n, 2 * heads, c, 3 * d, r->cosine, r->sine);
    k->attend_rows(dev, r->narrow, q, q + d, q + 2 * d, n, 3 * d, &a);
    k->linear(dev, r->y, r->narrow, rows, b->proj.w, b->proj.b);
    k->add(dev, r->x, r->y, (size_t)n * (size_t)d);
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void mlp_block(struct run *r, const struct tower_block *b)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    int d = r->t->config.d, ff = r->t->config.ff;
    k->rms_norm(dev, r->y, r->x, r->n, d, d, b->norm2, 0, VISION_EPS);
    for (int at = 0; at < r->n; at += r->chunk) {
        const struct rows rows = {smaller(r->chunk, r->n - at), 0};
        float *x = r->x + (size_t)at * (size_t)d, *y = r->y + (size_t)at * (size_t)d;
        k->linear(dev, r->wide, y, rows, b->gate_up.w, b->gate_up.b);
        k->silu_gate(dev, r->narrow, r->wide, rows.prompt, ff);
        k->linear(dev, y, r->narrow, rows, b->down.w, b->down.b);
        k->add(dev, x, y, (size_t)rows.prompt * (size_t)d);
    }
}

static int check_patches(const struct tower *t, const struct patches *p, struct error *err)
{
    const struct vision_config *v = &t->config;
    int width = v->channels * v->temporal_patch * v->patch * v->patch;
    if (p->width != width)
        return fail(err, "the patches have %d numbers each, the vision tower reads %d", p->width, width);
    if (p->grid_h < 1 || p->grid_w < 1 || p->grid_h % v->merge || p->grid_w % v->merge)
        return fail(err, "a picture of %d x %d patches does not consist of blocks of %d x %d", p->grid_h, p->grid_w, v->merge,
                    v->merge);
    if ((int64_t)p->grid_h * p->grid_w > INT32_MAX / (3 * (int64_t)v->d))
        return fail(err, "a picture of %d x %d patches is too large for the vision tower", p->grid_h, p->grid_w);
    return 0;
}

int tower_run(struct tower *t, const struct patches *patches, struct vision_states *states, struct error *err)
{
    const struct vision_config *v = &t->config;
    if (check_patches(t, patches, err))
        return -1;
    const struct windows w = {patches->grid_h / v->merge, patches->grid_w / v->merge, v->merge, v->window / v->patch / v->merge};
    struct run r = {.t = t, .n = patches->grid_h * patches->grid_w};
    r.chunk = smaller(t->chunk, r.n);
    if (run_allocate(&r, patches->width, err)) {
        run_free(&r);
        return -1;
    }
    int32_t *order = mem_new((size_t)w.lines * (size_t)w.columns, sizeof *order);
    windows_order(&w, order);
    place(&r, &w, order);
    embed(&r, patches);
    for (int i = 0; i < v->depth; i++) {
        attention_block(&r, &t->blocks[i], v->full_attention[i]);
        mlp_block(&r, &t->blocks[i]);
    }
    *states = (struct vision_states){patches->grid_h, patches->grid_w, r.x, order};
    r.x = NULL;
    run_free(&r);
    return 0;
}

void vision_states_free(struct tower *t, struct vision_states *states)
{
    if (states->rows)
        t->k->free(t->dev, states->rows);
    free(states->window_index);
    memset(states, 0, sizeof *states);
}

/* out(gelu(in(norm(x)))) of each cell's merge^2 rows side by side; `hidden` holds the middle, y what goes in and comes out. */
static void merge_cells(struct merger *m, const struct vision_states *states, float *y, float *hidden, const int32_t *order)
{
    const struct kernels *k = m->k;
    int d = m->config.d, group = m->config.merge * m->config.merge, n = states->grid_h * states->grid_w;
    const struct rows cells = {n / group, 0};
    k->rms_norm(m->dev, y, states->rows, n, d, d, m->norm, 0, VISION_EPS);
    k->linear(m->dev, hidden, y, cells, m->in.w, m->in.b);
    k->gelu_erf(m->dev, hidden, (size_t)n * (size_t)d);
    k->linear(m->dev, y, hidden, cells, m->out.w, m->out.b);
    k->scatter(m->dev, hidden, y, order, cells.prompt, m->config.out_d);
}

int merger_run(struct merger *m, const struct vision_states *states, float *features, struct error *err)
{
    size_t patches = (size_t)states->grid_h * (size_t)states->grid_w, cells = patches / (size_t)(m->config.merge * m->config.merge);
    size_t out = cells * (size_t)m->config.out_d, room = larger(patches * (size_t)m->config.d, out) * sizeof(float);
    float *y = m->k->alloc(m->dev, room), *hidden = m->k->alloc(m->dev, room);
    int32_t *order = m->k->alloc(m->dev, cells * sizeof *order);
    int rc = 0;
    if (!y || !hidden || !order)
        rc = fail(err, "no memory on the device for a picture of %zu patches", patches);
    if (!rc) {
        m->k->upload(m->dev, order, states->window_index, cells * sizeof *order);
        merge_cells(m, states, y, hidden, order);
        m->k->download(m->dev, features, hidden, out * sizeof *features);
    }
    m->k->free(m->dev, y);
    m->k->free(m->dev, hidden);
    m->k->free(m->dev, order);
    return rc;
}
