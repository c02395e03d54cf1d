/* service.h - a whole service on this machine: a coordinator, and worker groups that mpirun starts. It ends with whoever started
 * it, however that ends. Use from one thread. */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

#include <stdbool.h>

#include "base/error.h"
#include "proto/limit_flags.h"
#include "proto/rpc.h"

enum { SERVICE_GROUPS = 31 };

struct service_options {
    const char *target, *drafter;        /* checkpoint folders; drafter NULL = none */
    const char *listen;                  /* public address; port 0 chooses a free one */
    const char *metrics;                 /* address of the page of metrics; NULL = none */
    const char *hosts;                   /* "h1:1,h2:2" for the ranks of each group; NULL = this machine */
    int ranks, groups;                   /* 0 = 1 */
    int threads;                         /* per rank; 0 = cores / ranks */
    int kv_positions;                    /* of a group's cache; 0 = the worker's default */
    const struct service_limits *limits; /* NULL = the coordinator's defaults */
    bool activations_f32;                /* never round them to bf16 */
    struct rpc_security_files security;  /* of the public port; authorities: of its clients */
    struct rpc_security_files workers;   /* of the port where groups attach, but its token, which is made; authorities: of groups,
                                          * which then show the same certificate */
    const char *worker_authorities;      /* of that port's certificate, for the groups; NULL = no TLS there */
    int step_seconds;                    /* of the coordinator and of the groups; 0 = the defaults of each */
    bool relay; /* pass the logs of all processes on to stderr, once it serves: a failed start is one line */
};

struct service;

/* Returns when a real warm-up generation has passed; else -1 with the last words of the process that failed, 1 when a signal came
 * meanwhile (err says so, too); then everything is stopped. */
int service_start(struct service **service, const struct service_options *options, struct error *err);

/* The public address with its real port, that of the metrics ("" without them), and the coordinator's line: "serving MODEL on
 * ADDR".
 */
const char *service_address(const struct service *service);
const char *service_metrics(const struct service *service);
const char *service_line(const struct service *service);

/* Looks after the processes for up to `seconds`: a group that died is started again after a pause that doubles. -1 when the
 * coordinator died. */
int service_watch(struct service *service, double seconds, struct error *err);

/* Lets the coordinator drain, and waits until it has ended. Ctrl-C (signals_hold) makes it end what still runs. */
void service_drain(struct service *service);

/* Drains and stops everything; returns when no process is left. NULL is legal. */
void service_stop(struct service *service);

#endif
