/* weights.c - the loading of one rank's weights; only the slices of its shard are read, through one small buffer */
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "model/family.h"

enum {
    BOUNCE = 2 << 20,      /* bytes read at once */
    RANDOM_SHIFT = 1 << 16 /* bytes by which random pieces differ */
};

struct loader {
    struct weights *w;
    const struct weights_source *source;
    const struct model_config *c;
    const struct shard *s;
    const char *prefix; /* of the language model's names */
    char *bounce;       /* BOUNCE + RANDOM_SHIFT bytes, or what one row needs if that is more */
    size_t bounce_bytes;
    unsigned pieces; /* random pieces written */
    struct error *err;
};

/* A tensor, or the part of it that goes to one place. */
struct piece {
    const char *name;
    int64_t rows, cols; /* of the whole tensor */
    int row, n;         /* the rows wanted */
    int col, n_cols;    /* the columns wanted */
};

static const struct tensor *piece_find(struct loader *l, const struct piece *p)
{
    return safetensors_need(l->source->st, p->name, p->rows, p->cols, l->err);
}

/* The dtype of the matrix that will hold p. */
static int piece_dtype(struct loader *l, const struct piece *p, enum dtype *dtype)
{
    *dtype = l->source->fill_dtype;
    if (!l->source->st)
        return 0;
    const struct tensor *t = piece_find(l, p);
    if (t)
        *dtype = t->dtype;
    return t ? 0 : -1;
}

/* Numbers of a mean square near 1 / 50^2, as initial weights have; random pieces begin at different places of one block. */
static void random_fill(struct loader *l)
{
    enum dtype dtype = l->source->fill_dtype;
    size_t count = l->bounce_bytes / dtype_size(dtype);
    uint32_t bits[4] = {0};
    for (size_t i = 0; i < count; i++) {
        if (i % 4 == 0)
            random_bits(bits, 1, 0, i / 4);
        float x = (random_unit(bits[i % 4]) - 0.5f) * 0.07f;
        if (dtype == DTYPE_F32)
            memcpy(l->bounce + i * 4, &x, 4);
        else { /* f16: sign, exponents 2^-9 to 2^-6, random mantissa */
            uint16_t half =
                dtype == DTYPE_BF16 ? bf16_from_f32(x) : (uint16_t)((bits[i % 4] & 0x83ff) | (6 + (bits[i % 4] >> 16 & 3)) << 10);
            memcpy(l->bounce + i * 2, &half, 2);
        }
    }
}

/* Writes p to rows [at, at + p->n) of m. */
static int piece_write(struct loader *l, struct matrix *m, enum dtype dtype, int at, const struct piece *p)
{
    const struct tensor *t = l->source->st ? piece_find(l, p) : NULL;
    size_t row_bytes = (size_t)p->n_cols * dtype_size(dtype);
    int step = BOUNCE / row_bytes ? (int)(BOUNCE / row_bytes) : 1;
    if (l->source->st && !t)
        return -1;
    if (t && t->dtype != dtype)
        return fail(l->err, "tensor %s: dtype %s must be that of its neighbours, %s", p->name, dtype_name(t->dtype),
                    dtype_name(dtype));
    for (int done = 0; done < p->n; done += step) {
        int n = p->n - done < step ? p->n - done : step;
        const char *from = l->bounce;
        if (t && safetensors_read(l->source->st, t, p->row + done, n, p->col, p->n_cols, l->bounce, l->err))
            return -1;
        if (!t)
            from += l->pieces++ * 64 % RANDOM_SHIFT;
        l->w->k->matrix_write(l->w->dev, m, at + done, n, from);
    }
    return 0;
}

/* One matrix of the rows of n pieces, below each other. */
static int matrix_load(struct loader *l, struct matrix **out, const struct piece *pieces, int n)
{
    enum dtype dtype;
    int rows = 0, at = 0;
    if (piece_dtype(l, pieces, &dtype))
        return -1;
    for (int i = 0; i < n; i++)
        rows += pieces[i].n;
    *out = l->w->k->matrix_create(l->w->dev, dtype, rows, pieces->n_cols, l->err);
    if (!*out)
        return fail_in(l->err, "tensor %s", pieces->name);
    for (int i = 0; i < n; i++) {
        if (piece_write(l, *out, dtype, at, &pieces[i]))
            return -1;
        at += pieces[i].n;
    }
    return 0;
}

/* Part of a vector as f32; random weights take `constant`. */
static int vector_part(struct loader *l, float *to, const char *name, int whole, int first, int n, float constant)
{
    const struct tensor *t = NULL;
    if (l->source->st) {
        t = safetensors_need(l->source->st, name, 1, whole, l->err);
        if (!t || safetensors_read(l->source->st, t, 0, 1, first, n, l->bounce, l->err))
            return -1;
        dtype_to_f32(to, l->bounce, t->dtype, (size_t)n);
    }
    for (int i = 0; !t && i < n; i++)
        to[i] = constant;
    return 0;
}

static int vector_upload(struct loader *l, float **out, const float *from, int n)
{
    *out = l->w->k->alloc(l->w->dev, (size_t)n * sizeof **out);
    if (!*out)
        return fail(l->err, "no memory on the device for a vector of %d numbers", n);
    l->w->k->upload(l->w->dev, *out, from, (size_t)n * sizeof **out);
    return 0;
}

static int norm_load(struct loader *l, float **out, const char *name, int n)
{
    float *host = mem_new((size_t)n, sizeof *host);
    int status = vector_part(l, host, name, n, 0, n, 1 - l->c->family->norm_offset);
    if (!status)
        status = vector_upload(l, out, host, n);
    free(host);
    return status;
}

static const char *name_make(char name[256], const struct loader *l, int layer, const char *rest)
{
    snprintf(name, 256, "%slayers.%d.%s", l->prefix, layer, rest);
    return name;
}

static int qkv_load(struct loader *l, struct layer_weights *w, int i)
{
    const struct model_config *c = l->c;
    const struct shard *s = l->s;
    const struct {
        const char *letter;
        int heads, first, n;
    } part[] = {{"q", c->h, s->first_h, s->h}, {"k", c->g, s->first_g, s->g}, {"v", c->g, s->first_g, s->g}};
    struct piece pieces[3];
    char names[3][256], rest[64];
    int width = (s->h + 2 * s->g) * c->c, at = 0, status;
    float *bias = mem_new((size_t)width, sizeof *bias);
    for (int j = 0; j < 3; j++) {
        snprintf(rest, sizeof rest, "self_attn.%s_proj.weight", part[j].letter);
        pieces[j] = (struct piece){
            name_make(names[j], l, i, rest), (int64_t)part[j].heads * c->c, c->d, part[j].first * c->c, part[j].n * c->c, 0, c->d};
    }
    status = matrix_load(l, &w->qkv, pieces, 3);
    for (int j = 0; j < 3 && c->family->qkv_bias && !status; j++) {
        snprintf(rest, sizeof rest, "self_attn.%s_proj.bias", part[j].letter);
        status = vector_part(l, bias + at, name_make(names[0], l, i, rest), part[j].heads * c->c, part[j].first * c->c,
                             part[j].n * c->c, 0.01f);
        at += part[j].n * c->c;
    }
    if (!status && c->family->qkv_bias)
        status = vector_upload(l, &w->qkv_bias, bias, width);
    free(bias);
    return status;
}

/* Those that the family has. */
static int norms_load(struct loader *l, struct layer_weights *w, int i)
{
    const struct family *f = l->c->family;
    const char *const q = f->qk_norm ? "self_attn.q_norm" : NULL, *const k = f->qk_norm ? "self_attn.k_norm" : NULL;
    const struct {
        const char *name;
        float **out;
        int n;
    } norms[] = {{f->attention_norm, &w->attention_norm, l->c->d},
                 {f->attention_after, &w->attention_after, l->c->d},
                 {f->mlp_norm, &w->mlp_norm, l->c->d},
                 {f->mlp_after, &w->mlp_after, l->c->d},
                 {q, &w->q_norm, l->c->c},
                 {k, &w->k_norm, l->c->c}};
    for (size_t j = 0; j < sizeof norms / sizeof *norms; j++) {
        char rest[64], name[256];
        snprintf(rest, sizeof rest, "%s.weight", norms[j].name ? norms[j].name : "");
        if (norms[j].name && norm_load(l, norms[j].out, name_make(name, l, i, rest), norms[j].n))
            return -1;
    }
    return 0;
}

static int layer_load(struct loader *l, int i)
{
    const struct model_config *c = l->c;
    const struct shard *s = l->s;
    struct layer_weights *w = &l->w->layers[i];
    char a[256], b[256], down[256], o[256];
    const struct piece gate_up[] = {
        {name_make(a, l, i, "mlp.gate_proj.weight"), c->ff, c->d, s->first_ff, s->ff, 0, c->d},
        {name_make(b, l, i, "mlp.up_proj.weight"), c->ff, c->d, s->first_ff, s->ff, 0, c->d},
    };
    const struct piece down_part = {name_make(down, l, i, "mlp.down_proj.weight"), c->d, c->ff, 0, c->d, s->first_ff, s->ff};
    const struct piece o_part = {
        name_make(o, l, i, "self_attn.o_proj.weight"), c->d, (int64_t)c->h * c->c, 0, c->d, s->first_h * c->c, s->h * c->c};
    if (qkv_load(l, w, i) || matrix_load(l, &w->o, &o_part, 1) || matrix_load(l, &w->gate_up, gate_up, 2) ||
        matrix_load(l, &w->down, &down_part, 1))
        return -1;
    return norms_load(l, w, i);
}

static int table_load(struct loader *l, struct matrix **out, const char *name)
{
    const struct piece rows = {name, l->c->vocabulary, l->c->d, l->s->first_row, l->s->rows, 0, l->c->d};
    return matrix_load(l, out, &rows, 1);
}

/* The name of the head that the checkpoint has, or NULL. */
static const char *head_find(const struct loader *l)
{
    for (const char *const *name = l->c->family->head_names; l->source->st && *name; name++)
        if (safetensors_find(l->source->st, *name))
            return *name;
    return NULL;
}

/* Whether the embedding table is the head: a tied model's, unless its files hold another head, which then counts (as in
 * transformers). */
static int head_is_table(struct loader *l, const char *table, const char *head, bool *same)
{
    uint64_t ours[2], theirs[2];
    *same = l->c->tied;
    if (!l->c->tied || !head)
        return 0;
    if (safetensors_hash(l->source->st, table, 1, ours, l->err) || safetensors_hash(l->source->st, head, 1, theirs, l->err))
        return -1;
    *same = !memcmp(ours, theirs, sizeof ours);
    return 0;
}

/* The embedding table, the head if it is not the same, and the norm before it. */
static int ends_load(struct loader *l)
{
    struct weights *w = l->w;
    char name[256];
    const char *head = head_find(l);
    bool same;
    snprintf(name, sizeof name, "%sembed_tokens.weight", l->prefix);
    const struct piece table = {name, l->c->vocabulary, l->c->d, 0, 0, 0, 0};
    if (piece_dtype(l, &table, &w->embed_dtype) || table_load(l, &w->embed, name) || head_is_table(l, name, head, &same))
        return -1;
    if (same)
        w->head = w->embed;
    else if (table_load(l, &w->head, head ? head : l->c->family->head_names[0]))
        return l->c->tied ? -1 : fail_in(l->err, "the head of an untied model");
    snprintf(name, sizeof name, "%snorm.weight", l->prefix);
    return norm_load(l, &w->norm, name, l->c->d);
}

/* The first prefix under which the checkpoint has the embedding table; without any, the first of all, for the error's sake. */
static const char *prefix_find(const struct safetensors *st, const char *const *prefixes)
{
    for (const char *const *p = prefixes; st && *p; p++) {
        char name[256];
        snprintf(name, sizeof name, "%sembed_tokens.weight", *p);
        if (safetensors_find(st, name))
            return *p;
    }
    return prefixes[0];
}

int weights_load(struct weights *w, const struct weights_source *source, const struct model_config *config,
                 const struct shard *shard, const struct kernels *k, struct device *dev, struct error *err)
{
    struct loader l = {.w = w, .source = source, .c = config, .s = shard, .err = err};
    size_t widest = (size_t)(config->d > config->ff ? config->d : config->ff) * sizeof(float); /* a row, or a vector */
    if (widest < (size_t)config->h * (size_t)config->c * sizeof(float))
        widest = (size_t)config->h * (size_t)config->c * sizeof(float);
    *w = (struct weights){.k = k, .dev = dev, .n_layers = config->layers};
    w->layers = mem_new((size_t)config->layers, sizeof *w->layers);
    l.prefix = prefix_find(source->st, config->family->language_prefixes);
    l.bounce_bytes = (widest > BOUNCE ? widest : BOUNCE) + RANDOM_SHIFT;
    l.bounce = mem_new(l.bounce_bytes, 1);
    if (!source->st)
        random_fill(&l);
    int status = ends_load(&l);
    for (int i = 0; i < config->layers && !status; i++)
        status = layer_load(&l, i);
    free(l.bounce);
    return status ? fail_in(err, "weights of %s", config->name) : 0;
}

static void matrix_free(struct weights *w, struct matrix *m)
{
    if (m)
        w->k->matrix_destroy(w->dev, m);
}

void weights_free(struct weights *w)
{
    if (!w->k)
        return;
    for (int i = 0; i < w->n_layers; i++) {
        struct layer_weights *l = &w->layers[i];
        struct matrix *matrices[] = {l->qkv, l->o, l->gate_up, l->down};
        float *vectors[] = {l->attention_norm, l->mlp_norm, l->attention_after, l->mlp_after, l->qkv_bias, l->q_norm, l->k_norm};
        for (int j = 0; j < 4; j++)
            matrix_free(w, matrices[j]);
        for (size_t j = 0; j < sizeof vectors / sizeof *vectors; j++)
            w->k->free(w->dev, vectors[j]);
    }
    if (w->head != w->embed)
        matrix_free(w, w->head);
    matrix_free(w, w->embed);
    w->k->free(w->dev, w->norm);
    free(w->layers);
}
