/* vision_qwen.c - the Qwen2.5-VL tower and its merger, forward. Rows are patches in window order throughout; most blocks look
 * within windows, a few over the whole picture. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/vision_parts.h"
#include "model/windows.h"

/* ---- weights ---- */

static int block_load(struct vision_loader *l, struct tower_block *b, int i, const struct vision_config *v)
{
    static const char *const qkv[] = {"attn.qkv"}, *const proj[] = {"attn.proj"}, *const down[] = {"mlp.down_proj"};
    static const char *const gate_up[] = {"mlp.gate_proj", "mlp.up_proj"};
    if (vision_load_norm(l, &b->norm1, i, "norm1", v->d, false) || vision_load_norm(l, &b->norm2, i, "norm2", v->d, false))
        return -1;
    return vision_load_layer(l, &b->qkv, i, qkv, 1, 3 * v->d, v->d, true) ||
                   vision_load_layer(l, &b->proj, i, proj, 1, v->d, v->d, true) ||
                   vision_load_layer(l, &b->up, i, gate_up, 2, v->ff, v->d, true) ||
                   vision_load_layer(l, &b->down, i, down, 1, v->d, v->ff, true)
               ? -1
               : 0;
}

static int tower_load(struct vision_loader *l, struct tower *t)
{
    static const char *const patch[] = {"patch_embed.proj"};
    int rc = vision_load_layer(l, &t->patch, -1, patch, 1, t->config.d, vision_patch_width(&t->config), false);
    for (int i = 0; i < t->config.depth && !rc; i++)
        rc = block_load(l, &t->blocks[i], i, &t->config);
    return rc;
}

static int merger_load(struct vision_loader *l, struct merger *m)
{
    static const char *const in[] = {"merger.mlp.0"}, *const out[] = {"merger.mlp.2"};
    int wide = m->config.merge * m->config.merge * m->config.d;
    return vision_load_norm(l, &m->norm, -1, "merger.ln_q", m->config.d, false) ||
                   vision_load_layer(l, &m->in, -1, in, 1, wide, wide, true) ||
                   vision_load_layer(l, &m->out, -1, out, 1, m->config.out_d, wide, true)
               ? -1
               : 0;
}

/* ---- the tower ---- */

/* Where the patches of a picture stand; device memory. */
struct places {
    float *cosine, *sine;  /* (n, c / 2) */
    int32_t *first, *last; /* (n) a row's window */
    int32_t *order;        /* (n) window order of patches */
};

static int places_take(struct places *p, struct vision_run *r, struct error *err)
{
    size_t n = (size_t)r->n, half = (size_t)(r->t->config.d / r->t->config.heads / 2);
    *p = (struct places){vision_take(r, n * half), vision_take(r, n * half), vision_take(r, n), vision_take(r, n),
                         vision_take(r, n)};
    return p->cosine && p->sine && p->first && p->last && p->order
               ? 0
               : fail(err, "no memory on the device for a picture of %d patches", r->n);
}

/* Order, ranges and angles of the picture to the device. order: of cells, host. */
static void place(const struct vision_run *r, const struct places *p, const struct windows *w, const int32_t *order)
{
    const struct kernels *k = r->t->k;
    int c = r->t->config.d / r->t->config.heads, group = w->merge * w->merge;
    size_t n = (size_t)r->n, angles = n * (size_t)(c / 2);
    int32_t *host = mem_new(3 * n, sizeof *host);
    float *turns = mem_new(2 * angles, sizeof *turns);
    windows_ranges(w, host, host + n);
    for (int i = 0; i < r->n; i++)
        host[2 * n + (size_t)i] = order[i / group] * group + i % group;
    int32_t *to[] = {p->first, p->last, p->order};
    for (size_t i = 0; i < 3; i++)
        k->upload(r->t->dev, to[i], host + i * n, n * sizeof *host);
    windows_angles(w, order, c, turns, turns + angles);
    k->upload(r->t->dev, p->cosine, turns, angles * sizeof *turns);
    k->upload(r->t->dev, p->sine, turns + angles, angles * sizeof *turns);
    free(turns);
    free(host);
}

/* x += proj(attention(norm(x))), over the window or the whole picture. */
static void attention_block(struct vision_run *r, const struct places *p, const struct tower_block *b, bool whole)
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
                                .first = whole ? r->first_all : p->first,
                                .last = whole ? r->last_all : p->last};
    k->rms_norm(dev, r->y, r->x, n, d, d, b->norm1.w, 0, r->t->config.norm_eps);
    k->linear(dev, q, r->y, rows, b->qkv.w, b->qkv.b);
    k->rope(dev, q, n, 2 * heads, c, 3 * d, p->cosine, p->sine);
    k->attend_rows(dev, r->narrow, q, q + d, q + 2 * d, n, 3 * d, &a);
    k->linear(dev, r->y, r->narrow, rows, b->proj.w, b->proj.b);
    k->add(dev, r->x, r->y, (size_t)n * (size_t)d);
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void mlp_block(struct vision_run *r, const struct tower_block *b)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    int d = r->t->config.d, ff = r->t->config.ff;
    k->rms_norm(dev, r->y, r->x, r->n, d, d, b->norm2.w, 0, r->t->config.norm_eps);
    for (int at = 0; at < r->n; at += r->chunk) {
        const struct rows rows = {r->n - at < r->chunk ? r->n - at : r->chunk, 0};
        float *x = r->x + (size_t)at * (size_t)d, *y = r->y + (size_t)at * (size_t)d;
        k->linear(dev, r->wide, y, rows, b->up.w, b->up.b);
        k->silu_gate(dev, r->narrow, r->wide, rows.prompt, ff);
        k->linear(dev, y, r->narrow, rows, b->down.w, b->down.b);
        k->add(dev, x, y, (size_t)rows.prompt * (size_t)d);
    }
}

static int check(const struct tower *t, const struct patches *p, struct error *err)
{
    int merge = t->config.merge;
    if (p->grid_h < 1 || p->grid_w < 1 || p->grid_h % merge || p->grid_w % merge)
        return fail(err, "a picture of %d x %d patches does not consist of blocks of %d x %d", p->grid_h, p->grid_w, merge, merge);
    return 0;
}

static int run(struct vision_run *r, const struct patches *patches, int32_t **window_index, struct error *err)
{
    const struct vision_config *v = &r->t->config;
    const struct windows w = {patches->grid_h / v->merge, patches->grid_w / v->merge, v->merge, v->window / v->patch / v->merge};
    struct places p;
    if (places_take(&p, r, err))
        return -1;
    *window_index = mem_new((size_t)w.lines * (size_t)w.columns, sizeof **window_index);
    windows_order(&w, *window_index);
    place(r, &p, &w, *window_index);
    vision_embed(r, r->y, patches);
    r->t->k->gather(r->t->dev, r->x, r->y, p.order, r->n, v->d);
    for (int i = 0; i < v->depth; i++) {
        attention_block(r, &p, &r->t->blocks[i], v->full_attention[i]);
        mlp_block(r, &r->t->blocks[i]);
    }
    return 0;
}

/* Cells in window order to raster order. */
static int rows_make(struct tower *t, const struct vision_states *states, float *rows, struct error *err)
{
    int group = t->config.merge * t->config.merge, cells = states->grid_h * states->grid_w / group;
    size_t width = (size_t)(group * t->config.d);
    float *windows = malloc((size_t)cells * width * sizeof *windows);
    if (!windows)
        return fail(err, "no memory for a picture of %d tokens", cells);
    t->k->download(t->dev, windows, states->rows, (size_t)cells * width * sizeof *windows);
    for (int i = 0; i < cells; i++)
        memcpy(rows + (size_t)states->window_index[i] * width, windows + (size_t)i * width, width * sizeof *windows);
    free(windows);
    return 0;
}

/* ---- the merger ---- */

/* out(gelu(in(norm(x)))) of each cell's merge^2 rows side by side; `hidden` holds the middle, y what goes in and comes out. */
static void merge_cells(struct merger *m, const struct vision_states *states, float *y, float *hidden, const int32_t *order)
{
    const struct kernels *k = m->k;
    int d = m->config.d, group = m->config.merge * m->config.merge, n = states->grid_h * states->grid_w;
    const struct rows cells = {n / group, 0};
    k->rms_norm(m->dev, y, states->rows, n, d, d, m->norm.w, 0, m->config.norm_eps);
    k->linear(m->dev, hidden, y, cells, m->in.w, m->in.b);
    k->gelu_erf(m->dev, hidden, (size_t)n * (size_t)d);
    k->linear(m->dev, y, hidden, cells, m->out.w, m->out.b);
    k->scatter(m->dev, hidden, y, order, cells.prompt, m->config.out_d);
}

static int project(struct merger *m, const struct vision_states *states, float *features, struct error *err)
{
    size_t patches = (size_t)states->grid_h * (size_t)states->grid_w, cells = patches / (size_t)(m->config.merge * m->config.merge);
    size_t out = cells * (size_t)m->config.out_d,
           room = (out > patches * (size_t)m->config.d ? out : patches * (size_t)m->config.d) * sizeof(float);
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

static const char *const parts[] = {"patch_embed.", "blocks.", NULL};

const struct projector_form projector_form_qwen = {
    .norm = "merger.ln_q.weight",
    .first = "merger.mlp.0.weight",
    .first_bias = "merger.mlp.0.bias",
    .last = "merger.mlp.2.weight",
    .last_bias = "merger.mlp.2.bias",
};

const struct tower_kind tower_kind_qwen = {
    .tower_probe = "patch_embed.proj.weight",
    .projector_probe = "merger.ln_q.weight",
    .block = "blocks.",
    .parts = parts,
    .load = tower_load,
    .check = check,
    .run = run,
    .rows = rows_make,
    .projector_load = merger_load,
    .project = project,
};
