/* kserve.h - inference.GRPCInferenceService (KServe v2, Triton): the same requests as massv.v1.Inference/Generate in other words */
#ifndef COORDINATOR_KSERVE_H
#define COORDINATOR_KSERVE_H

#include "proto/rpc.h"

extern const struct rpc_method kserve_methods[]; /* their context is a struct service (service.h) */

#endif
