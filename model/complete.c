/* complete.c - a checkpoint is whole if it can be opened: that is tried on a device that keeps nothing, from files whose data is
 * not read. So there is one list of what a model consists of: what its loaders ask for. */
#include "model/complete.h"

#include <stdlib.h>

#include "base/memory.h"
#include "model/vision.h"
#include "model/weights.h"

static void *none_alloc(struct device *dev, size_t bytes)
{
    (void)dev, (void)bytes;
    return mem_new(1, 1);
}

static void none_free(struct device *dev, void *p)
{
    (void)dev;
    free(p);
}

static void none_upload(struct device *dev, void *dst, const void *host, size_t bytes)
{
    (void)dev, (void)dst, (void)host, (void)bytes;
}

static struct matrix *none_create(struct device *dev, enum dtype dtype, int rows, int cols, struct error *err)
{
    (void)dtype, (void)rows, (void)cols, (void)err;
    return none_alloc(dev, 0);
}

static void none_write(struct device *dev, struct matrix *m, int row, int n, const void *host)
{
    (void)dev, (void)m, (void)row, (void)n, (void)host;
}

static void none_destroy(struct device *dev, struct matrix *m)
{
    none_free(dev, m);
}

static const struct kernels none = {
    .name = "none",
    .alloc = none_alloc,
    .free = none_free,
    .upload = none_upload,
    .matrix_create = none_create,
    .matrix_write = none_write,
    .matrix_destroy = none_destroy,
};

static int vision_complete(struct safetensors *st, const struct model_config *config, struct error *err)
{
    struct tower *tower = NULL;
    struct merger *merger = NULL;
    int status = tower_open(&tower, st, config, &none, NULL, err) || merger_open(&merger, st, config, &none, NULL, err) ? -1 : 0;
    merger_close(merger);
    tower_close(tower);
    return status;
}

static int language_complete(struct safetensors *st, const struct model_config *config, struct error *err)
{
    const struct weights_source source = {.st = st};
    struct weights weights = {0};
    struct shard whole;
    int status =
        shard_plan(&whole, config, 0, 1, err) || weights_load(&weights, &source, config, &whole, &none, NULL, err) ? -1 : 0;
    weights_free(&weights);
    return status;
}

int checkpoint_complete(struct safetensors *st, const struct model_config *config, struct error *err)
{
    safetensors_skip_data(st, true);
    int status = language_complete(st, config, err) || (config->has_vision && vision_complete(st, config, err)) ? -1 : 0;
    safetensors_skip_data(st, false);
    return status;
}
