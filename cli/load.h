/* load.h - sends requests by a plan and notes when their tokens come. One thread reads all streams (and gRPC's own threads wait on
 * the sockets), so thousands may be open; the times of a message are when that thread took it. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include "cli/load_figures.h"
#include "proto/rpc.h"

struct load_plan {
    const char *address;
    const struct rpc_security_files *security;
    const struct rpc_bytes *inputs; /* (n_inputs) packed requests, chosen by load_choice */
    int n_inputs;
    int count;       /* requests to send */
    double rate;     /* a second, open loop: sent when they are due, however many are open; 0 = closed loop */
    int concurrency; /* of the closed loop: the next is sent when one has ended */
    uint64_t seed;
    double timeout; /* s; of each request from its sending on */
};

/* records: (count), zero at first. *most_open: streams at once. 0 when every request has ended, well or not; 1 when a signal came
 * (base/signals.h), -1 when nothing could be sent at all. */
int load_run(struct load_record *records, int *most_open, const struct load_plan *plan, struct error *err);

#endif
