/* kv.c - memory of the key/value cache, and rows that enter it */
#include "kernels/cpu/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/memory.h"

enum { PAD = 16 }; /* floats; the widest vector */

static int kv_size(struct kv_cache *kv)
{
    size_t floats;
    kv->key_stride = round_up((size_t)kv->page_positions, PAD);
    kv->value_stride = round_up((size_t)kv->c, PAD);
    kv->head_floats = (size_t)kv->c * kv->key_stride + (size_t)kv->page_positions * kv->value_stride;
    return __builtin_mul_overflow((size_t)kv->pages * (size_t)kv->layers, (size_t)kv->g, &floats) ||
           __builtin_mul_overflow(floats, kv->head_floats, &floats) || __builtin_mul_overflow(floats, sizeof(float), &kv->bytes);
}

struct kv_cache *kv_create(struct device *dev, int layers, int pages, int page_positions, int g, int c, struct error *err)
{
    (void)dev;
    struct kv_cache *kv = mem_new(1, sizeof *kv);
    *kv = (struct kv_cache){.layers = layers, .pages = pages, .page_positions = page_positions, .g = g, .c = c};
    if (layers < 1 || pages < 1 || page_positions < 1 || g < 1 || c < 1 || kv_size(kv)) {
        fail(err, "key/value cache of %d layers, %d pages of %d positions, %d heads of width %d: not a size", layers, pages,
             page_positions, g, c);
        free(kv);
        return NULL;
    }
    kv->data = mmap(NULL, kv->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (kv->data == MAP_FAILED) {
        fail(err, "key/value cache of %d pages of %d positions: no address space for %zu bytes", pages, page_positions, kv->bytes);
        free(kv);
        return NULL;
    }
    madvise(kv->data, kv->bytes, MADV_NOHUGEPAGE); /* a page in use must not pull in the memory of its neighbours */
    return kv;
}

void kv_destroy(struct device *dev, struct kv_cache *kv)
{
    (void)dev;
    if (!kv)
        return;
    munmap(kv->data, kv->bytes);
    free(kv);
}

struct append_job {
    struct kv_cache *kv;
    int layer, stride;
    const struct kv_rows *rows;
    const float *k, *v;
};

static void append_head(float *head, const struct kv_cache *kv, int offset, const float *k, const float *v)
{
    float *values = head + (size_t)kv->c * kv->key_stride + (size_t)offset * kv->value_stride;
    for (int j = 0; j < kv->c; j++) {
        head[(size_t)j * kv->key_stride + (size_t)offset] = k[j];
        values[j] = v[j];
    }
}

static void append_row(void *arg, int r, int worker)
{
    (void)worker;
    const struct append_job *job = arg;
    const struct kv_cache *kv = job->kv;
    int32_t slot = job->rows->slot[r];
    if (slot < 0)
        return;
    int page = slot / kv->page_positions, offset = slot % kv->page_positions;
    assert(page < kv->pages);
    const float *k = job->k + (size_t)r * (size_t)job->stride, *v = job->v + (size_t)r * (size_t)job->stride;
    for (int head = 0; head < kv->g; head++, k += kv->c, v += kv->c)
        append_head(kv_head(kv, page, job->layer, head), kv, offset, k, v);
}

void kv_append(struct device *dev, struct kv_cache *kv, int layer, const struct kv_rows *rows, int n, const float *k,
               const float *v, int stride)
{
    struct append_job job = {.kv = kv, .layer = layer, .stride = stride, .rows = rows, .k = k, .v = v};
    device_run(dev, n, (size_t)n * (size_t)(kv->g * kv->c) * 4, append_row, &job);
}
