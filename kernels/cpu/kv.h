/* kv.h - keys and values in pages.
 *
 * A page holds, for each layer and key head, keys transposed [c][key_stride] and values [position][value_stride], so that scores
 * have neighbouring keys in the lanes of a vector and sums of values neighbouring channels. */
#ifndef KERNELS_CPU_KV_H
#define KERNELS_CPU_KV_H

#include "kernels/cpu/device.h"

struct kv_cache {
    int layers, pages, page_positions, g, c;
    size_t key_stride, value_stride, head_floats; /* of one layer and key head of one page */
    float *data;                                  /* (pages, layers, g, head_floats), touched when written */
    size_t bytes;
};

struct kv_cache *kv_create(struct device *dev, int layers, int pages, int page_positions, int g, int c, struct error *err);
void kv_destroy(struct device *dev, struct kv_cache *kv);
void kv_append(struct device *dev, struct kv_cache *kv, int layer, const struct kv_rows *rows, int n, const float *k,
               const float *v, int stride);

/* Where head `head` of `layer` begins in a page. */
static inline float *kv_head(const struct kv_cache *kv, int page, int layer, int head)
{
    return kv->data + (((size_t)page * (size_t)kv->layers + (size_t)layer) * (size_t)kv->g + (size_t)head) * kv->head_floats;
}

static inline size_t round_up(size_t x, size_t unit)
{
    return (x + unit - 1) / unit * unit;
}

#endif
