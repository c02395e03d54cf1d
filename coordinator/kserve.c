/* kserve.c - the methods of inference.GRPCInferenceService: what there is, and infer (kserve_infer.h) */
#include "coordinator/kserve.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/version.h"
#include "coordinator/kserve_infer.h"
#include "coordinator/service.h"
#include "proto/kserve.h"

static void reply(struct rpc_call *call, struct rpc_bytes bytes)
{
    rpc_call_send(call, bytes.data, bytes.size);
    rpc_call_finish(call, RPC_OK, "");
    free(bytes.data);
}

static void flag_reply(struct rpc_call *call, bool flag)
{
    struct rpc_bytes bytes;
    kserve_flag_pack(flag, &bytes);
    reply(call, bytes);
}

static bool state_is(const struct service *service, const char *state)
{
    struct health_info info;
    health_get(service->health, clock_seconds(), &info);
    return strcmp(info.state, state) == 0;
}

static void live_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    flag_reply(call, !state_is(context, "DRAINING"));
}

static void ready_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    flag_reply(call, state_is(context, "READY"));
}

static void server_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    (void)context;
    struct rpc_bytes bytes;
    kserve_server_pack(MASSV_VERSION, &bytes);
    reply(call, bytes);
}

/* Whether the model that data asks for is here; else the call is finished. */
static bool model_is_here(struct rpc_call *call, const struct service *service, const void *data, size_t size)
{
    struct kserve_model model;
    struct error err;
    enum rpc_status status = RPC_OK;
    if (kserve_model_unpack(&model, data, size, &err) != 0)
        status = RPC_INVALID_ARGUMENT;
    else if (strcmp(model.name, service->config->name) != 0 || (*model.version && strcmp(model.version, KSERVE_VERSION) != 0)) {
        fail(&err, "name: \"%s\" version \"%s\" is not here; this service serves \"%s\" version \"" KSERVE_VERSION "\"", model.name,
             model.version, service->config->name);
        status = RPC_NOT_FOUND;
    }
    if (status != RPC_OK)
        rpc_call_finish(call, status, err.text);
    return status == RPC_OK;
}

static void model_ready_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    if (model_is_here(call, context, data, size))
        flag_reply(call, state_is(context, "READY"));
}

static void model_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    const struct service *service = context;
    struct rpc_bytes bytes;
    if (!model_is_here(call, service, data, size))
        return;
    kserve_model_pack(service->config->name, &bytes);
    reply(call, bytes);
}

const struct rpc_method kserve_methods[] = {
    {KSERVE_LIVE_PATH, RPC_UNARY, live_start, NULL, NULL, NULL},
    {KSERVE_READY_PATH, RPC_UNARY, ready_start, NULL, NULL, NULL},
    {KSERVE_MODEL_READY_PATH, RPC_UNARY, model_ready_start, NULL, NULL, NULL},
    {KSERVE_SERVER_PATH, RPC_UNARY, server_start, NULL, NULL, NULL},
    {KSERVE_MODEL_PATH, RPC_UNARY, model_start, NULL, NULL, NULL},
    {KSERVE_INFER_PATH, RPC_UNARY, infer_start, NULL, NULL, talk_closed},
    {KSERVE_STREAM_PATH, RPC_BIDIRECTIONAL, stream_start, stream_message, stream_half_closed, talk_closed},
    {0},
};
