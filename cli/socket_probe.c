/* socket_probe.c - a TCP connection between the first and the last rank, measured from end to end */
#include "cli/socket_probe.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { ADDRESSES = 16, PINGS = 50, LONG_BYTES = 4 << 20, WAIT_SECONDS = 10, CONNECT_SECONDS = 2 };

struct socket_line {
    struct comm *comm;
    int fd; /* -1 on the ranks between */
    char *bytes;
};

struct offer { /* what rank 0 tells the others */
    char host[64], port[8], address[ADDRESSES][64];
    bool loopback[ADDRESSES]; /* only for who has the same host name */
    int n;
    unsigned char secret[16]; /* who connects says it: ports of one number are on every host */
};

static void socket_limit(int fd, int seconds)
{
    const struct timeval limit = {.tv_sec = seconds};
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* bounds connect(2), too */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool all_send(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool all_receive(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

/* ---- rank 0 ---- */

static void offer_addresses(struct offer *offer)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all))
        return;
    for (const struct ifaddrs *i = all; i && offer->n < ADDRESSES; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP))
            continue;
        if (getnameinfo(i->ifa_addr, sizeof(struct sockaddr_in), offer->address[offer->n], sizeof *offer->address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            offer->loopback[offer->n++] = (i->ifa_flags & IFF_LOOPBACK) != 0;
    }
    freeifaddrs(all);
}

/* The listening socket, or -1. */
static int offer_make(struct offer *offer, struct error *err)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gethostname(offer->host, sizeof offer->host - 1);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) || listen(fd, 8) ||
        getsockname(fd, (struct sockaddr *)&any, &size) ||
        getrandom(offer->secret, sizeof offer->secret, 0) != sizeof offer->secret) {
        fail(err, "no listening socket for the probe: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    snprintf(offer->port, sizeof offer->port, "%d", ntohs(any.sin_port));
    offer_addresses(offer);
    return fd;
}

static int offer_accept(int listener, const struct offer *offer, struct error *err)
{
    double until = clock_seconds() + WAIT_SECONDS, left;
    while ((left = until - clock_seconds()) > 0) {
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        int fd = poll(&wait, 1, (int)(left * 1e3)) > 0 ? accept(listener, NULL, NULL) : -1;
        unsigned char secret[sizeof offer->secret];
        if (fd < 0)
            continue;
        socket_limit(fd, WAIT_SECONDS);
        if (all_receive(fd, secret, sizeof secret) && !memcmp(secret, offer->secret, sizeof secret))
            return fd;
        close(fd);
    }
    return fail(err, "the last rank did not connect to %s within %d s, at any of its IPv4 addresses", offer->host, WAIT_SECONDS);
}

/* ---- the last rank ---- */

static int address_dial(const char *address, const struct offer *offer)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(address, offer->port, &hints, &found))
        return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socket_limit(fd, CONNECT_SECONDS);
    bool there = fd >= 0 && !connect(fd, found->ai_addr, found->ai_addrlen) && all_send(fd, offer->secret, sizeof offer->secret);
    freeaddrinfo(found);
    if (there) {
        socket_limit(fd, WAIT_SECONDS);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static int offer_take(const struct offer *offer, struct error *err)
{
    char host[64] = "";
    int fd = -1;
    gethostname(host, sizeof host - 1);
    for (int i = 0; i < offer->n && fd < 0; i++)
        if (!offer->loopback[i] || !strcmp(host, offer->host))
            fd = address_dial(offer->address[i], offer);
    return fd >= 0 ? fd : fail(err, "%s cannot connect to %s, where rank 0 is, at any of its IPv4 addresses", host, offer->host);
}

/* ---- all ---- */

/* Every rank learns whether all ranks did well, and from the first that did not why. */
static int together(struct comm *comm, int result, struct error *err)
{
    struct said {
        int failed;
        char text[256];
    } own = {.failed = result != 0}, *all = mem_new((size_t)comm->size, sizeof *all);
    if (result)
        snprintf(own.text, sizeof own.text, "%.255s", err->text);
    comm->calls->all_gather(comm, all, &own, sizeof own);
    for (int r = comm->size - 1; r >= 0; r--)
        if (all[r].failed)
            result = fail(err, "%s", all[r].text);
    free(all);
    return result;
}

int socket_line_open(struct socket_line **out, struct comm *comm, struct error *err)
{
    struct socket_line *line = mem_new(1, sizeof *line);
    struct offer offer = {.n = 0};
    int listener = comm->rank == 0 ? offer_make(&offer, err) : -1, result = comm->rank == 0 && listener < 0 ? -1 : 0;
    *line = (struct socket_line){.comm = comm, .fd = -1, .bytes = mem_new(LONG_BYTES, 1)};
    result = together(comm, result, err);
    if (!result) {
        comm->calls->broadcast(comm, &offer, sizeof offer, 0);
        if (comm->rank == comm->size - 1)
            result = (line->fd = offer_take(&offer, err)) < 0 ? -1 : 0;
        else if (comm->rank == 0)
            result = (line->fd = offer_accept(listener, &offer, err)) < 0 ? -1 : 0;
        result = together(comm, result, err);
    }
    if (listener >= 0)
        close(listener);
    if (result)
        socket_line_close(line);
    else
        *out = line;
    return result;
}

void socket_line_close(struct socket_line *line)
{
    if (!line)
        return;
    if (line->fd >= 0)
        close(line->fd);
    free(line->bytes);
    free(line);
}

static void keep_least(double *best, double seconds)
{
    if (*best <= 0 || seconds < *best)
        *best = seconds;
}

/* Rank 0 sends and measures, the last rank answers with one byte. */
static bool exchange(const struct socket_line *line, size_t size, double *seconds)
{
    char byte = 0;
    double begin = clock_seconds();
    bool first = line->comm->rank == 0;
    bool well = first ? all_send(line->fd, line->bytes, size) && all_receive(line->fd, &byte, 1)
                      : all_receive(line->fd, line->bytes, size) && all_send(line->fd, &byte, 1);
    *seconds = clock_seconds() - begin;
    return well;
}

int socket_line_sample(struct socket_line *line, struct socket_probe *best, struct error *err)
{
    double seconds, ping = 2 * best->seconds, whole = best->seconds > 0 ? LONG_BYTES / best->bytes_per_second + best->seconds : 0;
    bool well = true;
    for (int i = 0; i <= PINGS && well && line->fd >= 0; i++) {
        well = exchange(line, i < PINGS ? 1 : LONG_BYTES, &seconds);
        if (well)
            keep_least(i < PINGS ? &ping : &whole, seconds);
    }
    if (!well)
        fail(err, "the connection between the first and the last rank broke, or took more than %d s", WAIT_SECONDS);
    if (together(line->comm, well ? 0 : -1, err))
        return -1;
    best->seconds = ping / 2;
    best->bytes_per_second = LONG_BYTES / (whole - ping / 2); /* the answer's way back is not the message's */
    line->comm->calls->broadcast(line->comm, best, sizeof *best, 0);
    return 0;
}
