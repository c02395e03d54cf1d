/* service.h - the public API: the methods of massv.v1 as events for the scheduler. What a message alone can show is refused here,
 * on the rpc thread; what depends on the service's state is refused by the scheduler. */
#ifndef COORDINATOR_SERVICE_H
#define COORDINATOR_SERVICE_H

#include <stdatomic.h>

#include "coordinator/drafter.h"
#include "coordinator/health.h"
#include "coordinator/mailbox.h"
#include "proto/rpc.h"

struct service { /* the context of service_methods */
    struct mailbox *mailbox;
    struct health *health;
    const struct model_config *config;
    uint64_t fingerprint[2];       /* of its checkpoint (model/fingerprint.h) */
    const struct drafter *drafter; /* NULL without one */
    int draft_tokens;              /* default */
    int max_positions;
    const char *device;
    double started;            /* clock_seconds */
    atomic_ullong last_number; /* of requests */
};

extern const struct rpc_method service_methods[];

/* A request that was checked (proto/generate.h) to the scheduler, by whatever protocol it came: job->asked is what is asked,
 * job->number a number of service_number. The job goes, and its answer comes through client, which each of its outputs drops once;
 * it has so many seconds. What the service can refuse at once is not RPC_OK: err says why, job and client are still the caller's.
 */
uint64_t service_number(struct service *service);
enum rpc_status service_ask(struct service *service, struct preparation *job, const struct client *client, double seconds,
                            struct error *err);
/* The client of that request has gone. */
void service_leave(const struct service *service, uint64_t number);
/* A request did not become one: it counts, and leaves a line in the log. id: what it called itself, or NULL. */
void service_refused(const struct service *service, const struct origin *origin, const char *id, enum rpc_status status,
                     const char *why);

/* The warm-up: a few tokens about a picture (where the model sees any), the whole way but for the client. */
struct request *service_warm_up(struct service *service, struct preparation **job);

#endif
