/* safetensors.c - checkpoint files: headers are checked when opened, data is read in the slices asked for */
#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"

enum {
    HEADER_MOST = 100 << 20, /* bytes; the limit of the reference implementation */
    HASH_BLOCK = 1 << 20     /* bytes read at once for a hash */
};

struct part { /* one file */
    char *path;
    int fd;
    int64_t data, data_bytes; /* where the data block begins, and its size */
};

struct entry {
    struct tensor t;
    char *unsupported; /* the dtype's name where it is none of ours: such a tensor is only in the way when somebody needs it */
    int part;
    int64_t begin, end; /* within the data block of its part */
};

struct safetensors {
    char *path;
    struct part *parts;
    int n_parts;
    struct entry *entries; /* sorted by name; the unsupported ones last */
    int n_entries, n_supported;
    bool skip_data;
};

/* ---- one header ---- */

static int read_exactly(int fd, void *dst, size_t bytes, int64_t offset, const char *path, struct error *err)
{
    char *at = dst;
    while (bytes) {
        ssize_t n = pread(fd, at, bytes, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, "%s: %s", path, strerror(errno));
        if (n == 0)
            return fail(err, "%s: the file ends at byte %" PRId64 " where %zu more were expected", path, offset, bytes);
        at += n;
        bytes -= (size_t)n;
        offset += n;
    }
    return 0;
}

static int entry_shape(struct entry *e, const json_t *shape, const char *path, struct error *err)
{
    const char *name = e->t.name;
    if (!json_is_array(shape))
        return fail(err, "%s: tensor %s: shape must be a list of sizes", path, name);
    if (json_array_size(shape) > TENSOR_DIMS)
        return fail(err, "%s: tensor %s: shape has %zu dimensions, at most %d are supported", path, name, json_array_size(shape),
                    TENSOR_DIMS);
    e->t.dims = (int)json_array_size(shape);
    for (int i = 0; i < e->t.dims; i++) {
        const json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size) || json_integer_value(size) < 0)
            return fail(err, "%s: tensor %s: shape[%d] must be an integer of at least 0", path, name, i);
        e->t.shape[i] = json_integer_value(size);
    }
    return 0;
}

static int entry_offsets(struct entry *e, const json_t *offsets, const struct part *part, struct error *err)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fail(err, "%s: tensor %s: data_offsets must be two integers, begin and end", part->path, e->t.name);
    e->begin = json_integer_value(begin);
    e->end = json_integer_value(end);
    if (e->begin < 0 || e->end < e->begin || e->end > part->data_bytes)
        return fail(err, "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64 ") are not within the data of %" PRId64 " bytes",
                    part->path, e->t.name, e->begin, e->end, part->data_bytes);
    e->t.bytes = (size_t)(e->end - e->begin);
    return 0;
}

static int entry_bytes(const struct entry *e, const char *path, struct error *err)
{
    int64_t bytes = (int64_t)dtype_size(e->t.dtype);
    bool empty = false; /* a zero must not hide that the other sizes overflow */
    for (int i = 0; i < e->t.dims; i++) {
        empty |= !e->t.shape[i];
        if (__builtin_mul_overflow(bytes, e->t.shape[i] ? e->t.shape[i] : 1, &bytes))
            return fail(err, "%s: tensor %s: the product of its shape overflows 64 bits", path, e->t.name);
    }
    if (empty)
        bytes = 0;
    if (bytes != e->end - e->begin)
        return fail(err, "%s: tensor %s: its shape and dtype %s take %" PRId64 " bytes, its data_offsets %" PRId64, path, e->t.name,
                    dtype_name(e->t.dtype), bytes, e->end - e->begin);
    return 0;
}

static int entry_parse(struct entry *e, const char *name, const json_t *value, const struct part *part, struct error *err)
{
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    e->t.name = mem_string(name);
    if (!dtype)
        return fail(err, "%s: tensor %s: dtype must be a string such as \"BF16\"", part->path, name);
    if (entry_shape(e, json_object_get(value, "shape"), part->path, err) ||
        entry_offsets(e, json_object_get(value, "data_offsets"), part, err))
        return -1;
    int known = dtype_parse(dtype);
    if (known < 0) {
        e->unsupported = mem_string(dtype);
        return 0;
    }
    e->t.dtype = (enum dtype)known;
    return entry_bytes(e, part->path, err);
}

static int compare_begin(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Sorts n entries of one part by offset; two that share bytes are an error. */
static int entries_apart(struct entry *entries, int n, const char *path, struct error *err)
{
    qsort(entries, (size_t)n, sizeof *entries, compare_begin);
    for (int i = 1; i < n; i++)
        if (entries[i].begin < entries[i - 1].end)
            return fail(err, "%s: tensor %s overlaps tensor %s: data_offsets begin at %" PRId64 ", before %" PRId64, path,
                        entries[i].t.name, entries[i - 1].t.name, entries[i].begin, entries[i - 1].end);
    return 0;
}

static int header_parse(struct safetensors *st, int part_index, json_t *header, struct error *err)
{
    const struct part *part = &st->parts[part_index];
    const char *name;
    json_t *value;
    int first = st->n_entries;
    st->entries = mem_grow(st->entries, (size_t)first + json_object_size(header), sizeof *st->entries);
    json_object_foreach(header, name, value)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        struct entry *e = &st->entries[st->n_entries++];
        *e = (struct entry){.part = part_index};
        if (entry_parse(e, name, value, part, err))
            return -1;
    }
    if (st->n_entries == first)
        return 0;
    return entries_apart(st->entries + first, st->n_entries - first, part->path, err);
}

/* Opens the file and finds its header: text of *size bytes, malloc'ed. */
static int part_open(struct part *part, char **text, size_t *size, struct error *err)
{
    struct stat status;
    unsigned char head[8];
    uint64_t bytes = 0;
    part->fd = open(part->path, O_RDONLY | O_CLOEXEC);
    if (part->fd < 0 || fstat(part->fd, &status))
        return fail(err, "%s: %s", part->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail(err, "%s: not a regular file", part->path);
    if (status.st_size < 8)
        return fail(err, "%s: %" PRId64 " bytes are too few for a safetensors file", part->path, (int64_t)status.st_size);
    if (read_exactly(part->fd, head, sizeof head, 0, part->path, err))
        return -1;
    if (!memcmp(head, "version ", sizeof head))
        return fail(err, "%s: a Git LFS pointer, not the file that it stands for; `git lfs pull` fetches that", part->path);
    for (int i = 8; i-- > 0;)
        bytes = bytes << 8 | head[i];
    if (bytes > HEADER_MOST || (int64_t)bytes > status.st_size - 8)
        return fail(err, "%s: a header of %" PRIu64 " bytes does not fit into the file of %" PRId64 " (limit %d)", part->path,
                    bytes, (int64_t)status.st_size, HEADER_MOST);
    part->data = 8 + (int64_t)bytes;
    part->data_bytes = status.st_size - part->data;
    *size = (size_t)bytes;
    *text = mem_new(*size + 1, 1);
    return read_exactly(part->fd, *text, *size, 8, part->path, err);
}

static int part_load(struct safetensors *st, const char *path, struct error *err)
{
    char *text = NULL;
    size_t size = 0;
    json_error_t where;
    st->parts = mem_grow(st->parts, (size_t)st->n_parts + 1, sizeof *st->parts);
    struct part *part = &st->parts[st->n_parts++];
    *part = (struct part){.path = mem_string(path), .fd = -1};
    if (part_open(part, &text, &size, err)) {
        free(text);
        return -1;
    }
    json_t *header = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    free(text);
    int status = json_is_object(header) ? header_parse(st, st->n_parts - 1, header, err)
                                        : fail(err, "%s: header: %s", path, header ? "must be a JSON object" : where.text);
    json_decref(header);
    return status;
}

/* ---- the folder ---- */

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (!x->unsupported != !y->unsupported)
        return x->unsupported ? 1 : -1;
    return strcmp(x->t.name, y->t.name);
}

static const struct entry *entry_find(const struct entry *entries, int n, const char *name)
{
    while (n > 0) {
        int middle = n / 2, order = strcmp(name, entries[middle].t.name);
        if (!order)
            return &entries[middle];
        if (order > 0) {
            entries += middle + 1;
            n -= middle + 1;
        } else
            n = middle;
    }
    return NULL;
}

static const struct entry *entry_any(const struct safetensors *st, const char *name)
{
    const struct entry *e = entry_find(st->entries, st->n_supported, name);
    return e ? e : entry_find(st->entries + st->n_supported, st->n_entries - st->n_supported, name);
}

static int entries_sort(struct safetensors *st, struct error *err)
{
    if (st->n_entries)
        qsort(st->entries, (size_t)st->n_entries, sizeof *st->entries, compare_entries);
    while (st->n_supported < st->n_entries && !st->entries[st->n_supported].unsupported)
        st->n_supported++;
    for (int i = 1; i < st->n_entries; i++) {
        const struct entry *a = &st->entries[i - 1], *b = &st->entries[i];
        if (!strcmp(a->t.name, b->t.name))
            return fail(err, "%s: tensor %s is also in %s", st->parts[b->part].path, b->t.name, st->parts[a->part].path);
    }
    return 0;
}

/* Loads the shard that the index names, unless an earlier tensor did. */
static int shard_load(struct safetensors *st, const char *index, const char *tensor, const char *file, struct error *err)
{
    if (!file || !*file || strchr(file, '/'))
        return fail(err, "%s: weight_map: tensor %s: must be the name of a file in the same folder", index, tensor);
    char *path = mem_format("%s/%s", st->path, file);
    int status = 0;
    bool loaded = false;
    for (int i = 0; i < st->n_parts && !loaded; i++)
        loaded = !strcmp(st->parts[i].path, path);
    if (!loaded && part_load(st, path, err))
        status = fail_in(err, "%s: weight_map: tensor %s", index, tensor);
    free(path);
    return status;
}

static int index_check(const struct safetensors *st, const char *index, const json_t *map, struct error *err)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)map, name, file)
    {
        const struct entry *e = entry_any(st, name);
        const char *path = e ? st->parts[e->part].path : "";
        if (!e || strcmp(strrchr(path, '/') + 1, json_string_value(file)))
            return fail(err, "%s: weight_map: tensor %s is not in %s%s%s", index, name, json_string_value(file),
                        e ? " but in " : "", path);
    }
    return 0;
}

static int index_load(struct safetensors *st, const char *index, struct error *err)
{
    json_error_t where;
    const char *name;
    json_t *file, *root = json_load_file(index, JSON_REJECT_DUPLICATES, &where), *map = json_object_get(root, "weight_map");
    int status = 0;
    if (!root)
        status = fail(err, "%s: line %d: %s", index, where.line, where.text);
    else if (!json_is_object(map))
        status = fail(err, "%s: field weight_map is missing; it must map tensors to files", index);
    else {
        json_object_foreach(map, name, file)
        {
            status = shard_load(st, index, name, json_string_value(file), err);
            if (status)
                break;
        }
        if (!status)
            status = entries_sort(st, err);
        if (!status)
            status = index_check(st, index, map, err);
    }
    json_decref(root);
    return status;
}

static int folder_load(struct safetensors *st, struct error *err)
{
    char *whole = mem_format("%s/model.safetensors", st->path), *index = mem_format("%s/model.safetensors.index.json", st->path);
    struct stat status;
    int result;
    if (stat(st->path, &status))
        result = fail(err, "%s: %s", st->path, strerror(errno));
    else if (!S_ISDIR(status.st_mode))
        result = part_load(st, st->path, err) || entries_sort(st, err) ? -1 : 0;
    else if (!access(whole, F_OK))
        result = part_load(st, whole, err) || entries_sort(st, err) ? -1 : 0;
    else if (!access(index, F_OK))
        result = index_load(st, index, err);
    else
        result = fail(err, "%s: has neither model.safetensors nor model.safetensors.index.json", st->path);
    free(whole);
    free(index);
    return result;
}

int safetensors_open(struct safetensors **out, const char *dir, struct error *err)
{
    struct safetensors *st = mem_new(1, sizeof *st);
    st->path = mem_string(dir);
    *out = NULL;
    if (folder_load(st, err)) {
        safetensors_close(st);
        return -1;
    }
    *out = st;
    return 0;
}

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    for (int i = 0; i < st->n_entries; i++) {
        free((char *)st->entries[i].t.name);
        free(st->entries[i].unsupported);
    }
    for (int i = 0; i < st->n_parts; i++) {
        free(st->parts[i].path);
        if (st->parts[i].fd >= 0)
            close(st->parts[i].fd);
    }
    free(st->entries);
    free(st->parts);
    free(st->path);
    free(st);
}

/* ---- reading ---- */

const struct tensor *safetensors_find(const struct safetensors *st, const char *name)
{
    const struct entry *e = entry_find(st->entries, st->n_supported, name);
    return e ? &e->t : NULL;
}

const struct tensor *safetensors_need(const struct safetensors *st, const char *name, int64_t rows, int64_t cols, struct error *err)
{
    const struct entry *e = entry_any(st, name);
    if (!e) {
        fail(err, "%s: tensor %s is missing", st->path, name);
        return NULL;
    }
    const char *path = st->parts[e->part].path;
    const struct tensor *t = &e->t;
    if (e->unsupported || t->dtype > DTYPE_BF16) {
        fail(err, "%s: tensor %s: dtype %s is not supported; F32, F16 and BF16 are", path, name,
             e->unsupported ? e->unsupported : dtype_name(t->dtype));
        return NULL;
    }
    int64_t have_rows, have_cols;
    tensor_matrix(t, &have_rows, &have_cols);
    if (have_rows != rows || have_cols != cols) {
        fail(err, "%s: tensor %s is (%" PRId64 ", %" PRId64 ") where the configuration wants (%" PRId64 ", %" PRId64 ")", path,
             name, have_rows, have_cols, rows, cols);
        return NULL;
    }
    return t;
}

int safetensors_count(const struct safetensors *st)
{
    return st->n_supported;
}

const struct tensor *safetensors_at(const struct safetensors *st, int i)
{
    return &st->entries[i].t;
}

void tensor_matrix(const struct tensor *t, int64_t *rows, int64_t *cols)
{
    *rows = t->dims > 1 ? t->shape[0] : 1;
    *cols = 1;
    for (int i = t->dims > 1; i < t->dims; i++)
        *cols *= t->shape[i];
}

int safetensors_read(struct safetensors *st, const struct tensor *t, int64_t row, int64_t rows, int64_t col, int64_t cols,
                     void *dst, struct error *err)
{
    const struct entry *e = (const struct entry *)t;
    const struct part *part = &st->parts[e->part];
    int64_t all_rows, all_cols, size = (int64_t)dtype_size(t->dtype);
    tensor_matrix(t, &all_rows, &all_cols);
    if (row < 0 || rows < 0 || col < 0 || cols < 0 || rows > all_rows - row || cols > all_cols - col)
        return fail(err,
                    "%s: tensor %s: rows %" PRId64 " + %" PRId64 ", columns %" PRId64 " + %" PRId64 " are not within (%" PRId64
                    ", %" PRId64 ")",
                    part->path, t->name, row, rows, col, cols, all_rows, all_cols);
    if (st->skip_data)
        return 0;
    int64_t offset = part->data + e->begin + (row * all_cols + col) * size;
    if (cols == all_cols || rows == 1)
        return read_exactly(part->fd, dst, (size_t)(rows * cols * size), offset, part->path, err);
    for (int64_t i = 0; i < rows; i++) /* a row's piece is kilobytes in a real model: one call each costs little */
        if (read_exactly(part->fd, (char *)dst + i * cols * size, (size_t)(cols * size), offset + i * all_cols * size, part->path,
                         err))
            return -1;
    return 0;
}

void safetensors_skip_data(struct safetensors *st, bool skip)
{
    st->skip_data = skip;
}

static int hash_data(XXH3_state_t *state, const struct safetensors *st, const struct entry *e, char *block, struct error *err)
{
    const struct part *part = &st->parts[e->part];
    for (int64_t at = e->begin; at < e->end; at += HASH_BLOCK) {
        size_t n = (size_t)(e->end - at < HASH_BLOCK ? e->end - at : HASH_BLOCK);
        if (read_exactly(part->fd, block, n, part->data + at, part->path, err))
            return -1;
        XXH3_128bits_update(state, block, n);
    }
    return 0;
}

int safetensors_hash(struct safetensors *st, const char *prefix, int with_data, uint64_t hash[2], struct error *err)
{
    XXH3_state_t *state = XXH3_createState();
    char *block = mem_new(HASH_BLOCK, 1);
    size_t skip = strlen(prefix);
    int status = state && XXH3_128bits_reset(state) == XXH_OK ? 0 : fail(err, "%s: no memory for a hash", st->path);
    for (int i = 0; i < st->n_supported && !status; i++) { /* sorted by name: the order in the files does not matter */
        const struct entry *e = &st->entries[i];
        if (strncmp(e->t.name, prefix, skip))
            continue;
        XXH3_128bits_update(state, e->t.name + skip, strlen(e->t.name + skip) + 1);
        XXH3_128bits_update(state, dtype_name(e->t.dtype), strlen(dtype_name(e->t.dtype)) + 1);
        XXH3_128bits_update(state, &e->t.dims, sizeof e->t.dims);
        XXH3_128bits_update(state, e->t.shape, (size_t)e->t.dims * sizeof *e->t.shape);
        if (with_data)
            status = hash_data(state, st, e, block, err);
    }
    XXH128_hash_t result = state ? XXH3_128bits_digest(state) : (XXH128_hash_t){0, 0};
    hash[0] = result.low64;
    hash[1] = result.high64;
    XXH3_freeState(state);
    free(block);
    return status;
}
