/* rpc_address.c - what is wrong with an address, in words */
#include "proto/rpc_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/memory.h"

static const char unix_prefix[] = "unix:";

bool rpc_address_is_unix(const char *address)
{
    return strncmp(address, unix_prefix, sizeof unix_prefix - 1) == 0;
}

static int rpc_address_unix(const char *address, struct sockaddr_un *out, struct error *err)
{
    const char *path = address + sizeof unix_prefix - 1;
    size_t size = strlen(path);
    if (!size || size >= sizeof out->sun_path)
        return fail(err, "%s: the path of a Unix socket has 1 to %zu bytes", address, sizeof out->sun_path - 1);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, size + 1);
    return 0;
}

/* The colon before the port, or NULL. A v6 host must stand in brackets, or the port could not be told from it. */
static const char *rpc_address_colon(const char *address)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address)
        return NULL;
    if (*address == '[')
        return colon[-1] == ']' ? colon : NULL;
    return memchr(address, ':', (size_t)(colon - address)) ? NULL : colon;
}

/* malloc'ed, without brackets. */
static char *rpc_address_host(const char *address)
{
    const char *colon = rpc_address_colon(address);
    bool brackets = *address == '[';
    char *host = mem_string(address + brackets);
    host[colon - address - 2 * brackets] = 0;
    return host;
}

static bool rpc_address_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool rpc_address_is_local(const char *address)
{
    if (rpc_address_is_unix(address))
        return true;
    char *host = rpc_address_host(address);
    bool local = rpc_address_is_loopback(host) || strcmp(host, "localhost") == 0;
    free(host);
    return local;
}

int rpc_address_check(const char *address, struct error *err)
{
    if (rpc_address_is_unix(address)) {
        struct sockaddr_un path;
        return rpc_address_unix(address, &path, err);
    }
    const char *colon = rpc_address_colon(address);
    const char *digits = colon ? colon + 1 : "";
    size_t n = strspn(digits, "0123456789");
    if (!n || n > 5 || digits[n] || atoi(digits) > 65535)
        return fail(err, "%s: not an address; right are host:port, [v6 address]:port and unix:/path, with a port of 0 to 65535",
                    address);
    return 0;
}

int rpc_address_free(const char *address, struct error *err)
{
    struct sockaddr_un path;
    if (!rpc_address_is_unix(address))
        return 0;
    if (rpc_address_unix(address, &path, err))
        return -1;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return fail(err, "cannot listen on %s: %s", address, strerror(errno));
    int answered = connect(probe, (struct sockaddr *)&path, sizeof path) == 0;
    close(probe);
    return answered ? fail(err, "cannot listen on %s: Address already in use", address) : 0;
}

/* 0, or the errno of a bind and listen. */
static int rpc_address_try(const struct sockaddr *address, socklen_t size, int family)
{
    int probe = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return errno;
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int error = bind(probe, address, size) || listen(probe, 1) ? errno : 0;
    close(probe);
    return error;
}

static int rpc_address_try_host(const char *address, const char **reason)
{
    const char *colon = rpc_address_colon(address);
    char *host = rpc_address_host(address);
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int unknown = getaddrinfo(host, colon + 1, &hints, &found);
    free(host);
    if (unknown) {
        *reason = gai_strerror(unknown);
        return -1;
    }
    int error = rpc_address_try(found->ai_addr, found->ai_addrlen, found->ai_family);
    freeaddrinfo(found);
    *reason = strerror(error);
    return error;
}

int rpc_address_refused(const char *address, const char *otherwise, struct error *err)
{
    const char *reason = "";
    int error;
    struct sockaddr_un path;
    if (!rpc_address_is_unix(address)) {
        error = rpc_address_try_host(address, &reason);
    } else {
        if (rpc_address_unix(address, &path, err))
            return -1;
        error = rpc_address_try((struct sockaddr *)&path, sizeof path, AF_UNIX);
        reason = strerror(error);
        if (!error)
            unlink(path.sun_path);
    }
    return fail(err, "cannot listen on %s: %s", address, error ? reason : otherwise);
}
