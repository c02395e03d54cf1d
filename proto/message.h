/* message.h - protobuf bytes that strangers send, checked against the .proto before and after they become a struct. Only proto/
 * includes it. */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "proto/rpc.h"

void message_pack(const ProtobufCMessage *message, struct rpc_bytes *bytes);

/* UTF-8 without zero bytes, as every string of a message must be. */
bool message_is_text(const void *data, size_t size);

/* What protobuf-c does not look at, or would answer with great amounts of memory: lengths, wire types, the number of records,
 * fields that are given twice, both fields of a oneof, text that is not UTF-8 or holds a zero byte. */
int message_check(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, struct error *err);

/* Checks and unpacks; NULL with an error. Release with protobuf_c_message_free_unpacked. */
void *message_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t size, struct error *err);

/* Field checks: -1 with "field: what is wrong". */
int message_range(const char *field, int64_t value, int64_t low, int64_t high, struct error *err);
int message_finite(const char *field, double value, struct error *err);
int message_amount(const char *field, double value, struct error *err); /* finite, not below 0 */
int message_not_negative(const char *field, const int32_t *values, size_t count, struct error *err);
/* Copies text with its zero into room bytes. */
int message_copy(char *out, size_t room, const char *field, const char *text, struct error *err);

/* Puts "place." before the field that an inner check named; always -1. */
int message_within(struct error *err, const char *place, ...) __attribute__((format(printf, 2, 3)));

/* For protobuf-c, whose strings are neither const nor NULL. */
char *message_text(const char *text);

#endif
