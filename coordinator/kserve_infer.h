/* kserve_infer.h - the callbacks of ModelInfer and ModelStreamInfer (proto/rpc.h); their context is a struct service */
#ifndef COORDINATOR_KSERVE_INFER_H
#define COORDINATOR_KSERVE_INFER_H

#include "proto/rpc.h"

void infer_start(struct rpc_call *call, const void *data, size_t size, void *context);
void stream_start(struct rpc_call *call, const void *data, size_t size, void *context);
void stream_message(struct rpc_call *call, const void *data, size_t size);
void stream_half_closed(struct rpc_call *call);
void talk_closed(struct rpc_call *call, bool cancelled); /* of both */

#endif
