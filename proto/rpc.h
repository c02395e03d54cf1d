/* rpc.h - a gRPC server and client over a method table. Nothing outside proto/ knows gRPC core; messages are bytes here
 * (proto/generate.h and proto/step.h turn them into structs).
 *
 * Server: callbacks run on the server's event thread and must not block. Every call that started gets `closed` exactly once, last,
 * however it ends (finished, cancelled, deadline, peer gone, shutdown). Functions on a call may be used from any thread while a
 * reference is held. Client: blocking calls with a bound; one reader and one writer thread per stream. */
#ifndef PROTO_RPC_H
#define PROTO_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum rpc_status { /* the gRPC codes */
                  RPC_OK = 0,
                  RPC_CANCELLED = 1,
                  RPC_UNKNOWN = 2,
                  RPC_INVALID_ARGUMENT = 3,
                  RPC_DEADLINE_EXCEEDED = 4,
                  RPC_NOT_FOUND = 5,
                  RPC_ALREADY_EXISTS = 6,
                  RPC_PERMISSION_DENIED = 7,
                  RPC_RESOURCE_EXHAUSTED = 8,
                  RPC_FAILED_PRECONDITION = 9,
                  RPC_ABORTED = 10,
                  RPC_OUT_OF_RANGE = 11,
                  RPC_UNIMPLEMENTED = 12,
                  RPC_INTERNAL = 13,
                  RPC_UNAVAILABLE = 14,
                  RPC_DATA_LOSS = 15,
                  RPC_UNAUTHENTICATED = 16
};
const char *rpc_status_name(enum rpc_status status); /* "INVALID_ARGUMENT" */

/* Who may speak to whom: PEM texts, and a secret. NULL = not asked for. Unix sockets are never TLS. */
struct rpc_security {
    char *certificate, *key; /* own; a server with them speaks TLS, a client shows them to a server that asks */
    char *authorities;       /* who signs for the peer. Client: with them it speaks TLS. Server: only clients so signed may call */
    char *token;             /* bearer token: a server answers calls without it UNAUTHENTICATED, a client sends it */
};
struct rpc_security_files { /* paths of the same; NULL = none */
    const char *certificate, *key, *authorities, *token;
};
/* Malloc'ed texts; rpc_security_free forgets them. An error names the file. */
int rpc_security_read(struct rpc_security *security, const struct rpc_security_files *files, struct error *err);
void rpc_security_free(struct rpc_security *security);
/* Where no file gave a token: the one that this environment variable holds, if it is set. */
int rpc_security_environment(struct rpc_security *security, const char *variable, struct error *err);

struct rpc_options {        /* 0 = the default */
    size_t message_limit;   /* bytes of one message, either way; 64 MiB */
    const char *limit_name; /* the flag that sets it, for the words to who sent a larger one; not copied */
    int keepalive_ms;       /* a peer that is silent for about twice this is gone; 2000. At most one question a second is asked */
    const struct rpc_security *security; /* needed during the open only */
};

/* Bytes that one owner hands to the next: malloc'ed. */
struct rpc_bytes {
    void *data;
    size_t size;
};

/* ---- server ---- */
struct rpc_server;
struct rpc_call;

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_BIDIRECTIONAL };

struct rpc_method {
    const char *path; /* "/massv.v1.Inference/Generate" */
    enum rpc_kind kind;
    /* A call arrived; request is NULL for bidirectional calls, whose messages come through `message`. The bytes are the callee's
     * only during the call. */
    void (*start)(struct rpc_call *call, const void *request, size_t size, void *context);
    void (*message)(struct rpc_call *call, const void *data, size_t size);
    void (*half_closed)(struct rpc_call *call); /* bidirectional: the client will send no more */
    void (*closed)(struct rpc_call *call, bool cancelled);
};

struct rpc_service {
    const struct rpc_method *methods; /* end with a NULL path; outlive the server */
    void *context;                    /* handed to start */
    bool needs_no_token;              /* may be called without the server's bearer token */
};

/* addresses: "127.0.0.1:50051", "[::1]:0", "unix:/path"; one server may listen on several. A port in use is an error that says so.
 * services end with NULL methods; only their methods and contexts outlive the server. Unknown methods answer UNIMPLEMENTED. */
int rpc_server_open(struct rpc_server **server, const char *const *addresses, int n_addresses, const struct rpc_service *services,
                    const struct rpc_options *options, struct error *err);
/* The port that address i got (":0" chooses one). */
int rpc_server_port(const struct rpc_server *server, int i);
/* Stops accepting, waits up to grace seconds for running calls, cancels the rest, returns when every `closed` was called. */
void rpc_server_close(struct rpc_server *server, double grace);

/* Queues a message; data is copied. -1 when the call has ended. */
int rpc_call_send(struct rpc_call *call, const void *data, size_t size);
/* Bytes queued and not yet taken by the transport: how far behind a slow reader is. */
size_t rpc_call_backlog(const struct rpc_call *call);
/* Ends the call after what is queued, at the pace of its reader. The first of several finishes counts. */
void rpc_call_finish(struct rpc_call *call, enum rpc_status status, const char *message);
/* Ends the call at once, whatever is queued: for a reader that is too slow. */
void rpc_call_abort(struct rpc_call *call, enum rpc_status status, const char *message);
/* The caller's own pointer. */
void rpc_call_set(struct rpc_call *call, void *user);
void *rpc_call_get(const struct rpc_call *call);
/* Seconds until the client's deadline; a large number without one. */
double rpc_call_time_left(const struct rpc_call *call);
const char *rpc_call_peer(const struct rpc_call *call);
/* What the client sent beside its message under a lower-case key: 1 = value (at most size - 1 bytes and a 0), 0 = nothing, -1 =
 * more than one value, or one that is too long. From the call's callbacks, `closed` excepted. */
int rpc_call_metadata(const struct rpc_call *call, const char *key, char *value, size_t size);
/* Goes to the client as metadata ahead of the first message; one pair, from `start`. key lives as long as the program; copied. */
void rpc_call_tell(struct rpc_call *call, const char *key, const char *value);
void rpc_call_hold(struct rpc_call *call); /* one more reference: the call outlives `closed` until it is dropped */
void rpc_call_drop(struct rpc_call *call);

/* ---- client ---- */
struct rpc_channel;
struct rpc_stream;

/* Connects with the first call. Each channel is a connection of its own. */
int rpc_channel_open(struct rpc_channel **channel, const char *address, const struct rpc_options *options, struct error *err);
void rpc_channel_close(struct rpc_channel *channel); /* after its streams */

/* One request, one reply (malloc'ed into reply). timeout in seconds. On failure -1 with the peer's message; *status tells which. */
int rpc_unary(struct rpc_channel *channel, const char *path, const void *request, size_t size, double timeout,
              struct rpc_bytes *reply, enum rpc_status *status, struct error *err);

/* A stream: server streaming when request is not NULL, else bidirectional. timeout is the call's deadline in seconds, 0 = none. */
int rpc_stream_open(struct rpc_stream **stream, struct rpc_channel *channel, const char *path, const void *request, size_t size,
                    double timeout, struct error *err);
/* wait in seconds, 0 = only look. 1 = a message (the caller's to free); 0 = the stream ended with RPC_OK; -1 = it ended otherwise
 * (err, *status); -2 = nothing came within wait seconds.
 */
int rpc_stream_read(struct rpc_stream *stream, double wait, struct rpc_bytes *message, enum rpc_status *status, struct error *err);
/* For one thread that reads many streams: from now on `ready` is called whenever rpc_stream_read would return something at once
 * (and now, if it would already), at times once more than needed. It runs on the channel's event thread, or on the caller's, and
 * must neither block nor use the stream. */
void rpc_stream_watch(struct rpc_stream *stream, void (*ready)(void *user), void *user);
/* Returns when the message before this one is on its way, -1 when the stream has ended: the reader learns why. */
int rpc_stream_write(struct rpc_stream *stream, const void *data, size_t size, struct error *err);
int rpc_stream_half_close(struct rpc_stream *stream, struct error *err); /* nothing more will be written */
void rpc_stream_cancel(struct rpc_stream *stream);                       /* from any thread */
/* Cancels what has not ended. No other thread may be in a function on the stream. */
void rpc_stream_close(struct rpc_stream *stream);

#endif
