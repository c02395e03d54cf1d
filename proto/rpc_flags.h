/* rpc_flags.h - the command-line flags by which a program says how it trusts and is trusted, so that all programs have the same */
#ifndef PROTO_RPC_FLAGS_H
#define PROTO_RPC_FLAGS_H

#include <argp.h>

#include "proto/rpc.h"

/* The text if it is an address that rpc.h takes; else the end of the process, as base/flags.h has it. */
const char *flag_address(const struct argp_state *state, const char *flag, const char *text);

/* Ends the process as wrong usage where the files of a port that listens are halves: a certificate without its key, or authorities
 * of clients without a certificate. prefix: "--" or "--worker-", what its flags begin with. */
void flag_security(const struct argp_state *state, const struct rpc_security_files *files, const char *prefix);

/* A child parser of whoever opens channels: --tls-ca, --tls-certificate, --tls-key, --token-file. Its input (child_inputs) is a
 * struct rpc_security_files. */
extern const struct argp rpc_client_argp;

/* Reads the files, opens the channel, and forgets what was read. An error names the file or the address. */
int rpc_channel_open_with(struct rpc_channel **channel, const char *address, const struct rpc_security_files *files,
                          struct error *err);

#endif
