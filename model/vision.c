/* vision.c - vision towers of every kind: opening, running over one picture, the tower's hash. Activations live for one picture. */
#include "model/vision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/vision_parts.h"

/* ---- opening ---- */

static int check_vision(const struct model_config *config, struct error *err)
{
    return config->has_vision ? 0 : fail(err, "%s has no vision tower: it is a text model", config->name);
}

int tower_open(struct tower **tower, struct safetensors *st, const struct model_config *config, const struct kernels *k,
               struct device *dev, struct error *err)
{
    if (check_vision(config, err))
        return -1;
    const struct tower_kind *kind = config->family->tower;
    struct vision_loader l = {.st = st, .k = k, .dev = dev, .block = kind->block, .err = err};
    struct tower *t = mem_new(1, sizeof *t);
    l.prefix = vision_find_prefix(st, config->family->vision_prefixes, kind->tower_probe);
    *t = (struct tower){.config = config->vision, .kind = kind, .k = k, .dev = dev, .chunk = VISION_CHUNK};
    t->n_places = config->picture.side / t->config.patch * (config->picture.side / t->config.patch);
    t->blocks = mem_new((size_t)t->config.depth, sizeof *t->blocks);
    if (kind->load(&l, t)) {
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

static void free_norm(const struct kernels *k, struct device *dev, struct vision_norm *norm)
{
    k->free(dev, norm->w);
    k->free(dev, norm->b);
}

void tower_close(struct tower *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->config.depth; i++) {
        struct tower_block *b = &t->blocks[i];
        struct vision_layer *layers[] = {&b->qkv, &b->proj, &b->up, &b->down};
        free_norm(t->k, t->dev, &b->norm1);
        free_norm(t->k, t->dev, &b->norm2);
        for (size_t j = 0; j < sizeof layers / sizeof *layers; j++)
            free_layer(t->k, t->dev, layers[j]);
    }
    free_layer(t->k, t->dev, &t->patch);
    free_norm(t->k, t->dev, &t->after);
    t->k->free(t->dev, t->places);
    free(t->blocks);
    free(t);
}

/* Everything that decides what the tower makes of patches: its tensors and its shape, but not the width of what follows it. */
int tower_hash(struct safetensors *st, const struct model_config *config, uint64_t hash[2], struct error *err)
{
    char prefix[256];
    if (check_vision(config, err))
        return -1;
    const struct family *family = config->family;
    struct vision_config shape = config->vision;
    shape.out_d = 0;
    XXH128_hash_t all = XXH3_128bits(&shape, sizeof shape);
    for (const char *const *part = family->tower->parts; *part; part++) {
        uint64_t tensors[2];
        snprintf(prefix, sizeof prefix, "%s%s", vision_find_prefix(st, family->vision_prefixes, family->tower->tower_probe), *part);
        if (safetensors_hash(st, prefix, 1, tensors, err))
            return fail_in(err, "vision tower");
        const uint64_t both[] = {all.low64, all.high64, tensors[0], tensors[1]};
        all = XXH3_128bits(both, sizeof both);
    }
    hash[0] = all.low64;
    hash[1] = all.high64;
    return 0;
}

char *tower_published(const struct safetensors *st, const struct model_config *config, const char *name)
{
    const struct family *family = config->family;
    const char *prefix = vision_find_prefix(st, family->vision_prefixes, family->tower->tower_probe);
    size_t size = strlen(prefix);
    for (const char *const *part = family->tower->parts; *part && !strncmp(name, prefix, size); part++)
        if (!strncmp(name + size, *part, strlen(*part)))
            return mem_format("%s%s", family->vision_prefixes[0], name + size);
    return NULL;
}

/* ---- one picture ---- */

void *vision_take(struct vision_run *r, size_t count)
{
    void *p = r->t->k->alloc(r->t->dev, count * 4);
    if (p)
        r->taken[r->n_taken++] = p;
    return p;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What every kind needs; the ranges say that each row sees all. */
static int run_begin(struct vision_run *r, int patch_width, struct error *err)
{
    const struct vision_config *v = &r->t->config;
    size_t n = (size_t)r->n, chunk = (size_t)r->chunk, d = (size_t)v->d, ff = (size_t)v->ff;
    r->x = vision_take(r, n * d);
    r->y = vision_take(r, n * d);
    r->wide = vision_take(r, larger(larger(n * 3 * d, chunk * 2 * ff), chunk * (size_t)patch_width));
    r->narrow = vision_take(r, larger(n * d, chunk * ff));
    r->first_all = vision_take(r, n);
    r->last_all = vision_take(r, n);
    if (!r->x || !r->y || !r->wide || !r->narrow || !r->first_all || !r->last_all)
        return fail(err, "no memory on the device for a picture of %d patches", r->n);
    int32_t *host = mem_new(n, sizeof *host);
    r->t->k->upload(r->t->dev, r->first_all, host, n * sizeof *host);
    for (size_t i = 0; i < n; i++)
        host[i] = r->n;
    r->t->k->upload(r->t->dev, r->last_all, host, n * sizeof *host);
    free(host);
    return 0;
}

void vision_embed(struct vision_run *r, float *y, const struct patches *patches)
{
    size_t d = (size_t)r->t->config.d, width = (size_t)patches->width;
    for (int at = 0; at < r->n; at += r->chunk) {
        int n = r->n - at < r->chunk ? r->n - at : r->chunk;
        r->t->k->upload(r->t->dev, r->wide, patches->rows + (size_t)at * width, (size_t)n * width * sizeof(float));
        r->t->k->linear(r->t->dev, y + (size_t)at * d, r->wide, (struct rows){n, 0}, r->t->patch.w, r->t->patch.b);
    }
}

static int check_patches(const struct tower *t, const struct patches *p, struct error *err)
{
    int width = vision_patch_width(&t->config);
    if (p->width != width)
        return fail(err, "the patches have %d numbers each, the vision tower reads %d", p->width, width);
    if (t->kind->check(t, p, err))
        return -1;
    if ((int64_t)p->grid_h * p->grid_w > INT32_MAX / (3 * (int64_t)t->config.d))
        return fail(err, "a picture of %d x %d patches is too large for the vision tower", p->grid_h, p->grid_w);
    return 0;
}

int tower_run(struct tower *t, const struct patches *patches, struct vision_states *states, struct error *err)
{
    if (check_patches(t, patches, err))
        return -1;
    struct vision_run r = {.t = t, .n = patches->grid_h * patches->grid_w};
    int32_t *window_index = NULL;
    r.chunk = r.n < t->chunk ? r.n : t->chunk;
    int rc = run_begin(&r, patches->width, err) || t->kind->run(&r, patches, &window_index, err) ? -1 : 0;
    if (!rc)
        *states = (struct vision_states){patches->grid_h, patches->grid_w, r.x, window_index};
    else
        free(window_index);
    for (int i = 0; i < r.n_taken; i++)
        if (rc || r.taken[i] != r.x)
            t->k->free(t->dev, r.taken[i]);
    return rc;
}

void vision_states_free(struct tower *t, struct vision_states *states)
{
    if (states->rows)
        t->k->free(t->dev, states->rows);
    free(states->window_index);
    memset(states, 0, sizeof *states);
}

/* ---- cells ---- */

int vision_joined(const struct model_config *config)
{
    return config->family->tower->averaged ? 1 : config->vision.merge * config->vision.merge;
}

int vision_cells(const struct vision_reader *reader, const struct vision_states *states, float *cells, struct error *err)
{
    return reader->config->family->tower->cells(reader, states, cells, err);
}
