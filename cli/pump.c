/* pump.c - what child processes write */
#include "cli/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

enum { KEPT = 8192, LINE = 4000, POLL_MS = 50 };

struct pump_slot {
    int fd; /* -1 = none */
    size_t n;
    char kept[KEPT];
    size_t part; /* of a line that has not ended yet */
    char line[LINE];
};

struct pump {
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    bool relay, end;
    struct pump_slot slots[PUMP_INPUTS];
};

/* Keeps the last KEPT bytes. */
static void slot_keep(struct pump_slot *slot, const char *bytes, size_t n)
{
    if (slot->n + n > KEPT) {
        size_t drop = slot->n + n - KEPT;
        memmove(slot->kept, slot->kept + drop, slot->n - drop);
        slot->n -= drop;
    }
    memcpy(slot->kept + slot->n, bytes, n);
    slot->n += n;
}

static void slot_line_end(struct pump_slot *slot)
{
    if (slot->part)
        log_relay(slot->line, slot->part);
    slot->part = 0;
}

/* Line by line, so that those of several children do not mix. */
static void slot_relay(struct pump_slot *slot, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != '\n')
            slot->line[slot->part++] = bytes[i];
        if (bytes[i] == '\n' || slot->part == LINE)
            slot_line_end(slot);
    }
}

/* Takes what is there; the descriptor does not block. */
static void slot_read(struct pump_slot *slot, bool relay)
{
    char bytes[KEPT / 2];
    ssize_t n;
    while ((n = read(slot->fd, bytes, sizeof bytes)) > 0) {
        slot_keep(slot, bytes, (size_t)n);
        if (relay)
            slot_relay(slot, bytes, (size_t)n);
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    slot_line_end(slot);
    close(slot->fd);
    slot->fd = -1;
}

static void *pump_run(void *argument)
{
    struct pump *pump = argument;
    for (;;) {
        struct pollfd polls[PUMP_INPUTS];
        pthread_mutex_lock(&pump->lock);
        bool end = pump->end;
        for (int i = 0; i < PUMP_INPUTS; i++)
            polls[i] = (struct pollfd){.fd = pump->slots[i].fd, .events = POLLIN};
        pthread_mutex_unlock(&pump->lock);
        if (end)
            return NULL;
        poll(polls, PUMP_INPUTS, POLL_MS);
        pthread_mutex_lock(&pump->lock);
        for (int i = 0; i < PUMP_INPUTS; i++)
            if (pump->slots[i].fd >= 0)
                slot_read(&pump->slots[i], pump->relay);
        pthread_mutex_unlock(&pump->lock);
    }
}

int pump_open(struct pump **out, struct error *err)
{
    struct pump *pump = mem_new(1, sizeof *pump);
    pthread_mutex_init(&pump->lock, NULL);
    for (int i = 0; i < PUMP_INPUTS; i++)
        pump->slots[i].fd = -1;
    int failed = pthread_create(&pump->thread, NULL, pump_run, pump);
    if (failed) {
        free(pump);
        return fail(err, "no thread: %s", strerror(failed));
    }
    *out = pump;
    return 0;
}

void pump_close(struct pump *pump)
{
    if (!pump)
        return;
    pthread_mutex_lock(&pump->lock);
    pump->end = true;
    pthread_mutex_unlock(&pump->lock);
    pthread_join(pump->thread, NULL);
    for (int i = 0; i < PUMP_INPUTS; i++)
        if (pump->slots[i].fd >= 0)
            close(pump->slots[i].fd);
    pthread_mutex_destroy(&pump->lock);
    free(pump);
}

int pump_input(struct pump *pump, int i, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return fail(err, "no pipe: %s", strerror(errno));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    pthread_mutex_lock(&pump->lock);
    if (pump->slots[i].fd >= 0)
        close(pump->slots[i].fd);
    pump->slots[i].fd = ends[0];
    pump->slots[i].n = 0;
    pthread_mutex_unlock(&pump->lock);
    return ends[1];
}

void pump_relay(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    pump->relay = true;
    for (int i = 0; i < PUMP_INPUTS; i++)
        slot_relay(&pump->slots[i], pump->slots[i].kept, pump->slots[i].n);
    pthread_mutex_unlock(&pump->lock);
}

/* A log line in JSON as one in text, which is never longer. */
static void line_of_json(char *line)
{
    const char *program, *level, *message;
    size_t size = strlen(line) + 1;
    json_t *object = *line == '{' ? json_loads(line, 0, NULL) : NULL;
    if (object && json_unpack(object, "{s:s, s:s, s:s}", "program", &program, "level", &level, "message", &message) == 0)
        snprintf(line, size, "%s %s %s", program, level, message);
    json_decref(object);
}

static bool line_is_rule(const char *line)
{
    return strlen(line) > 5 && strspn(line, "-=") == strlen(line);
}

/* How much a line tells. mpirun writes pages of advice between two rules, of which the first line says what happened. */
enum { TELLS_NOTHING, TELLS_ADVICE, TELLS_ANYTHING, TELLS_WHO_DIED, TELLS_WHY };

static int line_worth(const char *line, bool between_rules)
{
    if (strspn(line, "-= \t") == strlen(line) || strstr(line, " info "))
        return TELLS_NOTHING;
    if (!strncmp(line, "massv", 5) || strstr(line, " error ") || strstr(line, "ERROR: "))
        return TELLS_WHY;
    if (!strncmp(line, "mpirun ", 7) || strstr(line, "Primary job") || strstr(line, "exited on signal"))
        return TELLS_WHO_DIED;
    return between_rules ? TELLS_ADVICE : TELLS_ANYTHING;
}

void pump_last_words(struct pump *pump, int i, char *line, size_t size)
{
    pthread_mutex_lock(&pump->lock);
    struct pump_slot *slot = &pump->slots[i];
    if (slot->fd >= 0) /* on a busy machine the thread comes when it is too late */
        slot_read(slot, pump->relay);
    char *text = mem_new(slot->n + 1, 1), *rest = text, *each;
    memcpy(text, slot->kept, slot->n);
    pthread_mutex_unlock(&pump->lock);
    int worth = TELLS_NOTHING;
    bool between_rules = false;
    snprintf(line, size, "it said nothing");
    while ((each = strsep(&rest, "\n"))) {
        line_of_json(each);
        int more = line_worth(each, between_rules);
        between_rules ^= line_is_rule(each);
        if (more < worth || more == TELLS_NOTHING || (more == worth && more == TELLS_ADVICE))
            continue;
        const char *text_of_log = strstr(each, " error "); /* behind its time and its speaker */
        worth = more;
        snprintf(line, size, "%s", text_of_log ? text_of_log + 7 : each);
    }
    free(text);
}
