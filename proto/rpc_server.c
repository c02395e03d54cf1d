/* rpc_server.c - listens, hands each new call to rpc_call.c, and goes away in bounded time */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "base/memory.h"
#include "proto/rpc_address.h"
#include "proto/rpc_call.h"
#include "proto/rpc_security.h"

/* A posted wish for the next call of one method. */
struct rpc_slot {
    struct rpc_server *server;
    const struct rpc_method *method;
    void *context; /* of its service */
    bool needs_no_token;
    void *registered;          /* NULL: the slot for methods that nobody knows */
    grpc_call_details details; /* of such a call */
    grpc_call *core;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
    struct core_tag tag;
};

struct rpc_server {
    struct core_events events;
    grpc_server *core;
    size_t message_limit;
    const char *limit_name;
    char *token; /* what calls must show in their metadata; NULL = nothing */
    struct rpc_slot *slots;
    int n_slots;
    int *ports;
    int n_ports;
    struct core_tag on_shutdown;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool down; /* under the mutex */
};

/* Of calls that are refused before any method sees them. */
static const struct rpc_method unknown_method = {.kind = RPC_SERVER_STREAM};

static void rpc_slot_post(struct rpc_slot *slot)
{
    grpc_completion_queue *queue = slot->server->events.queue;
    grpc_metadata_array_init(&slot->metadata);
    slot->core = NULL;
    slot->payload = NULL;
    CORE_TAG_GIVE(&slot->tag);
    grpc_call_error error;
    if (slot->registered) {
        grpc_byte_buffer **payload = slot->method->kind == RPC_BIDIRECTIONAL ? NULL : &slot->payload;
        error = grpc_server_request_registered_call(slot->server->core, slot->registered, &slot->core, &slot->deadline,
                                                    &slot->metadata, payload, queue, queue, &slot->tag);
    } else {
        grpc_call_details_init(&slot->details);
        error =
            grpc_server_request_call(slot->server->core, &slot->core, &slot->details, &slot->metadata, queue, queue, &slot->tag);
    }
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static void rpc_slot_empty(struct rpc_slot *slot)
{
    if (!slot->registered)
        grpc_call_details_destroy(&slot->details);
}

static void rpc_slot_filled(struct core_tag *tag, bool ok)
{
    struct rpc_slot *slot = tag->owner;
    if (!ok) { /* the server shuts down */
        grpc_metadata_array_destroy(&slot->metadata);
        rpc_slot_empty(slot);
        return;
    }
    struct rpc_arrival arrival = {.core = slot->core,
                                  .deadline = slot->registered ? slot->deadline : slot->details.deadline,
                                  .metadata = slot->metadata,
                                  .payload = slot->payload,
                                  .message_limit = slot->server->message_limit,
                                  .limit_name = slot->server->limit_name,
                                  .context = slot->context};
    const char *token = slot->needs_no_token ? NULL : slot->server->token;
    bool trusted = !token || rpc_token_shown(token, &slot->metadata);
    char *path = slot->registered ? NULL : core_text(slot->details.method);
    rpc_slot_empty(slot);
    rpc_slot_post(slot);
    bool small = !arrival.payload || grpc_byte_buffer_length(arrival.payload) <= arrival.message_limit;
    size_t size = small ? 0 : grpc_byte_buffer_length(arrival.payload); /* which rpc_call_begin takes */
    struct rpc_call *call = rpc_call_begin(trusted && small ? slot->method : &unknown_method, &arrival);
    if (!trusted) {
        rpc_call_finish(call, RPC_UNAUTHENTICATED, "the right bearer token is missing (metadata `authorization: Bearer TOKEN`)");
        free(path);
    } else if (!small) {
        rpc_call_refuse_size(call, size);
    } else if (path) {
        char *text = mem_format("unknown method %s", path);
        rpc_call_finish(call, RPC_UNIMPLEMENTED, text);
        free(text);
        free(path);
    }
}

static void rpc_server_went_down(struct core_tag *tag, bool ok)
{
    struct rpc_server *server = tag->owner;
    (void)ok;
    pthread_mutex_lock(&server->mutex);
    server->down = true;
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

/* Waits until every connection is gone, at most so long. */
static bool rpc_server_wait_down(struct rpc_server *server, double seconds)
{
    struct timespec until = core_time_after(seconds);
    pthread_mutex_lock(&server->mutex);
    while (!server->down && pthread_cond_timedwait(&server->changed, &server->mutex, &until) == 0)
        ;
    bool down = server->down;
    pthread_mutex_unlock(&server->mutex);
    return down;
}

static void rpc_server_free(struct rpc_server *server)
{
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    free(server->slots);
    free(server->ports);
    free(server->token);
    free(server);
}

void rpc_server_close(struct rpc_server *server, double grace)
{
    if (!server)
        return;
    grpc_server_shutdown_and_notify(server->core, server->events.queue, &server->on_shutdown);
    bool down = grace > 0 && rpc_server_wait_down(server, grace);
    while (!down) { /* again and again: a connection may have come in between */
        grpc_server_cancel_all_calls(server->core);
        down = rpc_server_wait_down(server, 0.1);
    }
    grpc_server_destroy(server->core);
    core_events_close(&server->events);
    rpc_server_free(server);
}

static grpc_server *rpc_server_make(struct rpc_server *server, const struct rpc_options *options)
{
    struct core_args args = {.count = 0};
    core_args_fill(&args, options, true);
    core_args_add(&args, GRPC_ARG_ALLOW_REUSEPORT, 0); /* or two servers on one port would share its connections */
    grpc_channel_args list = {args.count, args.list};
    grpc_server *core = grpc_server_create(&list, NULL);
    grpc_server_register_completion_queue(core, server->events.queue, NULL);
    return core;
}

static int rpc_server_listen(struct rpc_server *server, const char *address, const struct rpc_security *security, int *port,
                             struct error *err)
{
    if (rpc_address_check(address, err) || rpc_address_free(address, err))
        return -1;
    bool is_unix = rpc_address_is_unix(address);
    grpc_server_credentials *credentials = rpc_server_credentials(is_unix ? NULL : security);
    *port = grpc_server_add_http2_port(server->core, address, credentials);
    grpc_server_credentials_release(credentials);
    if (!*port)
        return rpc_address_refused(
            address, security && security->certificate ? "is the TLS key that of the certificate?" : "gRPC refused it", err);
    if (is_unix)
        *port = 0;
    return 0;
}

static void rpc_server_register(struct rpc_server *server, const struct rpc_method *method, const struct rpc_service *service)
{
    struct rpc_slot *slot = &server->slots[server->n_slots++];
    *slot = (struct rpc_slot){.server = server,
                              .method = method,
                              .context = service->context,
                              .needs_no_token = service->needs_no_token,
                              .tag = {rpc_slot_filled, slot}};
    if (!method->path)
        return;
    bool streams_in = method->kind == RPC_BIDIRECTIONAL;
    slot->registered = grpc_server_register_method(
        server->core, method->path, NULL, streams_in ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    assert(slot->registered); /* NULL: the path stands twice in the tables */
}

static void rpc_server_register_all(struct rpc_server *server, const struct rpc_service *services)
{
    size_t n = 1; /* the slot for methods that nobody knows */
    for (const struct rpc_service *service = services; service->methods; service++)
        for (const struct rpc_method *method = service->methods; method->path; method++)
            n++;
    server->slots = mem_new(n, sizeof *server->slots);
    for (const struct rpc_service *service = services; service->methods; service++)
        for (const struct rpc_method *method = service->methods; method->path; method++)
            rpc_server_register(server, method, service);
    rpc_server_register(server, &unknown_method, &(struct rpc_service){0});
}

int rpc_server_open(struct rpc_server **out, const char *const *addresses, int n_addresses, const struct rpc_service *services,
                    const struct rpc_options *options, struct error *err)
{
    *out = NULL;
    struct rpc_server *server = mem_new(1, sizeof *server);
    server->message_limit = core_message_limit(options);
    server->limit_name = options ? options->limit_name : NULL;
    const struct rpc_security *security = options ? options->security : NULL;
    server->token = security && security->token ? rpc_token_header(security->token) : NULL;
    server->on_shutdown = (struct core_tag){rpc_server_went_down, server};
    pthread_mutex_init(&server->mutex, NULL);
    core_cond_init(&server->changed);
    if (core_events_open(&server->events, err)) {
        rpc_server_free(server);
        return -1;
    }
    server->core = rpc_server_make(server, options);
    rpc_server_register_all(server, services);
    server->n_ports = n_addresses;
    server->ports = mem_new((size_t)n_addresses, sizeof *server->ports);
    int status = 0;
    for (int i = 0; i < n_addresses && !status; i++)
        status = rpc_server_listen(server, addresses[i], security, &server->ports[i], err);
    grpc_server_start(server->core);
    if (status) {
        rpc_server_close(server, 0);
        return -1;
    }
    for (int i = 0; i < server->n_slots; i++)
        rpc_slot_post(&server->slots[i]);
    *out = server;
    return 0;
}

int rpc_server_port(const struct rpc_server *server, int i)
{
    return i >= 0 && i < server->n_ports ? server->ports[i] : 0;
}
