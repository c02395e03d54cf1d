/* merger.c - a projector of any kind, from a checkpoint to the device and over one picture */
#include <stdlib.h>

#include "base/memory.h"
#include "model/family.h"
#include "model/vision_parts.h"

struct merger {
    struct model_config config;
    struct projector projector;
    const struct kernels *k;
    struct device *dev;
    struct matrix *matrices[PROJECTOR_PARTS]; /* NULL: a vector, or no such part */
    float *vectors[PROJECTOR_PARTS];
};

/* ---- opening ---- */

static int part_load(struct vision_loader *l, struct merger *m, enum projector_part part)
{
    int rows, cols;
    const char *name = m->projector.form->names[part];
    projector_shape(&m->projector, part, &rows, &cols);
    if (rows == 0)
        return vision_load_vector(l, &m->vectors[part], -1, name, cols);
    if (part == PART_SECOND && m->projector.form->turned)
        return vision_load_turned(l, &m->matrices[part], name, cols, rows);
    return vision_load_matrix(l, &m->matrices[part], -1, &name, 1, rows, cols);
}

int merger_open(struct merger **merger, struct safetensors *st, const struct model_config *config, const struct kernels *k,
                struct device *dev, struct error *err)
{
    static const char *const whole_names[] = {"", NULL};
    if (!config->has_vision)
        return fail(err, "%s has no vision tower: it is a text model", config->name);
    struct merger *m = mem_new(1, sizeof *m);
    *m = (struct merger){.config = *config, .projector = projector_of(config), .k = k, .dev = dev};
    const struct projector_form *form = m->projector.form;
    struct vision_loader l = {.st = st, .k = k, .dev = dev, .block = "", .err = err};
    l.prefix = vision_find_prefix(st, form->of_family ? config->family->projector_prefixes : whole_names, form->names[PART_SECOND]);
    int rc = 0;
    for (enum projector_part part = 0; part < PROJECTOR_PARTS && !rc; part++)
        if (projector_has(&m->projector, part))
            rc = part_load(&l, m, part);
    if (rc) {
        merger_close(m);
        return config->projector == PROJECTOR_MLP ? fail_in(err, "projector")
                                                  : fail_in(err, "projector of kind %s", projector_kind_names[config->projector]);
    }
    *merger = m;
    return 0;
}

void merger_close(struct merger *m)
{
    if (!m)
        return;
    for (enum projector_part part = 0; part < PROJECTOR_PARTS; part++) {
        if (m->matrices[part])
            m->k->matrix_destroy(m->dev, m->matrices[part]);
        m->k->free(m->dev, m->vectors[part]);
    }
    free(m);
}

/* ---- one picture ---- */

static void product(void *of, float *y, const float *x, int n, enum projector_part part)
{
    const struct merger *m = of;
    const float *bias = part == PART_KEYS ? NULL : m->vectors[part + 1];
    m->k->linear(m->dev, y, x, (struct rows){n, 0}, m->matrices[part], bias);
}

static void queries(void *of, float *y, const int32_t *index, int n)
{
    const struct merger *m = of;
    m->k->embed(m->dev, y, index, n, m->matrices[PART_QUERIES], 0);
}

/* A block being cut, or NULL: it is only measured. */
struct room {
    char *block;
    size_t at;
};

static void *room_cut(struct room *room, size_t rows, size_t width)
{
    void *p = room->block ? room->block + room->at : NULL;
    room->at += (rows * width * 4 + 63) / 64 * 64;
    return p;
}

static void pass_lay(struct projector_work *work, struct room *room, const struct projector *p)
{
    size_t cells = (size_t)work->cells;
    work->from = work->normed = room_cut(room, cells, (size_t)(p->merge * p->width));
    work->inner = work->active = room_cut(room, cells, (size_t)projector_inner(p));
    work->out = room_cut(room, (size_t)work->tokens, (size_t)p->d);
}

static void resampler_lay(struct projector_work *work, struct room *room, const struct projector *p)
{
    size_t tokens = (size_t)work->tokens, cells = (size_t)work->cells, rows = tokens + cells, d = (size_t)p->d;
    float **all[] = {&work->query, &work->key, &work->value, &work->seen};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = room_cut(room, rows, d);
    work->chosen = room_cut(room, tokens, d);
    work->cross = (struct projector_cross){room_cut(room, tokens, 1), room_cut(room, tokens, 1), room_cut(room, cells, 1),
                                           room_cut(room, rows, 1), room_cut(room, rows, 1)};
}

/* Memory of a pass on the device, in two pieces: every kind's, and a resampler's, whose rows are zeros and whose columns are
 * filled in. Both are the caller's to free, after an error, too. */
static int work_make(const struct merger *m, struct projector_work *work, struct room *pass, struct room *resampler)
{
    const struct projector *p = &m->projector;
    struct projector_work host = *work;
    pass_lay(work, pass, p);
    if (p->queries)
        resampler_lay(work, resampler, p);
    pass->block = m->k->alloc(m->dev, pass->at);
    resampler->block = p->queries ? m->k->alloc(m->dev, resampler->at) : NULL;
    if (!pass->block || (p->queries && !resampler->block))
        return -1;
    pass->at = 0;
    pass_lay(work, pass, p);
    if (!p->queries)
        return 0;
    struct room filled = {.block = mem_new(resampler->at, 1)};
    resampler->at = 0;
    resampler_lay(work, resampler, p);
    resampler_lay(&host, &filled, p);
    projector_cross_picture(&host.cross, work->tokens, work->cells, 0, 0, 0);
    m->k->upload(m->dev, resampler->block, filled.block, filled.at);
    free(filled.block);
    return 0;
}

int merger_run(struct merger *m, const struct vision_states *states, float *features, struct error *err)
{
    const struct projector *p = &m->projector;
    const struct vision_reader reader = {&m->config, m->k, m->dev};
    const struct projector_weights weights = {m, product, queries, m->vectors[PART_NORM]};
    int merge = m->config.vision.merge, cells = states->grid_h * states->grid_w / (merge * merge);
    struct projector_work work = {.cells = cells, .tokens = p->queries ? p->queries : cells};
    struct room pass = {0}, resampler = {0};
    int rc = work_make(m, &work, &pass, &resampler);
    if (rc)
        fail(err, "no memory on the device for a picture of %d tokens", cells);
    if (!rc)
        rc = vision_cells(&reader, states, work.normed, err);
    if (!rc) {
        projector_forward(p, &weights, &work, m->k, m->dev);
        m->k->download(m->dev, features, work.out, (size_t)work.tokens * (size_t)p->d * sizeof *features);
    }
    m->k->free(m->dev, pass.block);
    m->k->free(m->dev, resampler.block);
    return rc;
}
