#include "net/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "loop/task.h"

static struct status dial_failed(const char *why)
{
    return status_of(REASON_CONNECT_FAILED, why);
}

/* Something to wait for, until it is late. */
struct dial_wait {
    struct op op;
    bool waiting;
};

static void wait_end(struct dial_wait *wait, struct status s)
{
    if (wait->waiting) {
        wait->waiting = false;
        op_done(&wait->op, s);
    }
}

static void wait_asked(struct op *op)
{
    wait_end(CONTAINER_OF(op, struct dial_wait, op), status_of(REASON_CALL_CANCELLED, NULL));
}

static void wait_init(struct dial_wait *wait)
{
    op_init(&wait->op, task_loop(), wait_asked, NULL);
    wait->waiting = true;
}

static struct status wait_for(struct dial_wait *wait, uint64_t until_ms, const char *late) PARKS
{
    bool in_time;
    struct status s = op_wait_until(&wait->op, until_ms, &in_time);
    return in_time || status_ok(s) || !status_ok(task_status()) ? s : dial_failed(late);
}

/* --- names -------------------------------------------------------------------------------------
 */

/* getaddrinfo cannot be interrupted: who waits may leave, and the last of the two frees it. */
struct lookup {
    struct dial_wait wait;
    bool left;
    bool ended;
    char *host;
    char port[8];
    int error;
    struct addrinfo *found;
};

static void lookup_free(struct lookup *lookup)
{
    if (lookup->found != NULL) {
        freeaddrinfo(lookup->found);
    }
    free(lookup->host);
    free(lookup);
}

static void lookup_ask(struct lookup *lookup, int flags)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    lookup->error = getaddrinfo(lookup->host, lookup->port, &hints, &lookup->found);
}

static void lookup_run(void *arg)
{
    lookup_ask(arg, 0);
}

static void lookup_main(void *arg) PARKS
{
    struct lookup *lookup = arg;
    struct status s = loop_work(task_loop(), lookup_run, lookup);
    lookup->ended = true;
    if (lookup->left) {
        lookup_free(lookup);
    } else {
        wait_end(&lookup->wait, s);
    }
}

static struct status lookup_wait(struct lookup *lookup, uint64_t until_ms) PARKS
{
    wait_init(&lookup->wait);
    task_spawn(task_loop(), &(struct task_options){.name = "lookup", .deadline_ms = until_ms},
               lookup_main, lookup);
    struct status s =
        wait_for(&lookup->wait, until_ms, "the host's name was not looked up in time");
    if (!lookup->ended) {
        lookup->left = true;
        return s;
    }
    if (status_ok(s) && lookup->error != 0) {
        s = dial_failed(gai_strerror(lookup->error));
    }
    if (!status_ok(s)) {
        lookup_free(lookup);
    }
    return s;
}

/* On success the lookup is the caller's. */
static struct status lookup_host(const char *host, uint16_t port, uint64_t until_ms,
                                 struct lookup **out) PARKS
{
    struct lookup *lookup = ALLOC(struct lookup);
    lookup->host = alloc_string(span_str(host));
    snprintf(lookup->port, sizeof(lookup->port), "%u", (unsigned)port);
    lookup_ask(lookup, AI_NUMERICHOST); /* asks nobody */
    if (lookup->error != 0) {
        TRY(lookup_wait(lookup, until_ms));
    }
    *out = lookup;
    return STATUS_SUCCESS;
}

/* --- connections -------------------------------------------------------------------------------
 */

static void dial_ready(void *arg, unsigned events)
{
    (void)events;
    wait_end(arg, STATUS_SUCCESS);
}

static struct status dial_finish(int fd, uint64_t until_ms) PARKS
{
    struct dial_wait wait;
    wait_init(&wait);
    struct fd_watch *watch = fd_watch_start(task_loop(), fd, FD_WRITE, dial_ready, &wait);
    struct status s = wait_for(&wait, until_ms, "no connection in time");
    fd_watch_stop(watch);
    TRY(s);
    int error = 0;
    socklen_t len = sizeof(error);
    check(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    return error == 0 ? STATUS_SUCCESS : dial_failed(strerrordesc_np(error));
}

static struct status dial_address(const struct sockaddr *address, socklen_t len, uint64_t until_ms,
                                  int *out) PARKS
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return dial_failed(strerrordesc_np(errno));
    }
    struct status s = STATUS_SUCCESS;
    if (connect(fd, address, len) != 0) {
        s = errno == EINPROGRESS ? dial_finish(fd, until_ms) : dial_failed(strerrordesc_np(errno));
    }
    if (!status_ok(s)) {
        close(fd);
        return s;
    }
    *out = fd;
    return STATUS_SUCCESS;
}

static struct status dial_addresses(const struct addrinfo *found, uint64_t until_ms, int *fd) PARKS
{
    uint64_t left = 0;
    for (const struct addrinfo *it = found; it != NULL; it = it->ai_next) {
        left++;
    }
    struct status s = dial_failed("the host has no address");
    for (const struct addrinfo *it = found; it != NULL; it = it->ai_next, left--) {
        uint64_t now = loop_now_ms(task_loop());
        uint64_t share = until_ms > now ? (until_ms - now) / left : 0;
        s = dial_address(it->ai_addr, it->ai_addrlen, now + share, fd);
        if (status_ok(s) || s.reason != REASON_CONNECT_FAILED) {
            break;
        }
    }
    return s;
}

struct status dial_tcp(const char *host, uint16_t port, uint64_t until_ms, int *fd)
{
    struct lookup *lookup;
    TRY(lookup_host(host, port, until_ms, &lookup));
    int dialled;
    struct status s = dial_addresses(lookup->found, until_ms, &dialled);
    lookup_free(lookup);
    TRY(s);
    int on = 1;
    setsockopt(dialled, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    *fd = dialled;
    return STATUS_SUCCESS;
}

struct status dial_unix(const char *path, uint64_t until_ms, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(address.sun_path)) {
        return status_of(REASON_CONFIG_INVALID, "the path of the socket is empty or too long");
    }
    memcpy(address.sun_path, path, len);
    return dial_address((const struct sockaddr *)&address, sizeof(address), until_ms, fd);
}
