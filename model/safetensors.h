/* safetensors.h - the tensors of a checkpoint folder: one model.safetensors, or shards with model.safetensors.index.json; and
 * writing one. Headers are checked against the file (offsets, overlaps, sizes) when it is opened; data is read on demand, only the
 * parts asked for, so a rank's memory is its shard. Format: 8 bytes little-endian header size, JSON header, data. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

enum { TENSOR_DIMS = 8 };

struct safetensors;

struct tensor {
    const char *name;
    enum dtype dtype;
    int dims;
    int64_t shape[TENSOR_DIMS];
    size_t bytes;
};

/* dir: a checkpoint folder, or one .safetensors file. */
int safetensors_open(struct safetensors **st, const char *dir, struct error *err);
void safetensors_close(struct safetensors *st);

/* NULL where there is none; owned by st. */
const struct tensor *safetensors_find(const struct safetensors *st, const char *name);
/* The tensor, of a floating dtype and with this many rows and columns; or NULL with text. For weights that a model must have. */
const struct tensor *safetensors_need(const struct safetensors *st, const char *name, int64_t rows, int64_t cols,
                                      struct error *err);
/* How many tensors there are, and the i-th in order of names. Those of a dtype that base/dtype.h does not know are left out. */
int safetensors_count(const struct safetensors *st);
const struct tensor *safetensors_at(const struct safetensors *st, int i);

/* t as a matrix: (shape[0], product of the rest); a 1-D tensor is (1, n). */
void tensor_matrix(const struct tensor *t, int64_t *rows, int64_t *cols);

/* Rows [row, row + rows), columns [col, col + cols) of t seen as (shape[0], product of the rest), as stored, contiguous into dst.
 * A 1-D tensor is (1, n). */
int safetensors_read(struct safetensors *st, const struct tensor *t, int64_t row, int64_t rows, int64_t col, int64_t cols,
                     void *dst, struct error *err);

/* While set, safetensors_read checks its arguments and leaves dst alone: for those who only want to know what is there. */
void safetensors_skip_data(struct safetensors *st, bool skip);

/* 128-bit hash of names, dtypes and shapes, or (with_data) of the bytes too, of all tensors whose name starts with prefix, as seen
 * without that prefix: two towers are the same if these agree. */
int safetensors_hash(struct safetensors *st, const char *prefix, int with_data, uint64_t hash[2], struct error *err);

/* Will safetensors_write be able to? For those who compute for a while before they write. */
int safetensors_writable(const char *path, struct error *err);

/* Writes tensors with data[i] (t[i].bytes each, contiguous) to path, whole or not at all. */
int safetensors_write(const char *path, const struct tensor *t, const void *const *data, int count, struct error *err);

/* The same of data that are not there at once: fill puts t[i].bytes bytes of tensor i into data, in the tensors' order, where there
 * are any, so that memory holds the largest. */
int safetensors_write_each(const char *path, const struct tensor *t, int count, void (*fill)(void *user, int i, void *data),
                           void *user, struct error *err);

#endif
