/* settle.h - how the tokens of a request are chosen: what it says, and the model's defaults for the rest */
#ifndef COORDINATOR_SETTLE_H
#define COORDINATOR_SETTLE_H

#include "model/config.h"
#include "proto/generate.h"

/* Fills in what the request leaves open. A seed that is not given is drawn: below 2^52, so that every JSON reader keeps it exactly.
 * -1: an id of the bias, or to stop at, is not in the vocabulary. */
int settle_sampling(struct generate_request *asked, const struct model_config *config, struct error *err);

/* The settled sampling of one of the request's outputs: its own copy (settle_free), with the seed + output. */
void settle_output(struct sampling *to, const struct generate_request *asked, int output);
void settle_free(struct sampling *sampling);

#endif
