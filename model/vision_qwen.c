/* vision_qwen.c - the Qwen2.5-VL tower, forward, and what its merger is made of. Rows are patches in window order throughout; most
 * blocks look within windows, a few over the whole picture. */
#include <math.h>
#include <stdlib.h>

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

/* ---- cells ---- */

/* The merge^2 rows of a cell follow one another in window order. */
static int cells(const struct vision_reader *r, const struct vision_states *states, float *cells, struct error *err)
{
    int merge = r->config->vision.merge, n = states->grid_h * states->grid_w / (merge * merge);
    int32_t *order = r->k->alloc(r->dev, (size_t)n * sizeof *order);
    if (!order)
        return fail(err, "no memory on the device for a picture of %d tokens", n);
    r->k->upload(r->dev, order, states->window_index, (size_t)n * sizeof *order);
    r->k->scatter(r->dev, cells, states->rows, order, n, merge * merge * r->config->vision.d);
    r->k->free(r->dev, order);
    return 0;
}

static const char *const parts[] = {"patch_embed.", "blocks.", NULL};

const struct projector_form projector_form_qwen = {
    .names = {[PART_NORM] = "merger.ln_q.weight",
              [PART_FIRST] = "merger.mlp.0.weight",
              [PART_FIRST_BIAS] = "merger.mlp.0.bias",
              [PART_SECOND] = "merger.mlp.2.weight",
              [PART_SECOND_BIAS] = "merger.mlp.2.bias"},
    .of_family = true,
    .wide = true,
};

const struct tower_kind tower_kind_qwen = {
    .tower_probe = "patch_embed.proj.weight",
    .block = "blocks.",
    .parts = parts,
    .load = tower_load,
    .check = check,
    .run = run,
    .cells = cells,
};
