/* trust.h - who may call the coordinator's two ports: certificates and tokens from the command line and the environment */
#ifndef COORDINATOR_TRUST_H
#define COORDINATOR_TRUST_H

#include "coordinator/options.h"

struct trust {
    struct rpc_security clients, workers;
};

/* Reads the files. Refuses a worker port that other machines can reach and that anybody may use: whoever attaches there is handed
 * prompts and pictures, and answers for the model. */
int trust_read(struct trust *trust, const struct coordinator_options *options, struct error *err);
void trust_free(struct trust *trust);

#endif
