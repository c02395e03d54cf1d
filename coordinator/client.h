/* client.h - the other end of a request's stream, as the scheduler sees it: a gRPC call (service.c), or what a test puts here */
#ifndef COORDINATOR_CLIENT_H
#define COORDINATOR_CLIENT_H

#include "coordinator/origin.h"
#include "proto/generate.h"
#include "proto/rpc.h"

struct client_calls {
    /* None of them blocks. send copies; it may fail silently: a call that ended says so through an event of its own. */
    void (*send)(void *call, const struct generate_response *response);
    size_t (*backlog)(void *call); /* bytes that the client has not read yet */
    void (*finish)(void *call, enum rpc_status status, const char *message);
    void (*drop)(void *call); /* the last use of call by one of the request's outputs */
};

struct client {
    const struct client_calls *calls; /* NULL: nobody listens */
    void *call;
    struct origin origin;
};

#endif
