/* eval_services.c - who answers: running services, or private ones that live for the evaluation */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval.h"
#include "cli/service.h"
#include "model/config.h"
#include "model/drafter_fit.h"
#include "proto/ask.h"
#include "proto/rpc_flags.h"

enum { ANSWER_SECONDS = 10 }; /* for a question about itself */

/* ---- who is it ---- */

static int question_ask(struct rpc_channel *channel, const char *path, struct rpc_bytes *reply, const char *address,
                        struct error *err)
{
    enum rpc_status status = RPC_OK;
    if (rpc_unary(channel, path, "", 0, ANSWER_SECONDS, reply, &status, err) == 0)
        return 0;
    return ask_failed(address, status, err);
}

static int service_probe(struct eval_service *s, const struct rpc_security_files *security, struct error *err)
{
    struct rpc_channel *channel;
    struct rpc_bytes model = {0}, server = {0};
    if (rpc_channel_open_with(&channel, s->address, security, err))
        return -1;
    int result = question_ask(channel, MODEL_INFO_PATH, &model, s->address, err) ||
                         question_ask(channel, SERVER_INFO_PATH, &server, s->address, err) ||
                         model_info_unpack(&s->info, model.data, model.size, err) ||
                         server_info_unpack(&s->server, server.data, server.size, err)
                     ? -1
                     : 0;
    free(model.data);
    free(server.data);
    rpc_channel_close(channel);
    return result;
}

/* One target in all of them, or figures beside each other mean nothing. */
static int service_compare(const struct eval_service *a, const struct eval_service *b, struct error *err)
{
    if (!strcmp(a->info.fingerprint, b->info.fingerprint))
        return 0;
    return fail(err,
                "%s at %s serves %s (fingerprint %s), but %s at %s serves %s (%s): services that are compared must have one target",
                a->name, a->address, a->info.model, a->info.fingerprint, b->name, b->address, b->info.model, b->info.fingerprint);
}

static int services_compare(const struct eval *e, struct error *err)
{
    const struct eval_service *first = NULL;
    for (int i = 0; i < e->n_services; i++) {
        const struct eval_service *s = &e->services[i];
        if (!s->info.model[0])
            continue; /* it does not run yet, or no longer */
        if (first && service_compare(first, s, err))
            return -1;
        first = first ? first : s;
    }
    return 0;
}

/* ---- running services ---- */

/* A name says which drafter; a service without one can only be the one without drafts. */
static int address_name(struct eval_service *s, const char *name, struct error *err)
{
    bool none = !strcmp(s->info.drafter_kind, drafter_kind_name(DRAFTER_NONE)), known = none;
    for (int kind = DRAFTER_TEXT; kind <= DRAFTER_MASSV; kind++)
        known = known || !strcmp(s->info.drafter_kind, drafter_kind_name((enum drafter_kind)kind));
    if (!known) /* it becomes a name in tables and plots */
        return fail(err, "%s: its drafter is of the kind %s, which this massv does not know", s->address, s->info.drafter_kind);
    if (*name && none && strcmp(name, EVAL_OFF) != 0)
        return fail(err, "--address %s=%s: the service there has no drafter; its name can only be " EVAL_OFF, name, s->address);
    snprintf(s->name, sizeof s->name, "%s", *name ? name : none ? EVAL_OFF : s->info.drafter_kind);
    return 0;
}

static int addresses_find(struct eval *e, struct error *err)
{
    const struct eval_options *o = e->options;
    for (int i = 0; i < o->n_addresses; i++) {
        struct eval_service *s = &e->services[e->n_services++];
        s->address = o->addresses[i].value;
        if (service_probe(s, &o->security, err) || address_name(s, o->addresses[i].name, err))
            return -1;
    }
    return services_compare(e, err);
}

/* ---- private services ---- */

/* What can be known of a drafter before its service runs: only a model without vision is text-only. */
static int private_look(struct eval_service *s, struct error *err)
{
    struct model_config config;
    if (config_read(&config, s->drafter, err))
        return fail_in(err, "--drafter %s", s->name);
    snprintf(s->info.drafter_kind, sizeof s->info.drafter_kind, "%s",
             drafter_kind_name(config.has_vision ? DRAFTER_VISION : DRAFTER_TEXT));
    return 0;
}

static int privates_find(struct eval *e, struct error *err)
{
    const struct eval_options *o = e->options;
    struct model_config config;
    if (config_read(&config, o->target, err))
        return fail_in(err, "--target");
    for (int i = 0; i < o->n_drafters; i++) {
        struct eval_service *s = &e->services[e->n_services++];
        snprintf(s->name, sizeof s->name, "%s", o->drafters[i].name);
        s->drafter = o->drafters[i].value;
        if (private_look(s, err))
            return -1;
    }
    if (!e->n_services)
        snprintf(e->services[e->n_services++].name, EVAL_NAME, EVAL_OFF);
    return 0;
}

static int private_start(struct eval *e, struct eval_service *s, struct error *err)
{
    const struct eval_options *o = e->options;
    struct service_limits limits;
    limits_default(&limits);
    limits.prefix_cache = 0; /* what one column has asked must not make the next one cheaper */
    const struct service_options options = {.target = o->target,
                                            .limits = &limits,
                                            .drafter = s->drafter,
                                            .listen = "127.0.0.1:0",
                                            .ranks = o->ranks ? o->ranks : 1,
                                            .threads = o->threads};
    int result = service_start(&s->own, &options, err);
    if (result)
        return result;
    s->address = service_address(s->own);
    return service_probe(s, &(struct rpc_security_files){0}, err);
}

/* ---- for the other parts ---- */

int eval_services_find(struct eval *e, struct error *err)
{
    return e->options->target ? privates_find(e, err) : addresses_find(e, err);
}

static bool is_asked(const struct eval *e, int service)
{
    for (int c = 0; c < e->n_configs; c++)
        if (e->configs[c].service == service)
            return true;
    return false;
}

int eval_services_start(struct eval *e, int first, int n, struct error *err)
{
    for (int i = first; e->options->target && i < first + n; i++) {
        if (!is_asked(e, i))
            continue;
        int result = private_start(e, &e->services[i], err);
        if (result)
            return result == 1 ? 1 : fail_in(err, "private service %s", e->services[i].name);
    }
    return services_compare(e, err);
}

void eval_services_stop(struct eval *e, int first, int n)
{
    for (int i = first; i < first + n; i++) {
        struct eval_service *s = &e->services[i];
        if (!s->own)
            continue;
        service_stop(s->own);
        s->own = NULL;
        s->address = NULL;
    }
}

int eval_services_watch(struct eval *e, struct error *err)
{
    for (int i = 0; i < e->n_services; i++)
        if (e->services[i].own && service_watch(e->services[i].own, 0, err))
            return fail_in(err, "private service %s", e->services[i].name);
    return 0;
}

int eval_service_text(const struct eval *e)
{
    for (int i = 0; i < e->n_services; i++)
        if (!strcmp(e->services[i].info.drafter_kind, drafter_kind_name(DRAFTER_TEXT)))
            return i;
    return -1;
}
