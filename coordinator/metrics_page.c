/* metrics_page.c - two pages over libmicrohttpd */
#include "coordinator/metrics_page.h"

#include <errno.h>
#include <jansson.h>
#include <microhttpd.h>
#include <netdb.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "coordinator/scheduler.h"
#include "proto/rpc_address.h"

enum {
    CONNECTIONS = 16,
    CONNECTION_BYTES = 16 << 10, /* for the head of a question */
    IDLE_SECONDS = 10,           /* without a byte from or to the peer */
    SCHEDULER_SECONDS = 5        /* less than a scraper's usual patience of 10 */
};

struct metrics_page {
    struct metrics_page_options options;
    struct MHD_Daemon *daemon;
    int port;
};

/* A copy of the counts on its way from the scheduler's thread; the last one to drop it frees it. */
struct copy {
    atomic_int holders;
    sem_t made;
    struct metrics metrics;
};

static void copy_drop(struct copy *copy)
{
    if (atomic_fetch_sub(&copy->holders, 1) != 1)
        return;
    sem_destroy(&copy->made);
    free(copy);
}

static void copy_make(struct scheduler *scheduler, void *arg)
{
    struct copy *copy = arg;
    scheduler_metrics(scheduler, &copy->metrics);
    sem_post(&copy->made);
    copy_drop(copy);
}

/* NULL: the scheduler is busy for too long. */
static struct copy *copy_ask(struct mailbox *mailbox)
{
    struct copy *copy = mem_new(1, sizeof *copy);
    struct timespec until;
    int missing;
    atomic_init(&copy->holders, 2);
    sem_init(&copy->made, 0, 0);
    mailbox_post(mailbox, &(struct event){.kind = EVENT_ASKED, .ask = copy_make, .arg = copy});
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SCHEDULER_SECONDS;
    while ((missing = sem_clockwait(&copy->made, CLOCK_MONOTONIC, &until)) != 0 && errno == EINTR)
        ;
    if (!missing)
        return copy;
    copy_drop(copy);
    return NULL;
}

/* ---- pages ---- */

/* text: malloc'ed. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type, char *text, size_t size)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned status, const char *words)
{
    return reply(connection, status, "text/plain; charset=utf-8", mem_string(words), strlen(words));
}

static struct health_info health_now(const struct metrics_page *page)
{
    struct health_info info;
    health_get(page->options.health, clock_seconds(), &info);
    return info;
}

static bool is_ready(const struct health_info *info)
{
    return strcmp(info->state, "READY") == 0;
}

static enum MHD_Result page_metrics(const struct metrics_page *page, struct MHD_Connection *connection)
{
    struct health_info info = health_now(page);
    struct copy *copy = copy_ask(page->options.mailbox);
    if (!copy)
        return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the scheduler is busy\n");
    size_t size;
    char *text = metrics_text(&copy->metrics, &page->options.build, is_ready(&info), &size);
    copy_drop(copy);
    return reply(connection, MHD_HTTP_OK, METRICS_CONTENT_TYPE, text, size);
}

static enum MHD_Result page_health(const struct metrics_page *page, struct MHD_Connection *connection)
{
    struct health_info info = health_now(page);
    json_t *object = json_pack("{s:s, s:s}", "state", info.state, "reason", info.reason);
    char *json = json_dumps(object, JSON_COMPACT), *text = mem_format("%s\n", json ? json : "{}");
    json_decref(object);
    free(json);
    return reply(connection, is_ready(&info) ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "application/json", text, strlen(text));
}

static const struct {
    const char *path;
    enum MHD_Result (*answer)(const struct metrics_page *page, struct MHD_Connection *connection);
} pages[] = {{"/metrics", page_metrics}, {"/health", page_health}};

/* Called with the head, then with pieces of the body, which nobody wants, then without one. */
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **seen)
{
    const struct metrics_page *page = context;
    (void)version;
    (void)body;
    if (!*seen || *body_size) {
        *seen = context; /* anything but NULL */
        *body_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET is wanted\n");
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(path, pages[i].path) == 0)
            return pages[i].answer(page, connection);
    return reply_words(connection, MHD_HTTP_NOT_FOUND, "here are /metrics and /health\n");
}

/* ---- the server ---- */

/* A listening socket, or -1 with errno. */
static int listen_on(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 && bind(fd, info->ai_addr, info->ai_addrlen) == 0 &&
        listen(fd, CONNECTIONS) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* A listening socket at "host:port", or -1: at the first of the name's addresses that this machine can listen on. */
static int listen_at(const char *address, struct error *err)
{
    if (rpc_address_check(address, err) != 0)
        return -1;
    if (rpc_address_is_unix(address))
        return fail(err, "%s: HTTP is served on host:port", address);
    bool brackets = *address == '[';
    char *host = mem_string(address + brackets), *colon = strrchr(host, ':');
    colon[-brackets] = 0;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int unknown = getaddrinfo(host, colon + 1, &hints, &found), fd = -1;
    free(host);
    if (unknown)
        return fail(err, "cannot listen on %s: %s", address, gai_strerror(unknown));
    for (const struct addrinfo *info = found; info && fd < 0; info = info->ai_next)
        fd = listen_on(info);
    if (fd < 0)
        fail(err, "cannot listen on %s: %s", address, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

static int port_of(int fd)
{
    char port[8] = "0";
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &size) == 0)
        getnameinfo((struct sockaddr *)&own, size, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    return atoi(port);
}

int metrics_page_open(struct metrics_page **out, const struct metrics_page_options *options, struct error *err)
{
    int fd = listen_at(options->address, err);
    if (fd < 0)
        return -1;
    struct metrics_page *page = mem_new(1, sizeof *page);
    page->options = *options;
    page->port = port_of(fd);
    page->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0,
                                    NULL, NULL, answer, page, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                    (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                                    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (!page->daemon) {
        close(fd);
        free(page);
        return fail(err, "cannot serve HTTP on %s", options->address);
    }
    *out = page;
    return 0;
}

int metrics_page_port(const struct metrics_page *page)
{
    return page->port;
}

void metrics_page_close(struct metrics_page *page)
{
    if (!page)
        return;
    MHD_stop_daemon(page->daemon);
    free(page);
}
