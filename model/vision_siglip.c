/* vision_siglip.c - the SigLIP tower (Zhai et al.: "Sigmoid loss for language image pre-training", 2023) and Gemma3's projector,
 * forward. Pictures have one size; places are learned; every block looks over the whole picture, in raster order. */
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

/* to (cols, rows) = from (rows, cols), elements of `size` bytes. */
static void transpose(char *to, const char *from, size_t rows, size_t cols, size_t size)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            memcpy(to + (col * rows + row) * size, from + (row * cols + col) * size, size);
}

/* The matrix is stored (in, out), unlike all others. */
static int projector_load(struct vision_loader *l, struct merger *m)
{
    int d = m->config.d, out = m->config.out_d;
    const struct tensor *t;
    if (vision_load_norm(l, &m->norm, -1, "mm_soft_emb_norm", d, false) ||
        !(t = vision_need(l, -1, "mm_input_projection_weight", d, out)))
        return -1;
    m->out.w = l->k->matrix_create(l->dev, t->dtype, out, d, l->err);
    if (!m->out.w)
        return fail_in(l->err, "tensor %s", l->name);
    char *stored = mem_new(t->bytes, 1), *turned = mem_new(t->bytes, 1);
    int rc = safetensors_read(l->st, t, 0, d, 0, out, stored, l->err);
    if (!rc) {
        transpose(turned, stored, (size_t)d, (size_t)out, dtype_size(t->dtype));
        l->k->matrix_write(l->dev, m->out.w, 0, out, turned);
    }
    free(stored);
    free(turned);
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

/* ---- averages ---- */

/* index (n): rows of the raster, those of one token beside each other. */
static void order_make(int32_t *index, const struct vision_states *states, int merge)
{
    int columns = states->grid_w / merge, group = merge * merge, tokens = states->grid_h / merge * columns;
    for (int token = 0; token < tokens; token++)
        for (int i = 0; i < group; i++)
            *index++ = (token / columns * merge + i / merge) * states->grid_w + token % columns * merge + i % merge;
}

/* States averaged over the merge x merge patches of each token, to `pooled` (tokens, d) device memory. */
static int pool(const struct vision_config *v, const struct kernels *k, struct device *dev, const struct vision_states *states,
                float *pooled, struct error *err)
{
    int n = states->grid_h * states->grid_w, d = v->d, group = v->merge * v->merge;
    size_t count = (size_t)n;
    float *sorted = k->alloc(dev, count * (size_t)d * sizeof *sorted);
    int32_t *index = k->alloc(dev, count * sizeof *index), *host = mem_new(count, sizeof *host);
    int rc = sorted && index ? 0 : fail(err, "no memory on the device for a picture of %d patches", n);
    if (!rc) {
        order_make(host, states, v->merge);
        k->upload(dev, index, host, count * sizeof *index);
        k->gather(dev, sorted, states->rows, index, n, d);
        k->mean(dev, pooled, sorted, n / group, group, d);
    }
    k->free(dev, sorted);
    k->free(dev, index);
    free(host);
    return rc;
}

static int rows_make(struct tower *t, const struct vision_states *states, float *rows, struct error *err)
{
    const struct vision_config *v = &t->config;
    size_t bytes = (size_t)(states->grid_h * states->grid_w / (v->merge * v->merge)) * (size_t)v->d * sizeof *rows;
    float *pooled = t->k->alloc(t->dev, bytes);
    int rc = pooled ? pool(v, t->k, t->dev, states, pooled, err) : fail(err, "no memory on the device for %zu bytes", bytes);
    if (!rc)
        t->k->download(t->dev, rows, pooled, bytes);
    t->k->free(t->dev, pooled);
    return rc;
}

/* ---- the projector ---- */

/* features = out(norm(pooled)) */
static int project(struct merger *m, const struct vision_states *states, float *features, struct error *err)
{
    int tokens = states->grid_h * states->grid_w / (m->config.merge * m->config.merge), d = m->config.d;
    size_t out = (size_t)tokens * (size_t)m->config.out_d;
    float *pooled = m->k->alloc(m->dev, (size_t)tokens * (size_t)d * sizeof *pooled), *y = m->k->alloc(m->dev, out * sizeof *y);
    int rc = pooled && y ? 0 : fail(err, "no memory on the device for a picture of %d tokens", tokens);
    if (!rc)
        rc = pool(&m->config, m->k, m->dev, states, pooled, err);
    if (!rc) {
        m->k->rms_norm(m->dev, pooled, pooled, tokens, d, d, m->norm.w, 1, m->config.norm_eps);
        m->k->linear(m->dev, y, pooled, (struct rows){tokens, 0}, m->out.w, NULL);
        m->k->download(m->dev, features, y, out * sizeof *features);
    }
    m->k->free(m->dev, pooled);
    m->k->free(m->dev, y);
    return rc;
}

static const char *const parts[] = {"embeddings.", "encoder.", "post_layernorm.", NULL};

const struct projector_form projector_form_siglip = {
    .norm_offset = 1,
    .norm = "mm_soft_emb_norm.weight",
    .last = "mm_input_projection_weight",
    .last_turned = true,
};

const struct tower_kind tower_kind_siglip = {
    .tower_probe = "embeddings.patch_embedding.weight",
    .projector_probe = "mm_input_projection_weight",
    .block = "encoder.layers.",
    .parts = parts,
    .load = tower_load,
    .check = check,
    .run = run,
    .averaged = true,
    .rows = rows_make,
    .projector_load = projector_load,
    .project = project,
};
