/* kernels.h - the arithmetic of a model on one device: one table of operations per backend, and nothing else about devices.
 *
 * Letters: n rows of activations, d width, h query heads, g key/value heads (h a multiple of g), c head width.
 * Memory. Every `float *` and `int32_t *` argument of an operation is memory of the device: from `alloc`, pointer arithmetic is
 * allowed, reading or writing through it is not (a GPU is behind it). Only `upload`, `download` and `matrix_write` take host
 * memory. Order. Operations run in the order of the calls; `download` waits for what was called before it. One thread calls a
 * device at a time. Row invariance (docs/numerics.md). The bits of a result row depend on that row's inputs and its class, never on
 * how many rows are computed with it, nor on the number of threads. Errors. What a caller's input may cause (a size, a dtype,
 * memory) returns -1 or NULL with text; a device that breaks ends the process. */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

struct device;   /* a CPU's thread pool, or a GPU with its stream; owns nothing that was allocated on it */
struct matrix;   /* weights (rows, cols), dtype as stored, in the layout that the backend likes best */
struct kv_cache; /* keys and values of all layers, in pages of a fixed number of positions */

struct device_options {
    int threads;          /* CPU: compute threads, the caller's included; 0 = one per core that this process may use */
    bool activations_f32; /* true: never round activations; false: bf16 weights may meet activations rounded to bf16, as on GPUs */
    const char *isa;      /* CPU: highest instruction set to use ("generic", "avx2", "avx512", "avx512bf16"); NULL = best here, or
                             what the environment variable MASSV_ISA names */
};

/* Rows of a step: the first `prompt` are prompt rows, the others generated rows (decoding and verification). A backend may use
 * another kernel for each class; replay and recomputation keep a row's class. */
struct rows {
    int prompt, generated;
};

/* One attention: row r sees the keys [first[r], last[r]) of its own sequence or segment. first = 0 and last = position + 1 is
 * causal attention; a sliding window raises first, an image whose tokens see each other both ways raises last. */
struct attention {
    int h, g, c;
    float scale;          /* of the scores, before the softmax */
    float cap;            /* scaled scores s become cap * tanh(s / cap); 0 = as they are */
    const int32_t *first; /* (n) */
    const int32_t *last;  /* (n), last > first */
};

/* Where the rows of a step stand in a kv_cache. A slot is page * page_positions + offset. */
struct kv_rows {
    const int32_t *slot;     /* (n) where the row's own key and value go; -1 = nowhere */
    const int32_t *sequence; /* (n) row of `pages` that holds its sequence's page table */
    const int32_t *pages;    /* (sequences, pages_per_sequence) page numbers in order of position */
    int pages_per_sequence;
};

struct kernels {
    const char *name; /* "cpu", "cuda" */
    struct device *(*open)(const struct device_options *options, struct error *err);
    void (*close)(struct device *dev);                 /* NULL is legal */
    const char *(*describe)(const struct device *dev); /* "cpu avx2, 2 threads"; owned by dev */
    bool (*activations_f32)(const struct device *dev); /* as its options had it */

    /* Memory: 64-byte aligned, present from the start, not zeroed; NULL when there is none left. free(NULL) is legal. */
    void *(*alloc)(struct device *dev, size_t bytes);
    void (*free)(struct device *dev, void *p);
    void (*upload)(struct device *dev, void *dst, const void *host, size_t bytes);   /* host may be reused on return */
    void (*download)(struct device *dev, void *host, const void *src, size_t bytes); /* complete on return */
    void (*copy)(struct device *dev, void *dst, const void *src, size_t bytes);      /* within the device, no overlap */

    /* Weights. write: rows [row, row + n) from host memory (n, cols) of m's dtype, contiguous. All rows are written before first
     * use. bytes: what it occupies (padding included). */
    struct matrix *(*matrix_create)(struct device *dev, enum dtype dtype, int rows, int cols, struct error *err);
    void (*matrix_write)(struct device *dev, struct matrix *m, int row, int n, const void *host);
    void (*matrix_destroy)(struct device *dev, struct matrix *m);
    size_t (*matrix_bytes)(const struct matrix *m);

    /* y (n, rows) = x (n, cols) @ W^T + b; b (rows) f32 or NULL. y and x do not overlap. */
    void (*linear)(struct device *dev, float *y, const float *x, struct rows n, const struct matrix *w, const float *b);
    /* Takes the memory now that linear needs beside its arguments for up to n rows of up to cols columns. */
    void (*linear_reserve)(struct device *dev, int n, int cols);
    /* y (n, cols) = row ids[r] - first_id of W as f32; zeros where that row is not in W (another rank has it). */
    void (*embed)(struct device *dev, float *y, const int32_t *ids, int n, const struct matrix *w, int first_id);

    /* y (n, d) = x / sqrt(mean(x^2) + eps) * (weight + offset); offset 0 for Qwen, 1 for Gemma. y may be x. x rows are `stride`
     * apart. */
    void (*rms_norm)(struct device *dev, float *y, const float *x, int n, int d, int stride, const float *weight, float offset,
                     float eps);
    /* In place on `heads` heads of width c at the start of each row, rows `stride` apart: each as rms_norm makes a row of it, with
     * one weight (c) for all. */
    void (*rms_norm_heads)(struct device *dev, float *x, int n, int heads, int c, int stride, const float *weight, float offset,
                           float eps);
    /* y (n, d) = (x - mean) / sqrt(var + eps) * weight + bias. y may be x. */
    void (*layer_norm)(struct device *dev, float *y, const float *x, int n, int d, const float *weight, const float *bias,
                       float eps);
    /* In place on `heads` heads of width c at the start of each row, rows `stride` apart: pairs (j, j + c/2) turn by the row's
     * angles, cosine and sine (n, c/2). Positions, M-RoPE axes and scaling are in the angles. */
    void (*rope)(struct device *dev, float *x, int n, int heads, int c, int stride, const float *cosine, const float *sine);

    /* Keys and values of `layers` layers in `pages` pages of `page_positions` positions; memory is touched when a page is first
     * used. */
    struct kv_cache *(*kv_create)(struct device *dev, int layers, int pages, int page_positions, int g, int c, struct error *err);
    void (*kv_destroy)(struct device *dev, struct kv_cache *kv);
    /* Stores k and v (n, g * c), rows `stride` apart, of one layer at rows->slot. */
    void (*kv_append)(struct device *dev, struct kv_cache *kv, int layer, const struct kv_rows *rows, int n, const float *k,
                      const float *v, int stride);
    /* y (n, h * c) = softmax(scale * q K^T) V over the cache; q rows `stride` apart. Query head i uses key head i / (h / g). */
    void (*attend_cached)(struct device *dev, float *y, const float *q, int n, int stride, struct kv_cache *kv, int layer,
                          const struct kv_rows *rows, const struct attention *a);
    /* The same with keys and values in rows of k and v, `stride` apart like q: first and last are row numbers. */
    void (*attend_rows)(struct device *dev, float *y, const float *q, const float *k, const float *v, int n, int stride,
                        const struct attention *a);

    /* Gates: y (n, d) = f(gate) * up with gate = x[r][0..d), up = x[r][d..2d). */
    void (*silu_gate)(struct device *dev, float *y, const float *x, int n, int d);
    void (*gelu_tanh_gate)(struct device *dev, float *y, const float *x, int n, int d);
    /* In place on count numbers. */
    void (*gelu_erf)(struct device *dev, float *x, size_t count);
    void (*gelu_tanh)(struct device *dev, float *x, size_t count);
    /* x += y; x *= factor; x = cap * tanh(x / cap): count numbers. */
    void (*add)(struct device *dev, float *x, const float *y, size_t count);
    void (*scale)(struct device *dev, float *x, float factor, size_t count);
    void (*soft_cap)(struct device *dev, float *x, float cap, size_t count);
    /* y (n, d): row r is the mean of x's rows [r * group, (r + 1) * group). */
    void (*mean)(struct device *dev, float *y, const float *x, int n, int group, int d);

    /* gather: y[r] = x[index[r]]; scatter: y[index[r]] = x[r]; r < n, rows of d numbers. Indices of a scatter are distinct. */
    void (*gather)(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d);
    void (*scatter)(struct device *dev, float *y, const float *x, const int32_t *index, int n, int d);

    /* Scores. best: value[r], id[r] = largest of x[r][0..d) and the lowest column that holds it (NaN never wins; all NaN: id -1).
     * penalize: each distinct column ids[r][0..count[r]) of x (n, d): s > 0 ? s / penalty[r] : s * penalty[r]; ids (n, ids_stride),
     * columns outside [0, d) are skipped (Keskar et al. 2019, CTRL; as Hugging Face transformers). */
    void (*best)(struct device *dev, float *value, int32_t *id, const float *x, int n, int d);
    void (*penalize)(struct device *dev, float *x, int n, int d, const int32_t *ids, const int32_t *count, int ids_stride,
                     const float *penalty);
};

/* The backends. kernels_cuda() loads a plug-in at run time and is NULL where that or a GPU is absent. */
const struct kernels *kernels_cpu(void);
const struct kernels *kernels_cuda(void);

#endif
