/* kserve_infer.c - talks and what is asked in them.
 *
 * A call is a talk with any number of asks; ModelInfer's has one. An ask is the client of one request: the scheduler's thread puts
 * the answer into it, and each of its outputs drops it. The talk outlives its call and all of its asks. */
#include "coordinator/kserve_infer.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"
#include "coordinator/kserve_reply.h"
#include "coordinator/service.h"
#include "coordinator/stream.h"

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
    uint64_t number;  /* of its request */
    char *id;         /* the client's */
    struct ask *next; /* under the talk's mutex */
    /* What follows is the scheduler's thread's. */
    int holders; /* outputs that have not dropped it */
    struct reply *reply;
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

void talk_closed(struct rpc_call *call, bool cancelled)
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

/* rpc_call_send's -1: it has ended, and EVENT_CLOSED is under way. */
static void bytes_send(const struct ask *ask, struct rpc_bytes bytes)
{
    rpc_call_send(ask->talk->call, bytes.data, bytes.size);
    free(bytes.data);
}

static void ask_send(void *client, const struct generate_response *response)
{
    struct ask *ask = client;
    struct rpc_bytes bytes;
    if (reply_take(ask->reply, response, &bytes))
        bytes_send(ask, bytes);
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
    if (status == RPC_OK) {
        struct rpc_bytes bytes;
        reply_end(ask->reply, &bytes);
        bytes_send(ask, bytes);
    }
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
    if (--ask->holders > 0)
        return;
    pthread_mutex_lock(&talk->mutex);
    struct ask **link = &talk->asks;
    while (*link != ask)
        link = &(*link)->next;
    *link = ask->next;
    if (talk->half_closed && !talk->asks)
        rpc_call_finish(talk->call, RPC_OK, "");
    talk_release(talk);
    reply_free(ask->reply);
    free(ask->id);
    free(ask);
}

static const struct client_calls ask_calls = {ask_send, ask_backlog, ask_finish, ask_drop};

/* ---- asks: the call's side ---- */

static struct ask *ask_new(struct talk *talk, struct kserve_request *request, uint64_t number)
{
    struct ask *ask = mem_new(1, sizeof *ask);
    const struct reply_terms terms = {talk->service->config->name, talk->streamed};
    *ask = (struct ask){.talk = talk, .number = number, .id = mem_string(request->id), .reply = reply_new(&terms, request)};
    ask->holders = request->asked.n_outputs ? request->asked.n_outputs : 1;
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

/* The call's; but each of many asks may belong to a trace of its own. */
static enum rpc_status ask_origin(struct origin *origin, const struct talk *talk, const struct kserve_request *request,
                                  struct error *err)
{
    origin_take(origin, talk->call);
    int result = request->traceparent ? trace_join(&origin->trace, request->traceparent) : 0;
    if (!talk->streamed)
        origin_tell(origin, talk->call);
    if (result)
        fail(err, "traceparent: \"%.80s\" is none of W3C Trace Context", request->traceparent);
    return result ? RPC_INVALID_ARGUMENT : RPC_OK;
}

/* Hands a request to the scheduler. Whatever is wrong with it is told through the ask, as the scheduler would. */
static void request_ask(struct talk *talk, struct kserve_request *request)
{
    struct preparation *job = preparation_new();
    struct error err;
    double seconds = seconds_left(talk, request);
    job->number = service_number(talk->service);
    struct ask *ask = ask_new(talk, request, job->number);
    struct client client = {.calls = &ask_calls, .call = ask};
    job->asked = request->asked;
    request->asked = (struct generate_request){0};
    enum rpc_status status = ask_origin(&client.origin, talk, request, &err);
    if (status == RPC_OK)
        status = service_ask(talk->service, job, &client, seconds, &err);
    if (status == RPC_OK)
        return;
    service_refused(talk->service, &client.origin, job->asked.request_id, status, err.text);
    preparation_free(job);
    ask_finish(ask, status, err.text);
    ask->holders = 1;
    ask_drop(ask);
}

static void message_refused(const struct rpc_call *call, const struct service *service, const char *why)
{
    struct origin origin;
    origin_take(&origin, call);
    service_refused(service, &origin, NULL, RPC_INVALID_ARGUMENT, why);
}

void infer_start(struct rpc_call *call, const void *data, size_t size, void *context)
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

void stream_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    talk_begin(call, context, true);
}

void stream_message(struct rpc_call *call, const void *data, size_t size)
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

void stream_half_closed(struct rpc_call *call)
{
    struct talk *talk = rpc_call_get(call);
    pthread_mutex_lock(&talk->mutex);
    talk->half_closed = true;
    if (!talk->asks)
        rpc_call_finish(call, RPC_OK, "");
    pthread_mutex_unlock(&talk->mutex);
}
