/* rpc_address.h - "host:port", "[v6]:port" and "unix:/path": what is wrong with one, in words. gRPC core only says that it failed.
 */
#ifndef PROTO_RPC_ADDRESS_H
#define PROTO_RPC_ADDRESS_H

#include <stdbool.h>

#include "base/error.h"

bool rpc_address_is_unix(const char *address);

/* Can only this machine reach it? A Unix socket, a numeric loopback address, or localhost (RFC 6761), of an address that passes the
 * check below. Any other name may stand for anything: 127.example.org, too. */
bool rpc_address_is_local(const char *address);

/* Is it one of the three forms? */
int rpc_address_check(const char *address, struct error *err);

/* Does nobody listen there yet? Asked for Unix sockets only, where core would take the path away from a living server. */
int rpc_address_free(const char *address, struct error *err);

/* Finds out why listening failed by trying it: always -1, with the reason, or `otherwise` where the address is not to blame. */
int rpc_address_refused(const char *address, const char *otherwise, struct error *err);

#endif
