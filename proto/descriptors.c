/* descriptors.c - the .proto files of the public port, as protoc compiled them when this program was built */
#include "proto/reflection.h"

static const uint8_t files[] = {
#include "proto/descriptors.inc"
};

struct rpc_bytes reflection_files(void)
{
    return (struct rpc_bytes){(void *)files, sizeof files};
}
