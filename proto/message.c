/* message.c - protobuf bytes that strangers send */
#include "proto/message.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "base/memory.h"

enum {
    FIELDS_MAX = 24, /* of one message type; asserted */
    /* Fields and elements of one message, nested ones included: protobuf-c makes about 100 bytes of each, however short. */
    RECORDS_MAX = 1 << 18,
};

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LENGTH = 2, WIRE_32 = 5 };

struct span { /* bytes not yet read */
    const uint8_t *at, *end;
};

struct place { /* where in the message the walk is, for the error's text */
    const struct place *outer;
    const ProtobufCFieldDescriptor *field;
    uint32_t index;
};

struct walk {
    size_t records;
    struct error *err;
};

static size_t place_write(const struct place *place, char *text, size_t room)
{
    size_t n = place->outer ? place_write(place->outer, text, room) : 0;
    const char *dot = n ? "." : "";
    int more = place->field->label == PROTOBUF_C_LABEL_REPEATED
                   ? snprintf(text + n, room - n, "%s%s[%u]", dot, place->field->name, place->index)
                   : snprintf(text + n, room - n, "%s%s", dot, place->field->name);
    return n + (size_t)more < room ? n + (size_t)more : room - 1;
}

static int walk_refuse(const struct walk *walk, const struct place *place, const char *what)
{
    char text[256] = "message";
    if (place)
        place_write(place, text, sizeof text);
    return fail(walk->err, "%s: %s", text, what);
}

static int varint_read(struct span *in, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return 0;
    }
    return -1;
}

/* Steps over a value; what a length-delimited one holds goes to inner. */
static int value_skip(struct span *in, enum wire wire, struct span *inner)
{
    uint64_t size = wire == WIRE_64 ? 8 : 4;
    *inner = (struct span){in->at, in->at};
    if (wire == WIRE_VARINT)
        return varint_read(in, &size);
    if (wire == WIRE_LENGTH && varint_read(in, &size))
        return -1;
    if (size > (uint64_t)(in->end - in->at))
        return -1;
    *inner = (struct span){in->at, in->at + size};
    in->at += size;
    return 0;
}

static enum wire wire_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LENGTH;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return WIRE_64;
    default:
        return WIRE_VARINT;
    }
}

bool message_is_text(const void *data, size_t size)
{
    struct span text = {data, (const uint8_t *)data + size};
    while (text.at < text.end) {
        utf8proc_int32_t c = *text.at;
        utf8proc_ssize_t n = c < 0x80 ? 1 : utf8proc_iterate(text.at, text.end - text.at, &c);
        if (n <= 0 || c == 0)
            return false;
        text.at += n;
    }
    return true;
}

/* Has a field that stands once, or alone in its oneof, come before? */
static bool field_repeats(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field, const uint32_t *counts)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &type->fields[i];
        bool same_oneof =
            (field->flags & other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && field->quantifier_offset == other->quantifier_offset;
        if (counts[i] && (other == field || same_oneof))
            return true;
    }
    return false;
}

static int walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type, struct span in, const struct place *outer);

static int walk_value(struct walk *walk, const struct place *place, enum wire wire, struct span inner)
{
    const ProtobufCFieldDescriptor *field = place->field;
    bool packed = wire == WIRE_LENGTH && field->label == PROTOBUF_C_LABEL_REPEATED;
    if (wire != wire_of(field) && !packed)
        return walk_refuse(walk, place, "has another type here than in the .proto");
    if (field->type == PROTOBUF_C_TYPE_STRING && !message_is_text(inner.at, (size_t)(inner.end - inner.at)))
        return walk_refuse(walk, place, "is not UTF-8 without zero bytes");
    return field->type == PROTOBUF_C_TYPE_MESSAGE ? walk_message(walk, field->descriptor, inner, place) : 0;
}

/* The .proto files nest a few levels and never recurse, so neither does this beyond them. */
static int walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type, struct span in, const struct place *outer)
{
    uint32_t counts[FIELDS_MAX] = {0};
    assert(type->n_fields <= FIELDS_MAX);
    while (in.at < in.end) {
        uint64_t key;
        struct span inner;
        if (++walk->records > RECORDS_MAX)
            return walk_refuse(walk, outer, "too many fields and elements");
        if (varint_read(&in, &key) || key >> 3 == 0 || key >> 3 >= 1 << 29)
            return walk_refuse(walk, outer, "broken or cut short");
        enum wire wire = (enum wire)(key & 7);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
        struct place place = {outer, field, 0};
        bool known = wire == WIRE_VARINT || wire == WIRE_64 || wire == WIRE_LENGTH || wire == WIRE_32;
        if (!known || value_skip(&in, wire, &inner))
            return walk_refuse(walk, field ? &place : outer, "broken or cut short");
        if (!field)
            continue; /* of a later version */
        if (field_repeats(type, field, counts))
            return walk_refuse(walk, &place, "given twice, or beside another field of its oneof");
        place.index = counts[field - type->fields]++;
        if (walk_value(walk, &place, wire, inner))
            return -1;
    }
    return 0;
}

int message_check(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, struct error *err)
{
    struct walk walk = {0, err};
    if (size > INT_MAX)
        return fail(err, "%s: a message of %zu bytes is over the limit of %d", descriptor->name, size, INT_MAX);
    struct span in = {data, (const uint8_t *)data + size};
    return walk_message(&walk, descriptor, in, NULL);
}

void *message_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, struct error *err)
{
    if (message_check(descriptor, data, size, err))
        return NULL;
    void *message = protobuf_c_message_unpack(descriptor, NULL, size, data);
    if (!message)
        fail(err, "message: not a %s", descriptor->name);
    return message;
}

void message_pack(const ProtobufCMessage *message, struct rpc_bytes *bytes)
{
    bytes->size = protobuf_c_message_get_packed_size(message);
    bytes->data = mem_grow(NULL, bytes->size, 1);
    size_t written = protobuf_c_message_pack(message, bytes->data);
    assert(written == bytes->size);
    (void)written;
}

int message_range(const char *field, int64_t value, int64_t low, int64_t high, struct error *err)
{
    if (value >= low && value <= high)
        return 0;
    return fail(err, "%s: %lld is %s %lld; a whole number from %lld to %lld is wanted", field, (long long)value,
                value < low ? "below" : "above", (long long)(value < low ? low : high), (long long)low, (long long)high);
}

int message_finite(const char *field, double value, struct error *err)
{
    return isfinite(value) ? 0 : fail(err, "%s: %g is not a finite number", field, value);
}

int message_amount(const char *field, double value, struct error *err)
{
    if (message_finite(field, value, err))
        return -1;
    if (value < 0)
        return fail(err, "%s: %g is below 0", field, value);
    return 0;
}

int message_not_negative(const char *field, const int32_t *values, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] < 0)
            return fail(err, "%s[%zu]: %d is below 0", field, i, values[i]);
    return 0;
}

int message_copy(char *out, size_t room, const char *field, const char *text, struct error *err)
{
    size_t size = strlen(text);
    if (size >= room)
        return fail(err, "%s: %zu bytes are above %zu", field, size, room - 1);
    memcpy(out, text, size + 1);
    return 0;
}

int message_within(struct error *err, const char *place, ...)
{
    if (!err)
        return -1;
    char prefix[256];
    va_list args;
    va_start(args, place);
    vsnprintf(prefix, sizeof prefix, place, args);
    va_end(args);
    struct error inner = *err;
    size_t n = strlen(prefix), rest = sizeof err->text - n - 2; /* a very long text loses its end */
    memcpy(err->text, prefix, n);
    err->text[n] = '.';
    memcpy(err->text + n + 1, inner.text, rest);
    err->text[sizeof err->text - 1] = 0;
    return -1;
}

char *message_text(const char *text)
{
    return text ? (char *)text : (char *)protobuf_c_empty_string;
}
