/* reflection.h - answers of grpc.reflection: which services there are, and the .proto files that describe them. v1 and v1alpha have
 * the same messages. */
#ifndef PROTO_REFLECTION_H
#define PROTO_REFLECTION_H

#include "proto/rpc.h"

#define REFLECTION_V1_PATH "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define REFLECTION_V1ALPHA_PATH "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

struct reflection;

/* files: a FileDescriptorSet with all that its files import; it must outlive the reflection. */
int reflection_open(struct reflection **reflection, struct rpc_bytes files, struct error *err);
void reflection_close(struct reflection *reflection);

/* The files of the public port, built in. */
struct rpc_bytes reflection_files(void);

/* One ServerReflectionRequest and its ServerReflectionResponse (malloc'ed), which may hold an error code of its own: for a name
 * that is not here (NOT_FOUND), for questions about extensions (UNIMPLEMENTED). -1: data is no such request. */
int reflection_answer(const struct reflection *reflection, const void *data, size_t size, struct rpc_bytes *answer,
                      struct error *err);

#endif
