/* rpc_security.h - what server and client make of struct rpc_security in core's terms; only proto/ includes it */
#ifndef PROTO_RPC_SECURITY_H
#define PROTO_RPC_SECURITY_H

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include "proto/rpc.h"

/* NULL security: none. Never NULL themselves; the caller releases them. */
grpc_server_credentials *rpc_server_credentials(const struct rpc_security *security);
grpc_channel_credentials *rpc_channel_credentials(const struct rpc_security *security);

/* The value of the metadata `authorization` that shows the token (RFC 6750, section 2.1), malloc'ed; and whether a call has it. */
char *rpc_token_header(const char *token);
bool rpc_token_shown(const char *header, const grpc_metadata_array *metadata);

#endif
