/* serve.c - the coordinator's parts, in the order in which they need each other */
#include "coordinator/serve.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "coordinator/attach.h"
#include "coordinator/kserve.h"
#include "coordinator/metrics_page.h"
#include "coordinator/reflection.h"
#include "coordinator/scheduler.h"
#include "coordinator/service.h"
#include "coordinator/trust.h"
#include "model/fingerprint.h"
#include "model/model.h"
#include "proto/reflection.h"

static const double CLOSE_SECONDS = 1; /* for last messages, when all calls have been answered */

struct server {
    const struct coordinator_options *options;
    /* the target and its companions */
    struct model_config config;
    struct tokenizer *tokenizer;
    uint64_t fingerprint[2], tower[2];
    const struct kernels *kernels;
    struct device *device, *vision_device; /* of the scheduler's thread, of the preparing thread */
    struct drafter *drafter;
    struct preparer *preparer;
    /* threads and what they share */
    struct mailbox *mailbox;
    struct scheduler *scheduler;
    struct preparations *preparations;
    pthread_t scheduler_thread;
    struct reflection *reflection;
    struct health *health;
    bool served;        /* READY, for the first time: of the scheduler's thread */
    char starting[256]; /* why not yet, as was last told; also of that thread */
    struct service service;
    struct attach attach;
    struct rpc_server *public_server, *worker_server;
    struct metrics_page *metrics_page; /* NULL without one */
    char address[256];                 /* public */
    sem_t drained;
};

/* ---- the models ---- */

static int devices_open(struct server *s, struct error *err)
{
    const struct device_options options = {.threads = s->options->threads, .activations_f32 = s->options->activations_f32};
    s->kernels = kernels_cpu();
    s->device = s->kernels->open(&options, err);
    s->vision_device = s->device ? s->kernels->open(&options, err) : NULL;
    return s->vision_device ? 0 : -1;
}

static int drafter_load(struct server *s, struct error *err)
{
    const struct drafter_options options = {
        .kernels = s->kernels,
        .device = s->device,
        .vision_device = s->vision_device,
        .kv_positions = s->options->limits.draft_positions,
        .share_prompts = s->options->limits.prefix_cache,
        .target = {&s->config, s->tokenizer, s->config.has_vision ? s->tower : NULL},
    };
    if (!s->options->drafter)
        return 0;
    return drafter_open(&s->drafter, s->options->drafter, &options, err) == 0 ? 0 : fail_in(err, "--drafter");
}

/* What needs the target's tensors; st is closed afterwards. */
static int target_load(struct server *s, struct safetensors *st, struct error *err)
{
    if (model_fingerprint(st, &s->config, s->fingerprint, err) != 0)
        return -1;
    if (s->config.has_vision && tower_hash(st, &s->config, s->tower, err) != 0)
        return -1;
    if (drafter_load(s, err) != 0)
        return -1;
    const struct preparer_options options = {
        .kernels = s->kernels,
        .device = s->vision_device,
        .config = &s->config,
        .tokenizer = s->tokenizer,
        .drafter = s->drafter,
        .max_picture_pixels = s->options->limits.max_picture_pixels,
        .max_prompt_tokens = s->options->limits.max_prompt_tokens,
    };
    return preparer_open(&s->preparer, st, &options, err);
}

static int context_check(const struct server *s, struct error *err)
{
    if (s->options->limits.max_positions > s->config.max_positions)
        return fail(err, "--max-positions %d: the context of %s has %d positions", s->options->limits.max_positions, s->config.name,
                    s->config.max_positions);
    return 0;
}

static int pan_and_scan_choose(struct server *s, struct error *err)
{
    int choice = s->options->limits.pan_and_scan; /* limit_flags.h: an enum pan_and_scan */
    return config_pan_and_scan(&s->config, (enum pan_and_scan)choice, err) ? fail_in(err, "--pan-and-scan on") : 0;
}

static int models_open(struct server *s, struct error *err)
{
    struct safetensors *st = NULL;
    const char *dir = s->options->target;
    if (config_read(&s->config, dir, err) != 0 || tokenizer_open(&s->tokenizer, dir, err) != 0 ||
        safetensors_open(&st, dir, err) != 0)
        return fail_in(err, "--target");
    int rc =
        pan_and_scan_choose(s, err) == 0 && context_check(s, err) == 0 && devices_open(s, err) == 0 ? target_load(s, st, err) : -1;
    safetensors_close(st);
    return rc;
}

/* ---- what the scheduler asks for ---- */

static void hook_prepare(void *context, struct preparation *job)
{
    struct server *s = context;
    preparations_add(s->preparations, job);
}

static struct request *hook_warm_up(void *context, struct preparation **job)
{
    struct server *s = context;
    return service_warm_up(&s->service, job);
}

static void line_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void line_print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void hook_health(void *context, const struct health_info *info, double now)
{
    struct server *s = context;
    health_say(s->health, info, now);
    if (s->served)
        return;
    s->served = !strcmp(info->state, "READY");
    if (s->served)
        line_print("serving %s on %s", s->config.name, s->address);
    else if (strcmp(info->reason, s->starting) != 0)
        line_print("starting: %s", info->reason);
    snprintf(s->starting, sizeof s->starting, "%s", info->reason);
}

/* For the one that started both. */
static void hook_group(void *context, const char *name, bool attached)
{
    (void)context;
    line_print("group %s %s", name, attached ? "attached" : "lost");
}

static void hook_drained(void *context)
{
    struct server *s = context;
    sem_post(&s->drained);
}

/* ---- threads and servers ---- */

static int context_size(const struct server *s)
{
    return s->options->limits.max_positions ? s->options->limits.max_positions : s->config.max_positions;
}

static void *scheduler_thread(void *arg)
{
    struct server *s = arg;
    scheduler_run(s->scheduler, s->mailbox);
    return NULL;
}

static struct scheduler *scheduler_make(struct server *s)
{
    const struct coordinator_options *o = s->options;
    struct scheduler_options options = {
        .identity = {.fingerprint = {s->fingerprint[0], s->fingerprint[1]},
                     .feature_width = s->config.d,
                     .vocabulary = s->config.vocabulary,
                     .layout = kv_layout(&s->config, MODEL_PAGE_POSITIONS)},
        .max_positions = context_size(s),
        .max_requests = o->limits.max_requests,
        .max_waiting = o->limits.max_waiting,
        .wait_seconds = o->limits.max_wait_seconds,
        .group_wait_seconds = o->limits.group_wait_seconds,
        .step_seconds = o->step_seconds,
        .stall_ms = o->limits.stall_ms,
        .prefix_cache = o->limits.prefix_cache,
        .message_limit = (size_t)o->limits.message_limit << 20,
        .tokenizer = s->tokenizer,
        .drafts = draft_source_of(s->drafter),
        .hooks = {s, hook_prepare, hook_warm_up, hook_health, hook_group, hook_drained},
    };
    memcpy(options.identity.model, s->config.name, sizeof options.identity.model);
    return scheduler_new(&options);
}

static void parts_make(struct server *s)
{
    s->mailbox = mailbox_new();
    s->health = health_new();
    s->scheduler = scheduler_make(s);
    s->preparations = preparations_start(s->preparer, s->mailbox);
    s->service = (struct service){.mailbox = s->mailbox,
                                  .health = s->health,
                                  .config = &s->config,
                                  .fingerprint = {s->fingerprint[0], s->fingerprint[1]},
                                  .drafter = s->drafter,
                                  .draft_tokens = s->options->limits.draft_tokens,
                                  .max_positions = context_size(s),
                                  .device = s->kernels->describe(s->device),
                                  .started = clock_seconds()};
    s->attach = (struct attach){.mailbox = s->mailbox};
}

/* After the addresses are known: it prints one when the service is ready. Events wait in the mailbox until then. */
static void scheduler_start(struct server *s)
{
    DEVICE_CHECK(pthread_create(&s->scheduler_thread, NULL, scheduler_thread, s) == 0, "cannot start the scheduler's thread");
}

/* "host:0" with the port that was chosen. */
static void address_print(char *text, size_t size, const char *address, int port)
{
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0 || !colon)
        snprintf(text, size, "%s", address);
    else
        snprintf(text, size, "%.*s:%d", (int)(colon - address), address, port);
}

static int ports_open(struct server *s, const struct trust *trust, struct error *err)
{
    const struct coordinator_options *o = s->options;
    const struct rpc_options clients = {
        .message_limit = (size_t)o->limits.message_limit << 20, .limit_name = "--message-limit", .security = &trust->clients};
    const struct rpc_options workers = {
        .message_limit = (size_t)o->limits.message_limit << 20, .limit_name = "--message-limit", .security = &trust->workers};
    const struct rpc_service public[] = {
        {.methods = service_methods, .context = &s->service},
        {.methods = kserve_methods, .context = &s->service},
        {.methods = health_methods, .context = s->health, .needs_no_token = true}, /* probes have none */
        {.methods = reflection_methods, .context = s->reflection},
        {0},
    };
    const struct rpc_service inner[] = {{.methods = attach_methods, .context = &s->attach}, {0}};
    if (rpc_server_open(&s->public_server, o->listen, o->n_listen, public, &clients, err) != 0)
        return fail_in(err, "--listen");
    if (rpc_server_open(&s->worker_server, &o->worker_listen, 1, inner, &workers, err) != 0)
        return fail_in(err, "--worker-listen");
    return 0;
}

static int servers_open(struct server *s, struct error *err)
{
    const struct coordinator_options *o = s->options;
    char address[256];
    struct trust trust;
    if (reflection_open(&s->reflection, reflection_files(), err) != 0 || trust_read(&trust, o, err) != 0)
        return -1;
    int rc = ports_open(s, &trust, err);
    trust_free(&trust);
    if (rc != 0)
        return rc;
    for (int i = o->n_listen - 1; i >= 0; i--)
        address_print(s->address, sizeof s->address, o->listen[i], rpc_server_port(s->public_server, i));
    for (int i = 0; i < o->n_listen; i++) {
        address_print(address, sizeof address, o->listen[i], rpc_server_port(s->public_server, i));
        line_print("listening on %s", address);
    }
    address_print(address, sizeof address, o->worker_listen, rpc_server_port(s->worker_server, 0));
    line_print("workers on %s", address);
    return 0;
}

static int metrics_open(struct server *s, struct error *err)
{
    char address[256];
    const struct metrics_page_options options = {
        .address = s->options->metrics,
        .mailbox = s->mailbox,
        .health = s->health,
        .build = {MASSV_VERSION, s->config.name, s->drafter ? drafter_name(s->drafter) : "",
                  drafter_kind_name(s->drafter ? drafter_kind(s->drafter) : DRAFTER_NONE)},
    };
    if (!s->options->metrics)
        return 0;
    if (metrics_page_open(&s->metrics_page, &options, err) != 0)
        return fail_in(err, "--metrics");
    address_print(address, sizeof address, options.address, metrics_page_port(s->metrics_page));
    line_print("metrics on %s", address);
    return 0;
}

/* Meanwhile this thread, which has nothing else to do, looks whether the scheduler's still speaks. */
static void signal_wait(struct server *s)
{
    sigset_t signals;
    int signal;
    const struct timespec second = {.tv_sec = 1};
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    while ((signal = sigtimedwait(&signals, NULL, &second)) < 0)
        health_look(s->health, clock_seconds());
    log_line(LOG_INFO, "%s: draining", signal == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* Lets running requests finish within --drain-seconds; new ones are refused while Health still answers. Ctrl-C ends the wait: who
 * presses it has no patience left. SIGTERM does not: supervisors send it to every process of a service, so it comes twice. */
static void drain(struct server *s)
{
    sigset_t interrupt;
    const struct timespec look = {.tv_nsec = 20000000};
    double until = clock_seconds() + s->options->limits.drain_seconds;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    mailbox_post(s->mailbox, &(struct event){.kind = EVENT_DRAIN});
    while (sem_trywait(&s->drained) != 0 && clock_seconds() < until)
        if (sigtimedwait(&interrupt, NULL, &look) > 0) {
            log_line(LOG_INFO, "SIGINT: the drain ends here");
            return;
        }
}

/* The scheduler refuses what still arrives, and goes last: nobody is left then who could post an event. */
static void threads_stop(struct server *s)
{
    metrics_page_close(s->metrics_page);
    mailbox_post(s->mailbox, &(struct event){.kind = EVENT_STOP});
    health_close(s->health);
    rpc_server_close(s->worker_server, CLOSE_SECONDS); /* first: groups must not dial in again */
    rpc_server_close(s->public_server, CLOSE_SECONDS);
    preparations_stop(s->preparations);
    mailbox_post(s->mailbox, &(struct event){.kind = EVENT_EXIT});
    pthread_join(s->scheduler_thread, NULL);
    scheduler_free(s->scheduler);
    preparations_free(s->preparations);
    mailbox_free(s->mailbox);
    health_free(s->health);
    reflection_close(s->reflection);
}

static void models_close(struct server *s)
{
    preparer_close(s->preparer);
    drafter_close(s->drafter);
    if (s->kernels) {
        s->kernels->close(s->vision_device);
        s->kernels->close(s->device);
    }
    tokenizer_close(s->tokenizer);
}

int serve(const struct coordinator_options *options, struct error *err)
{
    struct server s = {.options = options};
    sem_init(&s.drained, 0, 0);
    int rc = models_open(&s, err);
    if (rc == 0) {
        parts_make(&s);
        rc = servers_open(&s, err) == 0 ? metrics_open(&s, err) : -1;
        scheduler_start(&s);
        if (rc == 0) {
            signal_wait(&s);
            drain(&s);
        }
        threads_stop(&s);
    }
    models_close(&s);
    sem_destroy(&s.drained);
    return rc;
}
