/* vision_weights.c - the weights of tower and merger: from the checkpoint to the device, piece by piece; and the tower's hash */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/vision_parts.h"

enum { PIECE = 2 << 20 }; /* bytes read at once */

struct loader {
    struct safetensors *st;
    const struct kernels *k;
    struct device *dev;
    const char *prefix;
    struct error *err;
    char name[256]; /* of the tensor at hand */
};

/* The prefix under which the checkpoint has its tower; the family's first one where it has none, so that errors name that. */
static const char *find_prefix(struct safetensors *st, const struct family *family)
{
    char name[256];
    for (const char *const *prefix = family->vision_prefixes; *prefix; prefix++) {
        snprintf(name, sizeof name, "%spatch_embed.proj.weight", *prefix);
        if (safetensors_find(st, name))
            return *prefix;
    }
    return family->vision_prefixes[0];
}

/* Tensor prefix + block + rest, where it must have this shape. block < 0: none. */
static const struct tensor *need(struct loader *l, int block, const char *rest, int64_t rows, int64_t cols)
{
    if (block < 0)
        snprintf(l->name, sizeof l->name, "%s%s", l->prefix, rest);
    else
        snprintf(l->name, sizeof l->name, "%sblocks.%d.%s", l->prefix, block, rest);
    return safetensors_need(l->st, l->name, rows, cols, l->err);
}

/* A vector of n numbers to f32 memory of the device, from *to on. */
static int load_vector_at(struct loader *l, float *to, int block, const char *rest, int n)
{
    const struct tensor *t = need(l, block, rest, 1, n);
    if (!t)
        return -1;
    char *stored = mem_new(t->bytes, 1);
    float *host = mem_new((size_t)n, sizeof *host);
    int rc = safetensors_read(l->st, t, 0, 1, 0, n, stored, l->err);
    if (!rc) {
        dtype_to_f32(host, stored, t->dtype, (size_t)n);
        l->k->upload(l->dev, to, host, (size_t)n * sizeof *host);
    }
    free(host);
    free(stored);
    return rc;
}

static int vector_create(struct loader *l, float **vector, int n)
{
    *vector = l->k->alloc(l->dev, (size_t)n * sizeof **vector);
    return *vector ? 0 : fail(l->err, "no memory on the device for the vision weights");
}

static int load_vector(struct loader *l, float **vector, int block, const char *rest, int n)
{
    return vector_create(l, vector, n) || load_vector_at(l, *vector, block, rest, n) ? -1 : 0;
}

/* All of tensor t (rows, cols) to rows [at, at + rows) of m. */
static int write_rows(struct loader *l, struct matrix *m, int at, const struct tensor *t, int rows, int cols)
{
    size_t row_bytes = (size_t)cols * dtype_size(t->dtype);
    int step = row_bytes < PIECE ? (int)(PIECE / row_bytes) : 1, rc = 0;
    char *piece = mem_new((size_t)step, row_bytes);
    for (int row = 0; row < rows && !rc; row += step) {
        int n = rows - row < step ? rows - row : step;
        rc = safetensors_read(l->st, t, row, n, 0, cols, piece, l->err);
        if (!rc)
            l->k->matrix_write(l->dev, m, at + row, n, piece);
    }
    free(piece);
    return rc;
}

/* One matrix of the rows of `count` tensors, each (rows, cols), below each other. */
static int load_matrix(struct loader *l, struct matrix **m, int block, const char *const *names, int count, int rows, int cols)
{
    enum dtype dtype = DTYPE_F32;
    for (int i = 0; i < count; i++) {
        const struct tensor *t = need(l, block, names[i], rows, cols);
        if (!t)
            return -1;
        if (i == 0) {
            dtype = t->dtype;
            *m = l->k->matrix_create(l->dev, dtype, count * rows, cols, l->err);
            if (!*m)
                return fail_in(l->err, "tensor %s", l->name);
        }
        if (t->dtype != dtype)
            return fail(l->err, "tensor %s is %s, but %s, which stands beside it, is %s", l->name, dtype_name(t->dtype), names[0],
                        dtype_name(dtype));
        if (write_rows(l, *m, i * rows, t, rows, cols))
            return -1;
    }
    return 0;
}

/* Weights and biases of `stem`s, below each other. */
static int load_layer(struct loader *l, struct vision_layer *layer, int block, const char *const *stems, int count, int rows,
                      int cols)
{
    char weights[2][64], bias[64];
    const char *names[2] = {weights[0], weights[1]};
    for (int i = 0; i < count; i++)
        snprintf(weights[i], sizeof weights[i], "%s.weight", stems[i]);
    if (load_matrix(l, &layer->w, block, names, count, rows, cols) || vector_create(l, &layer->b, count * rows))
        return -1;
    for (int i = 0; i < count; i++) {
        snprintf(bias, sizeof bias, "%s.bias", stems[i]);
        if (load_vector_at(l, layer->b + (size_t)i * (size_t)rows, block, bias, rows))
            return -1;
    }
    return 0;
}

static int load_block(struct loader *l, struct tower_block *b, int i, const struct vision_config *v)
{
    static const char *const qkv[] = {"attn.qkv"}, *const proj[] = {"attn.proj"}, *const down[] = {"mlp.down_proj"};
    static const char *const gate_up[] = {"mlp.gate_proj", "mlp.up_proj"};
    if (load_vector(l, &b->norm1, i, "norm1.weight", v->d) || load_vector(l, &b->norm2, i, "norm2.weight", v->d))
        return -1;
    return load_layer(l, &b->qkv, i, qkv, 1, 3 * v->d, v->d) || load_layer(l, &b->proj, i, proj, 1, v->d, v->d) ||
                   load_layer(l, &b->gate_up, i, gate_up, 2, v->ff, v->d) || load_layer(l, &b->down, i, down, 1, v->d, v->ff)
               ? -1
               : 0;
}

static int patch_width(const struct vision_config *v)
{
    return v->channels * v->temporal_patch * v->patch * v->patch;
}

static int check_vision(const struct model_config *config, struct error *err)
{
    return config->has_vision ? 0 : fail(err, "%s has no vision tower: it is a text model", config->name);
}

int tower_open(struct tower **tower, struct safetensors *st, const struct model_config *config, const struct kernels *k,
               struct device *dev, struct error *err)
{
    static const char *const patch_embed[] = {"patch_embed.proj.weight"};
    if (check_vision(config, err))
        return -1;
    struct loader l = {.st = st, .k = k, .dev = dev, .prefix = find_prefix(st, config->family), .err = err};
    struct tower *t = mem_new(1, sizeof *t);
    *t = (struct tower){.config = config->vision, .k = k, .dev = dev, .chunk = VISION_CHUNK};
    t->blocks = mem_new((size_t)t->config.depth, sizeof *t->blocks);
    int rc = load_matrix(&l, &t->patch_embed, -1, patch_embed, 1, t->config.d, patch_width(&t->config));
    for (int i = 0; i < t->config.depth && !rc; i++)
        rc = load_block(&l, &t->blocks[i], i, &t->config);
    if (rc) {
        tower_close(t);
        return fail_in(err, "vision tower");
    }
    *tower = t;
    return 0;
}

static void free_layer(const struct kernels *k, struct device *dev, struct vision_layer *layer)
{
    if (layer->w)
        k->matrix_destroy(dev, layer->w);
    k->free(dev, layer->b);
}

void tower_close(struct tower *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->config.depth; i++) {
        struct tower_block *b = &t->blocks[i];
        t->k->free(t->dev, b->norm1);
        t->k->free(t->dev, b->norm2);
        struct vision_layer *layers[] = {&b->qkv, &b->proj, &b->gate_up, &b->down};
        for (size_t j = 0; j < sizeof layers / sizeof *layers; j++)
            free_layer(t->k, t->dev, layers[j]);
    }
    if (t->patch_embed)
        t->k->matrix_destroy(t->dev, t->patch_embed);
    free(t->blocks);
    free(t);
}

int merger_open(struct merger **merger, struct safetensors *st, const struct model_config *config, const struct kernels *k,
                struct device *dev, struct error *err)
{
    static const char *const in[] = {"merger.mlp.0"}, *const out[] = {"merger.mlp.2"};
    if (check_vision(config, err))
        return -1;
    struct loader l = {.st = st, .k = k, .dev = dev, .prefix = find_prefix(st, config->family), .err = err};
    struct merger *m = mem_new(1, sizeof *m);
    *m = (struct merger){.config = config->vision, .k = k, .dev = dev};
    int wide = m->config.merge * m->config.merge * m->config.d;
    if (load_vector(&l, &m->norm, -1, "merger.ln_q.weight", m->config.d) || load_layer(&l, &m->in, -1, in, 1, wide, wide) ||
        load_layer(&l, &m->out, -1, out, 1, m->config.out_d, wide)) {
        merger_close(m);
        return fail_in(err, "merger");
    }
    *merger = m;
    return 0;
}

void merger_close(struct merger *m)
{
    if (!m)
        return;
    m->k->free(m->dev, m->norm);
    free_layer(m->k, m->dev, &m->in);
    free_layer(m->k, m->dev, &m->out);
    free(m);
}

/* Everything that decides what the tower makes of patches: its tensors and its shape, but not the width of what follows it. */
int tower_hash(struct safetensors *st, const struct model_config *config, uint64_t hash[2], struct error *err)
{
    static const char *const parts[] = {"patch_embed.", "blocks."};
    uint64_t all[2 * 2 + 2] = {0};
    char prefix[256];
    if (check_vision(config, err))
        return -1;
    for (size_t i = 0; i < 2; i++) {
        snprintf(prefix, sizeof prefix, "%s%s", find_prefix(st, config->family), parts[i]);
        if (safetensors_hash(st, prefix, 1, all + 2 * i, err))
            return fail_in(err, "vision tower");
    }
    struct vision_config shape = config->vision;
    shape.out_d = 0;
    XXH128_hash_t shape_hash = XXH3_128bits(&shape, sizeof shape);
    all[4] = shape_hash.low64;
    all[5] = shape_hash.high64;
    XXH128_hash_t whole = XXH3_128bits(all, sizeof all);
    hash[0] = whole.low64;
    hash[1] = whole.high64;
    return 0;
}
