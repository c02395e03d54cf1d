/* kserve.c - the methods of inference.GRPCInferenceService.
 *
 * A call is a talk with any number of asks; ModelInfer's has one. An ask is the client of one request: the scheduler's thread puts
 * the answer into it and drops it. The talk outlives its call and all of its asks. */
#include "coordinator/kserve.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "coordinator/service.h"
#include "coordinator/stream.h"
#include "proto/kserve.h"

struct talk {
    struct service *service;
    struct rpc_call *call;
    bool streamed; /* ModelStreamInfer */
    pthread_mutex_t mutex;
    int references;   /* the call, until it is closed, and each ask */
    bool half_closed; /* no more asks will come */
    struct ask *asks;
};

struct ask {
    struct talk *talk;
    uint64_t number; /* of its request */
    char *id;        /* the client's */
    bool deltas;
    struct ask *next; /* under the talk's mutex */
    /* What follows is the scheduler's thread's. */
    char *text; /* so far, unless it went out as deltas */
    size_t size;
    struct rpc_bytes last; /* to be sent when it has ended well */
    bool ended;
};

/* ---- talks ---- */

static struct talk *talk_begin(struct rpc_call *call, struct service *service, bool streamed)
{
    struct talk *talk = mem_new(1, sizeof *talk);
    *talk = (struct talk){.service = service, .call = call, .streamed = streamed, .references = 1};
    pthread_mutex_init(&talk->mutex, NULL);
    rpc_call_hold(call);
    rpc_call_set(call, talk);
    return talk;
}

/* One reference less; the mutex is held on entry and released on return. */
static void talk_release(struct talk *talk)
{
    bool last = --talk->references == 0;
    pthread_mutex_unlock(&talk->mutex);
    if (!last)
        return;
    rpc_call_drop(talk->call);
    pthread_mutex_destroy(&talk->mutex);
    free(talk);
}

static void talk_closed(struct rpc_call *call, bool cancelled)
{
    (void)cancelled;
    struct talk *talk = rpc_call_get(call);
    if (!talk)
        return;
    pthread_mutex_lock(&talk->mutex);
    for (struct ask *ask = talk->asks; ask; ask = ask->next)
        service_leave(talk->service, ask->number);
    talk_release(talk);
}

/* ---- asks: the scheduler's side ---- */

static void ask_answer(struct ask *ask, const char *text, const struct generate_response *finished, struct rpc_bytes *bytes)
{
    const struct kserve_answer answer = {ask->talk->service->config->name, ask->id, text, finished};
    kserve_answer_pack(&answer, ask->talk->streamed, bytes);
}

static void text_add(struct ask *ask, const char *text)
{
    size_t size = strlen(text);
    ask->text = mem_grow(ask->text, ask->size + size + 1, 1);
    memcpy(ask->text + ask->size, text, size + 1);
    ask->size += size;
}

static void delta_send(struct ask *ask, const char *text)
{
    struct rpc_bytes bytes;
    if (!*text)
        return;
    ask_answer(ask, text, NULL, &bytes);
    rpc_call_send(ask->talk->call, bytes.data, bytes.size); /* -1: it has ended, and EVENT_CLOSED is under way */
    free(bytes.data);
}

static void ask_send(void *client, const struct generate_response *response)
{
    struct ask *ask = client;
    if (response->event == GENERATE_TOKEN && ask->deltas)
        delta_send(ask, response->text);
    else if (response->event == GENERATE_TOKEN)
        text_add(ask, response->text);
    else if (response->event == GENERATE_FINISHED)
        ask_answer(ask, ask->text ? ask->text : "", response, &ask->last);
}

static size_t ask_backlog(void *client)
{
    return rpc_call_backlog(((struct ask *)client)->talk->call);
}

/* Also for an ask that the scheduler never saw. */
static void error_send(struct rpc_call *call, const char *id, enum rpc_status status, const char *message)
{
    struct rpc_bytes bytes;
    char *text = mem_format("%s: %s", rpc_status_name(status), message);
    kserve_error_pack(id, text, &bytes);
    rpc_call_send(call, bytes.data, bytes.size);
    free(bytes.data);
    free(text);
}

static void ask_finish(void *client, enum rpc_status status, const char *message)
{
    struct ask *ask = client;
    struct rpc_call *call = ask->talk->call;
    if (ask->ended)
        return; /* the first of several counts */
    ask->ended = true;
    if (status == RPC_OK)
        rpc_call_send(call, ask->last.data, ask->last.size);
    if (status != RPC_OK && rpc_call_backlog(call) > STREAM_BACKLOG)
        rpc_call_abort(call, status, message); /* what is queued would wait for a reader that does not read */
    else if (!ask->talk->streamed)
        rpc_call_finish(call, status, message);
    else if (status != RPC_OK)
        error_send(call, ask->id, status, message);
}

static void ask_drop(void *client)
{
    struct ask *ask = client;
    struct talk *talk = ask->talk;
    pthread_mutex_lock(&talk->mutex);
    struct ask **link = &talk->asks;
    while (*link != ask)
        link = &(*link)->next;
    *link = ask->next;
    if (talk->half_closed && !talk->asks)
        rpc_call_finish(talk->call, RPC_OK, "");
    talk_release(talk);
    free(ask->last.data);
    free(ask->text);
    free(ask->id);
    free(ask);
}

static const struct client_calls ask_calls = {ask_send, ask_backlog, ask_finish, ask_drop};

/* ---- asks: the call's side ---- */

static struct ask *ask_new(struct talk *talk, struct kserve_request *request, uint64_t number)
{
    struct ask *ask = mem_new(1, sizeof *ask);
    *ask = (struct ask){.talk = talk, .number = number, .id = request->id, .deltas = request->stream};
    request->id = NULL;
    pthread_mutex_lock(&talk->mutex);
    talk->references++;
    ask->next = talk->asks;
    talk->asks = ask;
    pthread_mutex_unlock(&talk->mutex);
    return ask;
}

static double seconds_left(const struct talk *talk, const struct kserve_request *request)
{
    double left = rpc_call_time_left(talk->call), own = (double)request->timeout * 1e-6;
    return request->timeout && own < left ? own : left;
}

/* Hands a request to the scheduler. Whatever is wrong with it is told through the ask, as the scheduler would. */
static void request_ask(struct talk *talk, struct kserve_request *request)
{
    struct preparation *job = preparation_new();
    struct error err;
    double seconds = seconds_left(talk, request);
    job->number = service_number(talk->service);
    job->asked = request->asked;
    request->asked = (struct generate_request){0};
    struct ask *ask = ask_new(talk, request, job->number);
    struct client client = {.calls = &ask_calls, .call = ask};
    origin_take(&client.origin, talk->call);
    enum rpc_status status = service_ask(talk->service, job, &client, seconds, &err);
    if (status == RPC_OK)
        return;
    service_refused(talk->service, &client.origin, job->asked.request_id, status, err.text);
    preparation_free(job);
    ask_finish(ask, status, err.text);
    ask_drop(ask);
}

static void message_refused(const struct rpc_call *call, const struct service *service, const char *why)
{
    struct origin origin;
    origin_take(&origin, call);
    service_refused(service, &origin, NULL, RPC_INVALID_ARGUMENT, why);
}

static void infer_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    struct kserve_request request;
    struct error err;
    int result = kserve_request_unpack(&request, data, size, &err);
    if (!result && request.stream)
        result = fail(&err, "stream: true needs ModelStreamInfer");
    if (result) {
        message_refused(call, context, err.text);
        rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
    } else {
        request_ask(talk_begin(call, context, false), &request);
    }
    kserve_request_free(&request);
}

static void stream_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    talk_begin(call, context, true);
}

static void stream_message(struct rpc_call *call, const void *data, size_t size)
{
    struct talk *talk = rpc_call_get(call);
    struct kserve_request request;
    struct error err;
    if (rpc_call_backlog(call) > STREAM_BACKLOG) {
        rpc_call_abort(call, RPC_RESOURCE_EXHAUSTED, "the client asks, but does not read the answers");
        return;
    }
    if (kserve_request_unpack(&request, data, size, &err) != 0) {
        message_refused(call, talk->service, err.text);
        error_send(call, request.id, RPC_INVALID_ARGUMENT, err.text);
    } else {
        request_ask(talk, &request);
    }
    kserve_request_free(&request);
}

static void stream_half_closed(struct rpc_call *call)
{
    struct talk *talk = rpc_call_get(call);
    pthread_mutex_lock(&talk->mutex);
    talk->half_closed = true;
    if (!talk->asks)
        rpc_call_finish(call, RPC_OK, "");
    pthread_mutex_unlock(&talk->mutex);
}

/* ---- what there is ---- */

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
