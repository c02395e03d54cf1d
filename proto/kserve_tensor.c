/* kserve_tensor.c - the elements of a KServe input tensor, from raw bytes or from the message */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"

enum { ELEMENTS_MAX = 4096 }; /* of one tensor: pictures are the most of anything */

static const struct datatype {
    const char *name;
    enum kserve_kind kind;
    size_t width; /* of an element of raw contents; that of BYTES is of its length */
    bool is_signed;
} datatypes[] = {
    {"BYTES", KSERVE_TEXT, 4, false}, {"BOOL", KSERVE_BOOL, 1, false},  {"INT8", KSERVE_INT, 1, true},
    {"INT16", KSERVE_INT, 2, true},   {"INT32", KSERVE_INT, 4, true},   {"INT64", KSERVE_INT, 8, true},
    {"UINT8", KSERVE_INT, 1, false},  {"UINT16", KSERVE_INT, 2, false}, {"UINT32", KSERVE_INT, 4, false},
    {"UINT64", KSERVE_INT, 8, false}, {"FP32", KSERVE_REAL, 4, false},  {"FP64", KSERVE_REAL, 8, false},
};

static const struct datatype *datatype_find(const char *name)
{
    for (size_t i = 0; i < sizeof datatypes / sizeof *datatypes; i++)
        if (strcmp(datatypes[i].name, name) == 0)
            return &datatypes[i];
    return NULL;
}

static int shape_count(const int64_t *shape, size_t n, size_t *count, struct error *err)
{
    *count = 1;
    for (size_t i = 0; i < n; i++) {
        if (shape[i] < 0)
            return fail(err, "shape: %lld is below 0", (long long)shape[i]);
        if (shape[i] > ELEMENTS_MAX || *count * (size_t)shape[i] > ELEMENTS_MAX)
            return fail(err, "shape: more than %d elements", ELEMENTS_MAX);
        *count *= (size_t)shape[i];
    }
    return 0;
}

struct kserve_value kserve_unsigned(uint64_t number)
{
    if (number > INT64_MAX)
        return (struct kserve_value){.kind = KSERVE_REAL, .real = (double)number};
    return (struct kserve_value){.kind = KSERVE_INT, .integer = (int64_t)number};
}

static uint64_t bits_read(const uint8_t *at, size_t width)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < width; i++)
        bits |= (uint64_t)at[i] << 8 * i;
    return bits;
}

static struct kserve_value number_value(const struct datatype *type, const uint8_t *at)
{
    struct kserve_value value = {.kind = type->kind};
    unsigned unused = 64 - 8 * (unsigned)type->width;
    uint64_t bits = bits_read(at, type->width);
    if (type->kind == KSERVE_INT && !type->is_signed)
        return kserve_unsigned(bits);
    if (type->kind != KSERVE_REAL) {
        value.integer = type->kind == KSERVE_BOOL ? bits != 0 : (int64_t)(bits << unused) >> unused;
        return value;
    }
    float single;
    memcpy(&single, at, sizeof single);
    value.real = (double)single;
    if (type->width == sizeof value.real)
        memcpy(&value.real, at, sizeof value.real);
    return value;
}

static int raw_read(const struct datatype *type, const ProtobufCBinaryData *raw, struct kserve_value *values, size_t n,
                    struct error *err)
{
    const uint8_t *at = raw->data;
    size_t left = raw->len;
    for (size_t i = 0; i < n; i++) {
        if (left < type->width)
            return fail(err, "raw_input_contents: %zu bytes end in element %zu of %zu", raw->len, i, n);
        size_t size = type->kind == KSERVE_TEXT ? bits_read(at, type->width) : 0;
        if (type->kind != KSERVE_TEXT)
            values[i] = number_value(type, at);
        at += type->width;
        left -= type->width;
        if (size > left)
            return fail(err, "raw_input_contents: element %zu of %zu bytes is longer than the %zu that are left", i, size, left);
        if (type->kind == KSERVE_TEXT)
            values[i] = (struct kserve_value){.kind = KSERVE_TEXT, .bytes = at, .size = size};
        at += size;
        left -= size;
    }
    return left ? fail(err, "raw_input_contents: %zu bytes behind the last of %zu elements", left, n) : 0;
}

/* How many elements of this type the message has. */
static size_t contents_count(const struct datatype *type, const Inference__InferTensorContents *c)
{
    switch (type->kind) {
    case KSERVE_BOOL:
        return c->n_bool_contents;
    case KSERVE_TEXT:
        return c->n_bytes_contents;
    case KSERVE_REAL:
        return type->width == 8 ? c->n_fp64_contents : c->n_fp32_contents;
    default:
        if (type->width == 8)
            return type->is_signed ? c->n_int64_contents : c->n_uint64_contents;
        return type->is_signed ? c->n_int_contents : c->n_uint_contents;
    }
}

static struct kserve_value contents_value(const struct datatype *type, const Inference__InferTensorContents *c, size_t i)
{
    struct kserve_value value = {.kind = type->kind, .bytes = ""}; /* protobuf-c has NULL for no bytes */
    bool wide = type->width == 8;
    if (type->kind == KSERVE_INT && !type->is_signed)
        return kserve_unsigned(wide ? c->uint64_contents[i] : c->uint_contents[i]);
    if (type->kind == KSERVE_BOOL)
        value.integer = c->bool_contents[i] != 0;
    else if (type->kind == KSERVE_INT)
        value.integer = wide ? c->int64_contents[i] : c->int_contents[i];
    else if (type->kind == KSERVE_REAL)
        value.real = wide ? c->fp64_contents[i] : (double)c->fp32_contents[i];
    else if ((value.size = c->bytes_contents[i].len))
        value.bytes = c->bytes_contents[i].data;
    return value;
}

static int contents_read(const struct datatype *type, const Inference__InferTensorContents *contents, struct kserve_value *values,
                         size_t n, struct error *err)
{
    size_t there = contents ? contents_count(type, contents) : 0;
    if (there != n)
        return fail(err, "contents: %zu elements of %s for a shape of %zu", there, type->name, n);
    for (size_t i = 0; i < n; i++)
        values[i] = contents_value(type, contents, i);
    return 0;
}

int kserve_tensor_read(const Inference__ModelInferRequest__InferInputTensor *tensor, const ProtobufCBinaryData *raw,
                       struct kserve_value **values, size_t *n, struct error *err)
{
    const struct datatype *type = datatype_find(tensor->datatype);
    *values = NULL;
    if (!type)
        return fail(err, "datatype: \"%.40s\" is not BYTES, BOOL, (U)INT8 to 64, FP32 or FP64", tensor->datatype);
    if (tensor->n_parameters)
        return fail(err, "parameters: %s is not supported", tensor->parameters[0]->key);
    if (raw && tensor->contents)
        return fail(err, "contents: given beside raw_input_contents");
    if (shape_count(tensor->shape, tensor->n_shape, n, err))
        return -1;
    *values = mem_new(*n, sizeof **values);
    int result = raw ? raw_read(type, raw, *values, *n, err) : contents_read(type, tensor->contents, *values, *n, err);
    if (result) {
        free(*values);
        *values = NULL;
    }
    return result;
}
