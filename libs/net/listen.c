#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 511

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* 0 when it is none. */
static socklen_t address_parse(const char *host, uint16_t port, union address *out)
{
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(port);
        return sizeof(out->v4);
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        return sizeof(out->v6);
    }
    return 0;
}

static int open_socket(const union address *address, socklen_t len)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->any.sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    if (bind(fd, &address->any, len) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

struct status listen_open(const char *host, uint16_t port, struct arena *arena, int *fd,
                          uint16_t *bound_port)
{
    union address address;
    enum reason reason = REASON_CONFIG_INVALID;
    const char *why = "not a numeric address";
    socklen_t len = address_parse(host, port, &address);
    if (len > 0) {
        int opened = open_socket(&address, len);
        if (opened >= 0) {
            check(getsockname(opened, &address.any, &len) == 0);
            *fd = opened;
            *bound_port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port
                                                                 : address.v6.sin6_port);
            return STATUS_SUCCESS;
        }
        reason = REASON_ADDRESS_IN_USE;
        why = strerror(errno);
    }
    return status_of(
        reason,
        arena == NULL ? NULL : arena_printf(arena, "%s port %u: %s", host, (unsigned)port, why));
}
