/* service.c - the methods of massv.v1 */
#include "coordinator/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "coordinator/report.h"
#include "coordinator/scheduler.h"
#include "coordinator/settle.h"
#include "coordinator/stream.h"
#include "coordinator/warm_up.h"
#include "model/family.h"

/* ---- Generate ---- */

struct caller { /* what a Generate call knows of itself */
    const struct service *service;
    uint64_t number;
};

static void client_send(void *call, const struct generate_response *response)
{
    struct rpc_bytes bytes;
    generate_response_pack(response, &bytes);
    rpc_call_send(call, bytes.data, bytes.size); /* -1: it has ended, and EVENT_CLOSED is under way */
    free(bytes.data);
}

static size_t client_backlog(void *call)
{
    return rpc_call_backlog(call);
}

static void client_finish(void *call, enum rpc_status status, const char *message)
{
    if (status != RPC_OK && rpc_call_backlog(call) > STREAM_BACKLOG)
        rpc_call_abort(call, status, message); /* what is queued would wait for a reader that does not read */
    else
        rpc_call_finish(call, status, message);
}

static void client_drop(void *call)
{
    rpc_call_drop(call);
}

static const struct client_calls client_calls = {client_send, client_backlog, client_finish, client_drop};

/* Settles the sampling, too, where the answer is RPC_OK. */
static enum rpc_status asked_check(const struct service *service, struct generate_request *asked, struct error *err)
{
    if (asked->model[0] && strcmp(asked->model, service->config->name) != 0) {
        fail(err, "model: \"%s\" is not here; this service serves \"%s\"", asked->model, service->config->name);
        return RPC_NOT_FOUND;
    }
    return settle_sampling(asked, service->config, err) ? RPC_INVALID_ARGUMENT : RPC_OK;
}

/* What ends an answer: the model's stop ids, unless they are to be ignored, and the request's ids and strings. */
static void stops_set(struct request *request, const struct generate_request *asked, const struct generation_config *defaults)
{
    int own = asked->ignore_eos ? 0 : defaults->n_stop_ids;
    request->n_stop_ids = own + asked->n_stop_ids;
    request->stop_ids = mem_new((size_t)request->n_stop_ids, sizeof *request->stop_ids);
    memcpy(request->stop_ids, defaults->stop_ids, (size_t)own * sizeof *request->stop_ids);
    for (int i = 0; i < asked->n_stop_ids; i++)
        request->stop_ids[own + i] = asked->stop_ids[i];
    request->min_tokens = request->sampling.banned_until = asked->min_tokens;
    request->sampling.banned_ids = request->stop_ids;
    request->sampling.n_banned = request->n_stop_ids;
    if (asked->n_stop_strings)
        request->text.stops = stop_strings_new(asked->stop_strings, asked->n_stop_strings);
}

static void drafts_set(struct request *request, const struct service *service, const struct generate_request *asked)
{
    bool absent = asked->draft_tokens == DRAFT_TOKENS_ABSENT;
    request->draft_tokens = absent ? service->draft_tokens : asked->draft_tokens;
    /* There the draws depend on K: who gives a seed wants the same answer again. */
    if (absent && request->draft_tokens == DRAFT_TOKENS_AUTO && sampling_rejects(&request->sampling) && (asked->given & GIVEN_SEED))
        request->draft_tokens = DRAFT_TOKENS_DEFAULT;
    if (service->drafter)
        return;
    if (!absent && asked->draft_tokens)
        snprintf(request->inactive, sizeof request->inactive, "the service runs without a drafter");
    request->draft_tokens = 0;
}

uint64_t service_number(struct service *service)
{
    return atomic_fetch_add(&service->last_number, 1) + 1;
}

static struct request *output_make(const struct service *service, const struct preparation *job, int output)
{
    const struct generate_request *asked = &job->asked;
    const struct generation_config *defaults = &service->config->generation;
    struct request *request = mem_new(1, sizeof *request);
    request->number = job->number;
    request->output = output;
    if (asked->request_id[0])
        snprintf(request->id, sizeof request->id, "%s", asked->request_id);
    else
        snprintf(request->id, sizeof request->id, "massv-%llu", (unsigned long long)request->number);
    request->max_tokens = asked->max_tokens;
    settle_output(&request->sampling, asked, output);
    request->show_drafts = asked->drafts;
    request->arrived = clock_seconds();
    stops_set(request, asked, defaults);
    drafts_set(request, service, asked);
    return request;
}

/* The outputs that are asked for, as a list. */
static struct request *request_make(const struct service *service, const struct preparation *job)
{
    struct request *outputs = NULL;
    for (int i = job->asked.n_outputs ? job->asked.n_outputs : 1; i-- > 0;) {
        struct request *request = output_make(service, job, i);
        request->next_output = outputs;
        outputs = request;
    }
    return outputs;
}

enum rpc_status service_ask(struct service *service, struct preparation *job, const struct client *client, double seconds,
                            struct error *err)
{
    enum rpc_status status = asked_check(service, &job->asked, err);
    if (status != RPC_OK)
        return status;
    struct request *request = request_make(service, job);
    for (struct request *output = request; output; output = output->next_output) {
        output->deadline = output->arrived + seconds;
        output->client = *client;
    }
    mailbox_post(service->mailbox, &(struct event){.kind = EVENT_ARRIVED, .request = request, .job = job});
    return RPC_OK;
}

void service_leave(const struct service *service, uint64_t number)
{
    mailbox_post(service->mailbox, &(struct event){.kind = EVENT_CLOSED, .number = number});
}

void service_refused(const struct service *service, const struct origin *origin, const char *id, enum rpc_status status,
                     const char *why)
{
    report_refusal(origin, id, status, why);
    mailbox_post(service->mailbox, &(struct event){.kind = EVENT_REFUSED, .status = status});
}

/* id: NULL where the message could not be read. */
static void generate_refuse(struct rpc_call *call, struct service *service, const struct origin *origin, const char *id,
                            enum rpc_status status, const char *why)
{
    service_refused(service, origin, id, status, why);
    rpc_call_finish(call, status, why);
}

static void generate_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    struct service *service = context;
    struct preparation *job = preparation_new();
    struct client client = {.calls = &client_calls, .call = call};
    struct error err;
    origin_take(&client.origin, call);
    origin_tell(&client.origin, call);
    if (generate_request_unpack(&job->asked, data, size, &err) != 0) {
        generate_refuse(call, service, &client.origin, NULL, RPC_INVALID_ARGUMENT, err.text);
        preparation_free(job);
        return;
    }
    struct caller *caller = mem_new(1, sizeof *caller);
    int outputs = job->asked.n_outputs ? job->asked.n_outputs : 1;
    job->number = service_number(service);
    *caller = (struct caller){service, job->number};
    rpc_call_set(call, caller);
    for (int i = 0; i < outputs; i++)
        rpc_call_hold(call);
    enum rpc_status status = service_ask(service, job, &client, rpc_call_time_left(call), &err);
    if (status == RPC_OK)
        return;
    generate_refuse(call, service, &client.origin, job->asked.request_id, status, err.text);
    preparation_free(job);
    for (int i = 0; i < outputs; i++)
        rpc_call_drop(call);
}

static void generate_closed(struct rpc_call *call, bool cancelled)
{
    (void)cancelled;
    struct caller *caller = rpc_call_get(call);
    if (caller)
        service_leave(caller->service, caller->number);
    free(caller);
}

struct request *service_warm_up(struct service *service, struct preparation **job)
{
    *job = preparation_new();
    warm_up_ask(&(*job)->asked, service->config->has_vision);
    (*job)->number = service_number(service);
    settle_sampling(&(*job)->asked, service->config, NULL); /* nothing in it can be refused */
    struct request *request = request_make(service, *job);
    request->deadline = request->arrived + WARM_UP_SECONDS;
    return request;
}

/* ---- Control: questions that the scheduler's thread answers ---- */

struct question {
    struct rpc_call *call;
    const struct service *service;
    char request_id[128]; /* of Abort */
};

static void question_answer(struct question *question, struct rpc_bytes bytes)
{
    rpc_call_send(question->call, bytes.data, bytes.size);
    rpc_call_finish(question->call, RPC_OK, "");
    free(bytes.data);
}

static void question_end(struct question *question)
{
    rpc_call_drop(question->call);
    free(question);
}

static void server_info_answer(struct scheduler *scheduler, void *arg)
{
    struct question *question = arg;
    const struct service *service = question->service;
    struct server_info info = {.draft_tokens = service->drafter ? service->draft_tokens : 0};
    struct rpc_bytes bytes;
    snprintf(info.version, sizeof info.version, "%s", MASSV_VERSION);
    snprintf(info.device, sizeof info.device, "%s", service->device);
    info.activity.uptime = clock_seconds() - service->started;
    scheduler_server_info(scheduler, &info);
    server_info_pack(&info, &bytes);
    question_answer(question, bytes);
    question_end(question);
}

static void load_answer(struct scheduler *scheduler, void *arg)
{
    struct question *question = arg;
    struct load_info info;
    struct rpc_bytes bytes;
    scheduler_load(scheduler, &info);
    load_info_pack(&info, &bytes);
    question_answer(question, bytes);
    question_end(question);
}

static void abort_answer(struct scheduler *scheduler, void *arg)
{
    struct question *question = arg;
    struct rpc_bytes bytes;
    char text[192];
    int aborted = scheduler_abort(scheduler, question->request_id);
    if (aborted < 0) {
        snprintf(text, sizeof text, "request_id: no request \"%s\" runs or ended lately", question->request_id);
        rpc_call_finish(question->call, RPC_NOT_FOUND, text);
    } else {
        abort_response_pack(aborted == 1, &bytes);
        question_answer(question, bytes);
    }
    question_end(question);
}

static struct question *question_new(struct rpc_call *call, const struct service *service)
{
    struct question *question = mem_new(1, sizeof *question);
    question->call = call;
    question->service = service;
    rpc_call_hold(call);
    return question;
}

static void question_post(struct question *question, void (*answer)(struct scheduler *, void *))
{
    mailbox_post(question->service->mailbox, &(struct event){.kind = EVENT_ASKED, .ask = answer, .arg = question});
}

static void server_info_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    question_post(question_new(call, context), server_info_answer);
}

static void load_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    question_post(question_new(call, context), load_answer);
}

/* Answered without the scheduler, however busy it is. */
static void health_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    const struct service *service = context;
    struct health_info info;
    struct rpc_bytes bytes;
    health_get(service->health, clock_seconds(), &info);
    health_info_pack(&info, &bytes);
    rpc_call_send(call, bytes.data, bytes.size);
    rpc_call_finish(call, RPC_OK, "");
    free(bytes.data);
}

static void abort_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    struct error err;
    struct question *question = question_new(call, context);
    if (abort_request_unpack(question->request_id, data, size, &err) == 0) {
        question_post(question, abort_answer);
        return;
    }
    rpc_call_finish(call, RPC_INVALID_ARGUMENT, err.text);
    question_end(question);
}

/* Constant: needs no scheduler. */
static void model_info_start(struct rpc_call *call, const void *data, size_t size, void *context)
{
    (void)data;
    (void)size;
    const struct service *service = context;
    const struct model_config *config = service->config;
    const struct drafter *drafter = service->drafter;
    struct model_info info = {.max_positions = service->max_positions, .vocabulary = config->vocabulary};
    struct rpc_bytes bytes;
    snprintf(info.model, sizeof info.model, "%s", config->name);
    snprintf(info.family, sizeof info.family, "%s", config->family->model_type);
    snprintf(info.drafter, sizeof info.drafter, "%s", drafter ? drafter_name(drafter) : "");
    snprintf(info.drafter_kind, sizeof info.drafter_kind, "%s", drafter_kind_name(drafter ? drafter_kind(drafter) : DRAFTER_NONE));
    snprintf(info.fingerprint, sizeof info.fingerprint, "%016llx%016llx", (unsigned long long)service->fingerprint[0],
             (unsigned long long)service->fingerprint[1]);
    model_info_pack(&info, &bytes);
    rpc_call_send(call, bytes.data, bytes.size);
    rpc_call_finish(call, RPC_OK, "");
    free(bytes.data);
}

static void unary_closed(struct rpc_call *call, bool cancelled)
{
    (void)call;
    (void)cancelled;
}

const struct rpc_method service_methods[] = {
    {GENERATE_PATH, RPC_SERVER_STREAM, generate_start, NULL, NULL, generate_closed},
    {SERVER_INFO_PATH, RPC_UNARY, server_info_start, NULL, NULL, unary_closed},
    {LOAD_PATH, RPC_UNARY, load_start, NULL, NULL, unary_closed},
    {MODEL_INFO_PATH, RPC_UNARY, model_info_start, NULL, NULL, unary_closed},
    {HEALTH_PATH, RPC_UNARY, health_start, NULL, NULL, unary_closed},
    {ABORT_PATH, RPC_UNARY, abort_start, NULL, NULL, unary_closed},
    {0},
};
