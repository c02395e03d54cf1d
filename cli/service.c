/* service.c - a whole service on this machine */
#include "cli/service.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/signals.h"
#include "cli/cli.h"
#include "cli/pump.h"
#include "cluster/launch.h"
#include "cluster/process.h"
#include "proto/step.h"

static const double START_SECONDS = 900; /* loading a large model and its warm-up; a process that died is noticed at once */
static const double DRAIN_SECONDS = 10;  /* the coordinator's own limit, where no other is given */
static const double END_SECONDS = 5;     /* that it gets to end after it */
static const double GROUP_SECONDS = 6;   /* mpirun gives its ranks 5 after SIGTERM */
static const double PAUSE_FIRST = 0.5,
                    PAUSE_LONGEST = 5;    /* of a crash loop; a group that is killed now and then should be back soon */
static const double HEALTHY_SECONDS = 10; /* a group that lived so long has served: its end is no crash loop */
static const double LOOK_SECONDS = 0.05;
enum { STEP_SECONDS = 30 }; /* massv-worker's own limit of a step, where no other is given */
enum { ARGUMENTS = 96, LINE = 1024 };

struct service_group {
    struct process *process; /* NULL while it waits to be started again */
    int life;                /* how many times it was started: its name is of this life */
    double started, again;   /* clock_seconds */
    double lost;             /* since when the coordinator has not had it; 0: it has, or never had in this life */
    int deaths;              /* in a row: without HEALTHY_SECONDS of life between them */
};

struct service {
    struct service_options options;
    struct pump *pump; /* slot 0 the coordinator, 1 + i group i */
    struct process *coordinator;
    int lines; /* the coordinator's stdout */
    char buffer[LINE];
    size_t buffered;
    char address[LINE], workers[LINE], metrics[LINE], line[LINE], failure[LINE]; /* what it said there, "" before */
    char *coordinator_path, *worker_path;
    char token[64]; /* "NAME=secret" for the environment of our processes alone: another service of this process has its own */
    struct service_group groups[SERVICE_GROUPS];
};

/* The words of an argument list that need memory of their own. */
struct words {
    char *argv[ARGUMENTS];
    int n;
};

static void words_add(struct words *words, const char *flag, const char *value)
{
    words->argv[words->n++] = mem_string(flag);
    if (value)
        words->argv[words->n++] = mem_string(value);
}

static void words_add_number(struct words *words, const char *flag, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    words_add(words, flag, text);
}

static void words_add_if(struct words *words, const char *flag, const char *value)
{
    if (value)
        words_add(words, flag, value);
}

static void words_free(struct words *words)
{
    for (int i = 0; i < words->n; i++)
        free(words->argv[i]);
}

/* Our address as the first of the hosts sees it: the one from which we would send to it. */
static int worker_address(char address[256], const char *hosts, struct error *err)
{
    char host[256];
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    snprintf(host, sizeof host, "%.*s", (int)strcspn(hosts, ":,"), hosts);
    int failed = getaddrinfo(host, "9", &hints, &found); /* any port: nothing is sent */
    if (failed)
        return fail(err, "--hosts: %s: %s", host, gai_strerror(failed));
    int fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    failed = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) || getsockname(fd, (struct sockaddr *)&own, &size);
    if (failed)
        fail(err, "--hosts: no way to %s: %s", host, strerror(errno));
    else if ((failed = getnameinfo((struct sockaddr *)&own, size, host, sizeof host, NULL, 0, NI_NUMERICHOST)))
        fail(err, "--hosts: %s", gai_strerror(failed));
    else
        snprintf(address, 256, strchr(host, ':') ? "[%.200s]:0" : "%.200s:0", host);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return failed ? -1 : 0;
}

/* Our children log as we do. */
static void words_add_log(struct words *words)
{
    words_add(words, "--log-format", log_format_names[log_format_now()]);
    words_add(words, "--log-level", log_level_names[log_level_now()]);
}

static void words_add_activations(struct words *words, bool f32)
{
    if (f32)
        words_add(words, "--activations", "f32");
}

/* Groups show a certificate where one is asked for. */
static void words_add_group_trust(struct words *words, const struct service_options *options)
{
    words_add_if(words, "--tls-ca", options->worker_authorities);
    if (!options->workers.authorities)
        return;
    words_add_if(words, "--tls-certificate", options->workers.certificate);
    words_add_if(words, "--tls-key", options->workers.key);
}

static void words_add_step_seconds(struct words *words, int seconds)
{
    if (seconds)
        words_add_number(words, "--step-seconds", seconds);
}

static void words_add_limits(struct words *words, const struct service_limits *limits)
{
    char value[LIMIT_TEXT];
    for (int i = 0; limits && i < LIMIT_FLAGS; i++) {
        const char *flag = limit_flag(limits, i, value);
        if (flag)
            words_add(words, flag, value);
    }
}

static int coordinator_spawn(struct service *s, struct error *err)
{
    const struct service_options *o = &s->options;
    char workers[256] = "127.0.0.1:0";
    int ends[2], log = -1, result = -1;
    if (o->hosts && worker_address(workers, o->hosts, err))
        return -1;
    struct words words = {0};
    words_add(&words, s->coordinator_path, NULL);
    words_add(&words, "--target", o->target);
    words_add_if(&words, "--drafter", o->drafter);
    words_add(&words, "--listen", o->listen);
    words_add(&words, "--worker-listen", workers);
    words_add_if(&words, "--metrics", o->metrics);
    words_add_if(&words, "--tls-certificate", o->security.certificate);
    words_add_if(&words, "--tls-key", o->security.key);
    words_add_if(&words, "--tls-client-ca", o->security.authorities);
    words_add_if(&words, "--token-file", o->security.token);
    words_add_if(&words, "--worker-tls-certificate", o->workers.certificate);
    words_add_if(&words, "--worker-tls-key", o->workers.key);
    words_add_if(&words, "--worker-tls-client-ca", o->workers.authorities);
    words_add_step_seconds(&words, o->step_seconds);
    if (o->threads)
        words_add_number(&words, "--threads", o->threads);
    words_add_limits(&words, o->limits);
    words_add_activations(&words, o->activations_f32);
    words_add_log(&words);
    if (pipe2(ends, O_CLOEXEC)) {
        fail(err, "no pipe: %s", strerror(errno));
    } else if ((log = pump_input(s->pump, 0, err)) >= 0) {
        char *const environment[] = {s->token, NULL};
        const struct process_options process = {
            .argv = words.argv, .environment = environment, .output = ends[1], .error_output = log};
        result = process_spawn(&s->coordinator, &process, err);
        close(log);
        close(ends[1]);
        s->lines = ends[0];
    }
    words_free(&words);
    return result;
}

/* mpirun's own variables, the secret and the group's name; an array to be freed, of strings that are not its own. */
static char **group_environment(const struct launch *launch, char *token, char *name)
{
    size_t n = 0;
    while (launch->environment && launch->environment[n])
        n++;
    char **list = mem_new(n + 3, sizeof *list);
    if (n)
        memcpy(list, launch->environment, n * sizeof *list);
    list[n] = token;
    list[n + 1] = name;
    return list;
}

static int group_spawn(struct service *s, int i, struct error *err)
{
    const struct service_options *o = &s->options;
    struct service_group *group = &s->groups[i];
    struct launch launch = {0};
    struct words words = {0};
    words_add(&words, s->worker_path, NULL);
    words_add(&words, "--target", o->target);
    words_add(&words, "--coordinator", s->workers);
    if (o->threads || !o->hosts) /* on other hosts the ranks see for themselves how many share one */
        words_add_number(&words, "--threads", cli_threads(o->threads, o->ranks * o->groups));
    if (o->kv_positions)
        words_add_number(&words, "--kv-positions", o->kv_positions);
    words_add_group_trust(&words, o);
    words_add_step_seconds(&words, o->step_seconds);
    words_add_activations(&words, o->activations_f32);
    words_add_log(&words);
    const char *const exported[] = {GROUP_TOKEN_VARIABLE, GROUP_NAME_VARIABLE, NULL};
    char name[64];
    snprintf(name, sizeof name, GROUP_NAME_VARIABLE "=%d.%d", i, ++group->life);
    group->lost = 0;
    const struct launch_options options = {
        .ranks = o->ranks, .hosts = o->hosts, .exported = exported, .program = (const char *const *)words.argv};
    int result = launch_argv(&launch, &options, err), log = -1;
    if (!result && (log = pump_input(s->pump, 1 + i, err)) < 0)
        result = -1;
    if (!result) {
        char **environment = group_environment(&launch, s->token, name);
        const struct process_options process = {
            .argv = launch.argv, .environment = environment, .output = log, .error_output = log};
        result = process_spawn(&group->process, &process, err);
        free(environment);
        close(log);
        group->started = clock_seconds();
    }
    launch_free(&launch);
    words_free(&words);
    return result;
}

/* "massv-coordinator ended with status 1: its last words" */
static int process_died(struct service *s, const char *name, int slot, int status, struct error *err)
{
    char words[900];
    pump_last_words(s->pump, slot, words, sizeof words);
    return fail(err, "%s ended with status %d: %s", name, status, words);
}

/* "I.LIFE attached" or "I.LIFE lost", maybe of a life that is over. */
static void group_hear(struct service *s, const char *line)
{
    int i, life;
    char what[16];
    if (sscanf(line, "%d.%d %15s", &i, &life, what) != 3 || i < 0 || i >= s->options.groups || s->groups[i].life != life)
        return;
    s->groups[i].lost = strcmp(what, "lost") == 0 ? clock_seconds() : 0;
}

/* One line of the coordinator's stdout into the field that it is about. */
static void line_take(struct service *s, const char *line)
{
    if (!strncmp(line, "listening on ", 13) && !*s->address) /* the first is the public one */
        snprintf(s->address, sizeof s->address, "%s", line + 13);
    else if (!strncmp(line, "workers on ", 11))
        snprintf(s->workers, sizeof s->workers, "%s", line + 11);
    else if (!strncmp(line, "metrics on ", 11))
        snprintf(s->metrics, sizeof s->metrics, "%s", line + 11);
    else if (!strncmp(line, "starting: the warm-up generation failed", 39))
        snprintf(s->failure, sizeof s->failure, "%s", line + 10);
    else if (!strncmp(line, "group ", 6))
        group_hear(s, line + 6);
    else if (!strncmp(line, "serving ", 8))
        snprintf(s->line, sizeof s->line, "%s", line);
}

static void lines_read(struct service *s, double seconds)
{
    struct pollfd wait = {.fd = s->lines, .events = POLLIN};
    if (poll(&wait, 1, (int)(seconds * 1e3)) <= 0)
        return;
    ssize_t n = read(s->lines, s->buffer + s->buffered, sizeof s->buffer - s->buffered);
    if (n <= 0) {
        clock_sleep(seconds); /* it has closed its stdout; that it ended is seen elsewhere */
        return;
    }
    s->buffered += (size_t)n;
    char *end;
    while ((end = memchr(s->buffer, '\n', s->buffered))) {
        *end = 0;
        line_take(s, s->buffer);
        s->buffered -= (size_t)(end + 1 - s->buffer);
        memmove(s->buffer, end + 1, s->buffered);
    }
    if (s->buffered == sizeof s->buffer) /* no line of ours is that long */
        s->buffered = 0;
}

/* Until `field` has been said. Every process must live. 1: a signal came. */
static int lines_await(struct service *s, const char *field, int groups, struct error *err)
{
    double until = clock_seconds() + START_SECONDS;
    while (!*field) {
        int status;
        lines_read(s, LOOK_SECONDS);
        if (*field)
            break;
        if (process_wait(s->coordinator, 0, &status))
            return process_died(s, "massv-coordinator", 0, status, err);
        for (int i = 0; i < groups; i++)
            if (process_wait(s->groups[i].process, 0, &status))
                return process_died(s, "worker group", 1 + i, status, err);
        if (*s->failure) /* the coordinator would try again; with a group that lives it fails again */
            return fail(err, "%s", s->failure);
        if (signals_pending()) {
            fail(err, "interrupted while the service was starting");
            return 1;
        }
        if (clock_seconds() > until)
            return fail(err, "the service did not get ready within %.0f s; its logs say how far it came", START_SECONDS);
    }
    return 0;
}

/* Worker groups of this service show a secret that nobody else knows. It goes through the environment: arguments are for all to
 * read. */
static int group_token_make(struct service *s, struct error *err)
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return fail(err, "no random bytes: %s", strerror(errno));
    size_t n = (size_t)snprintf(s->token, sizeof s->token, "%s=", GROUP_TOKEN_VARIABLE);
    for (size_t i = 0; i < sizeof bytes; i++)
        n += (size_t)snprintf(s->token + n, sizeof s->token - n, "%02x", bytes[i]);
    return 0;
}

static int service_bring_up(struct service *s, struct error *err)
{
    if (group_token_make(s, err) || cli_sibling(&s->coordinator_path, "massv-coordinator", err) ||
        cli_sibling(&s->worker_path, "massv-worker", err) || pump_open(&s->pump, err) || coordinator_spawn(s, err))
        return -1;
    int result = lines_await(s, s->workers, 0, err);
    if (result)
        return result;
    for (int i = 0; i < s->options.groups; i++)
        if (group_spawn(s, i, err))
            return -1;
    result = lines_await(s, s->line, s->options.groups, err);
    if (!result && s->options.relay)
        pump_relay(s->pump);
    return result;
}

int service_start(struct service **out, const struct service_options *options, struct error *err)
{
    struct service *s = mem_new(1, sizeof *s);
    s->options = *options;
    s->options.ranks = options->ranks ? options->ranks : 1;
    s->options.groups = options->groups ? options->groups : 1;
    s->lines = -1;
    int result = service_bring_up(s, err);
    if (result)
        service_stop(s);
    else
        *out = s;
    return result;
}

const char *service_address(const struct service *s)
{
    return s->address;
}

const char *service_metrics(const struct service *s)
{
    return s->metrics;
}

const char *service_line(const struct service *s)
{
    return s->line;
}

/* A group that has ended: what it said, and when it is started again. There is no last time: health tells that nobody serves. */
static void group_bury(struct service *s, int i, int status)
{
    struct error err;
    struct service_group *group = &s->groups[i];
    double now = clock_seconds(), pause = PAUSE_FIRST;
    process_close(group->process);
    group->process = NULL;
    group->deaths = now - group->started > HEALTHY_SECONDS ? 1 : group->deaths + 1;
    process_died(s, "worker group", 1 + i, status, &err);
    for (int k = 1; k < group->deaths && pause < PAUSE_LONGEST; k++)
        pause *= 2;
    group->again = now + (pause < PAUSE_LONGEST ? pause : PAUSE_LONGEST);
    log_line(LOG_WARNING, "%s; starting it again in %.1f s", err.text, group->again - now);
}

/* A leader that is stopped or hangs does not end: the coordinator lost it, and it does not dial again. */
static void group_end_silent(struct service *s, int i)
{
    struct service_group *group = &s->groups[i];
    int patience = s->options.step_seconds ? s->options.step_seconds : STEP_SECONDS;
    if (!group->process || group->lost <= 0 || clock_seconds() - group->lost < patience)
        return;
    log_line(LOG_WARNING, "worker group %d has not come back within %d s (--step-seconds) of its loss: ending it", i, patience);
    process_stop(group->process, GROUP_SECONDS);
    group->lost = 0;
}

int service_watch(struct service *s, double seconds, struct error *err)
{
    int status;
    if (process_wait(s->coordinator, seconds, &status))
        return process_died(s, "massv-coordinator", 0, status, err);
    lines_read(s, 0);
    for (int i = 0; i < s->options.groups; i++) {
        struct service_group *group = &s->groups[i];
        group_end_silent(s, i);
        if (group->process && process_wait(group->process, 0, &status))
            group_bury(s, i, status);
        if (!group->process && clock_seconds() >= group->again && group_spawn(s, i, err))
            return -1;
    }
    return 0;
}

void service_drain(struct service *s)
{
    int status;
    double until = clock_seconds() + END_SECONDS + (s->options.limits ? s->options.limits->drain_seconds : DRAIN_SECONDS);
    process_signal(s->coordinator, SIGTERM);
    while (!process_wait(s->coordinator, LOOK_SECONDS, &status) && clock_seconds() < until)
        if (signals_pending() == SIGINT)
            process_signal(s->coordinator, SIGINT);
}

/* The coordinator first: what it drains needs the groups, which end by themselves when it is gone. */
void service_stop(struct service *s)
{
    if (!s)
        return;
    if (s->coordinator)
        process_stop(s->coordinator, END_SECONDS + (s->options.limits ? s->options.limits->drain_seconds : DRAIN_SECONDS));
    for (int i = 0; i < SERVICE_GROUPS; i++)
        if (s->groups[i].process)
            process_stop(s->groups[i].process, GROUP_SECONDS);
    for (int i = 0; i < SERVICE_GROUPS; i++)
        process_close(s->groups[i].process);
    process_close(s->coordinator);
    pump_close(s->pump);
    if (s->lines >= 0)
        close(s->lines);
    free(s->coordinator_path);
    free(s->worker_path);
    free(s);
}
