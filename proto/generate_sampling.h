/* generate_sampling.h - the part of a GenerateRequest that says how tokens are chosen. Only proto/ includes it. */
#ifndef PROTO_GENERATE_SAMPLING_H
#define PROTO_GENERATE_SAMPLING_H

#include "proto/generate.h"
#include "proto/massv.pb-c.h"

/* Checks ranges; errors name the field. response may be NULL, and sampling too. */
int generate_sampling_check(const Massv__V1__Sampling *sampling, const Massv__V1__ResponseOptions *response, struct error *err);

/* Of a checked message; absent parts may be NULL. The bias is sorted by id. */
void generate_sampling_take(struct generate_request *request, const Massv__V1__Sampling *sampling,
                            const Massv__V1__ResponseOptions *response);
void generate_sampling_free(struct generate_request *request);

/* Into initialised messages; sampling->logit_bias is released with generate_sampling_unmake. */
void generate_sampling_make(Massv__V1__Sampling *sampling, Massv__V1__ResponseOptions *response,
                            const struct generate_request *request);
void generate_sampling_unmake(Massv__V1__Sampling *sampling);

#endif
