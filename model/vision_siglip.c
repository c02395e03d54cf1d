/* vision_siglip.c - the SigLIP tower (Zhai et al.: "Sigmoid loss for language image pre-training", 2023), forward, and what
 * Gemma3's projector is made of. Pictures have one size; places are learned; every block looks over the whole picture, in raster
 * order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/vision_parts.h"

/* ---- weights ---- */

static int block_load(struct vision_loader *l, struct tower_block *b, int i, const struct vision_config *v)
{
    static const char *const qkv[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    static const char *const proj[] = {"self_attn.out_proj"}, *const up[] = {"mlp.fc1"}, *const down[] = {"mlp.fc2"};
    if (vision_load_norm(l, &b->norm1, i, "layer_norm1", v->d, true) ||
        vision_load_norm(l, &b->norm2, i, "layer_norm2", v->d, true))
        return -1;
    return vision_load_layer(l, &b->qkv, i, qkv, 3, v->d, v->d, true) ||
                   vision_load_layer(l, &b->proj, i, proj, 1, v->d, v->d, true) ||
                   vision_load_layer(l, &b->up, i, up, 1, v->ff, v->d, true) ||
                   vision_load_layer(l, &b->down, i, down, 1, v->d, v->ff, true)
               ? -1
               : 0;
}

/* The table of places, as one vector of f32. */
static int places_load(struct vision_loader *l, struct tower *t)
{
    static const char name[] = "embeddings.position_embedding.weight";
    size_t count = (size_t)t->n_places * (size_t)t->config.d;
    const struct tensor *table = vision_need(l, -1, name, t->n_places, t->config.d);
    if (!table)
        return -1;
    t->places = l->k->alloc(l->dev, count * sizeof *t->places);
    if (!t->places)
        return fail(l->err, "no memory on the device for the vision weights");
    char *stored = mem_new(table->bytes, 1);
    float *host = mem_new(count, sizeof *host);
    int rc = safetensors_read(l->st, table, 0, t->n_places, 0, t->config.d, stored, l->err);
    if (!rc) {
        dtype_to_f32(host, stored, table->dtype, count);
        l->k->upload(l->dev, t->places, host, count * sizeof *host);
    }
    free(host);
    free(stored);
    return rc;
}

static int tower_load(struct vision_loader *l, struct tower *t)
{
    static const char *const patch[] = {"embeddings.patch_embedding"};
    int rc = vision_load_layer(l, &t->patch, -1, patch, 1, t->config.d, vision_patch_width(&t->config), true) ||
                     places_load(l, t) || vision_load_norm(l, &t->after, -1, "post_layernorm", t->config.d, true)
                 ? -1
                 : 0;
    for (int i = 0; i < t->config.depth && !rc; i++)
        rc = block_load(l, &t->blocks[i], i, &t->config);
    return rc;
}

/* ---- the tower ---- */

/* x += proj(attention(norm(x))) */
static void attention_block(struct vision_run *r, const struct tower_block *b)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    int n = r->n, d = r->t->config.d, heads = r->t->config.heads, c = d / heads;
    const struct rows rows = {n, 0};
    float *q = r->wide; /* q, k, v side by side in each row */
    const struct attention a = {
        .h = heads, .g = heads, .c = c, .scale = 1 / sqrtf((float)c), .first = r->first_all, .last = r->last_all};
    k->layer_norm(dev, r->y, r->x, n, d, b->norm1.w, b->norm1.b, r->t->config.norm_eps);
    k->linear(dev, q, r->y, rows, b->qkv.w, b->qkv.b);
    k->attend_rows(dev, r->narrow, q, q + d, q + 2 * d, n, 3 * d, &a);
    k->linear(dev, r->y, r->narrow, rows, b->proj.w, b->proj.b);
    k->add(dev, r->x, r->y, (size_t)n * (size_t)d);
}

/* x += down(gelu(up(norm(x)))) */
static void mlp_block(struct vision_run *r, const struct tower_block *b)
{
    const struct kernels *k = r->t->k;
    struct device *dev = r->t->dev;
    int d = r->t->config.d, ff = r->t->config.ff;
    k->layer_norm(dev, r->y, r->x, r->n, d, b->norm2.w, b->norm2.b, r->t->config.norm_eps);
    for (int at = 0; at < r->n; at += r->chunk) {
        const struct rows rows = {r->n - at < r->chunk ? r->n - at : r->chunk, 0};
        float *x = r->x + (size_t)at * (size_t)d, *y = r->y + (size_t)at * (size_t)d;
        k->linear(dev, r->wide, y, rows, b->up.w, b->up.b);
        k->gelu_tanh(dev, r->wide, (size_t)rows.prompt * (size_t)ff);
        k->linear(dev, y, r->wide, rows, b->down.w, b->down.b);
        k->add(dev, x, y, (size_t)rows.prompt * (size_t)d);
    }
}

static int check(const struct tower *t, const struct patches *p, struct error *err)
{
    if (p->grid_h != p->grid_w || p->grid_h * p->grid_w != t->n_places)
        return fail(err, "a picture of %d x %d patches; this vision tower has places for a square of %d", p->grid_h, p->grid_w,
                    t->n_places);
    return 0;
}

static int run(struct vision_run *r, const struct patches *patches, int32_t **window_index, struct error *err)
{
    const struct tower *t = r->t;
    size_t count = (size_t)r->n * (size_t)t->config.d;
    (void)window_index, (void)err;
    vision_embed(r, r->x, patches);
    t->k->add(t->dev, r->x, t->places, count);
    for (int i = 0; i < t->config.depth; i++) {
        attention_block(r, &t->blocks[i]);
        mlp_block(r, &t->blocks[i]);
    }
    t->k->layer_norm(t->dev, r->x, r->x, r->n, t->config.d, t->after.w, t->after.b, t->config.norm_eps);
    return 0;
}

/* ---- cells ---- */

/* index (n): rows of the raster, those of one token beside each other. */
static void order_make(int32_t *index, const struct vision_states *states, int merge)
{
    int columns = states->grid_w / merge, group = merge * merge, tokens = states->grid_h / merge * columns;
    for (int token = 0; token < tokens; token++)
        for (int i = 0; i < group; i++)
            *index++ = (token / columns * merge + i / merge) * states->grid_w + token % columns * merge + i % merge;
}

static int cells(const struct vision_reader *r, const struct vision_states *states, float *cells, struct error *err)
{
    int n = states->grid_h * states->grid_w, merge = r->config->vision.merge, group = merge * merge, d = r->config->vision.d;
    size_t count = (size_t)n;
    float *sorted = r->k->alloc(r->dev, count * (size_t)d * sizeof *sorted);
    int32_t *index = r->k->alloc(r->dev, count * sizeof *index), *host = mem_new(count, sizeof *host);
    int rc = sorted && index ? 0 : fail(err, "no memory on the device for a picture of %d patches", n);
    if (!rc) {
        order_make(host, states, merge);
        r->k->upload(r->dev, index, host, count * sizeof *index);
        r->k->gather(r->dev, sorted, states->rows, index, n, d);
        r->k->mean(r->dev, cells, sorted, n / group, group, d);
    }
    r->k->free(r->dev, sorted);
    r->k->free(r->dev, index);
    free(host);
    return rc;
}

static const char *const parts[] = {"embeddings.", "encoder.", "post_layernorm.", NULL};

const struct projector_form projector_form_siglip = {
    .names = {[PART_NORM] = "mm_soft_emb_norm.weight", [PART_SECOND] = "mm_input_projection_weight"},
    .of_family = true,
    .turned = true,
    .norm_offset = 1,
};

const struct tower_kind tower_kind_siglip = {
    .tower_probe = "embeddings.patch_embedding.weight",
    .block = "encoder.layers.",
    .parts = parts,
    .load = tower_load,
    .check = check,
    .run = run,
    .cells = cells,
    .averaged = true,
};
