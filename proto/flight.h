/* flight.h - many calls of one service under way at once, read by one thread: gRPC's own threads wait on the sockets, so thousands
 * may be open. Use from one thread. */
#ifndef PROTO_FLIGHT_H
#define PROTO_FLIGHT_H

#include "proto/rpc.h"

struct flight;
struct flight_call; /* one of them, from flight_send until its event `over` or flight_drop */

/* Connects with the first call. */
int flight_open(struct flight **flight, const char *address, const struct rpc_security_files *security, struct error *err);
void flight_close(struct flight *flight); /* cancels what is under way; NULL is legal */

/* Starts a server-streaming call. timeout in seconds, 0 = none; user comes back with its events. -1: the request is larger than a
 * message may be. */
int flight_send(struct flight *flight, const char *path, const struct rpc_bytes *request, double timeout, void *user,
                struct error *err);
int flight_under_way(const struct flight *flight); /* calls */

struct flight_event {
    struct flight_call *call; /* gone already where it is over */
    void *user;
    bool over;
    struct rpc_bytes message; /* the caller's to free; {NULL, 0} where it is over */
    enum rpc_status status;   /* where it is over */
    struct error words;       /* of another status than RPC_OK */
};

/* The next event of any call, in the order in which they became ready; waits up to `wait` seconds, 0 = only look. false: none came.
 */
bool flight_next(struct flight *flight, double wait, struct flight_event *event);

/* Cancels a call; it gets no further event. */
void flight_drop(struct flight *flight, struct flight_call *call);

#endif
