/* reflection.h - grpc.reflection.v1 and v1alpha: a client that has no .proto file learns here what this port can do */
#ifndef COORDINATOR_REFLECTION_H
#define COORDINATOR_REFLECTION_H

#include "proto/rpc.h"

extern const struct rpc_method reflection_methods[]; /* their context is a struct reflection (proto/reflection.h) */

#endif
