#include "net_peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "loop/loop.h"
#include "loop/task.h"
#include "net/listen.h"

#define PATIENCE_S 10

static void be_patient(int fd)
{
    struct timeval most = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
}

static void listen_unix(struct net_peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", peer->path);
    unlink(peer->path);
    peer->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(peer->listen_fd, 8), 0);
}

static void prepare_tls(struct net_peer *peer)
{
    peer->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX *context = peer->context;
    assert_int_equal(SSL_CTX_use_certificate_chain_file(context, peer->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(context, peer->key, SSL_FILETYPE_PEM), 1);
    if (peer->tls_ciphers != NULL) {
        assert_int_equal(SSL_CTX_set_cipher_list(context, peer->tls_ciphers), 1);
    }
    if (peer->tls_most != 0) {
        SSL_CTX_set_min_proto_version(context, 0);
        SSL_CTX_set_max_proto_version(context, peer->tls_most);
    }
    if (peer->client_ca != NULL) {
        assert_int_equal(SSL_CTX_load_verify_file(context, peer->client_ca), 1);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
}

static bool shake(struct net_peer *peer)
{
    if (peer->context == NULL) {
        return true;
    }
    peer->ssl = SSL_new(peer->context);
    SSL_set_fd(peer->ssl, peer->fd);
    peer->shaken = SSL_accept(peer->ssl) == 1;
    const char *name = SSL_get_servername(peer->ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(peer->name, sizeof(peer->name), "%s", name != NULL ? name : "");
    return peer->shaken;
}

static void serve(void *arg)
{
    struct net_peer *peer = arg;
    /* OpenSSL's sockets are not as careful as ours. */
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    while ((peer->fd = accept(peer->listen_fd, NULL, NULL)) >= 0) {
        be_patient(peer->fd);
        peer->connections++;
        if (shake(peer)) {
            peer->script(peer);
        }
        if (peer->ssl != NULL) {
            SSL_free(peer->ssl);
            peer->ssl = NULL;
        }
        if (peer->fd >= 0) {
            close(peer->fd);
        }
    }
}

static void peer_main(void *arg) PARKS
{
    struct net_peer *peer = arg;
    struct status s = loop_work(task_loop(), serve, peer);
    op_done(&peer->ended, s);
}

void net_peer_start(struct net_peer *peer)
{
    if (peer->path != NULL) {
        listen_unix(peer);
    } else {
        assert_status_ok(listen_open("127.0.0.1", 0, NULL, &peer->listen_fd, &peer->port));
        int flags = fcntl(peer->listen_fd, F_GETFL);
        assert_int_equal(fcntl(peer->listen_fd, F_SETFL, flags & ~O_NONBLOCK), 0);
    }
    if (peer->cert != NULL) {
        prepare_tls(peer);
    }
    op_init(&peer->ended, task_loop(), NULL, NULL);
    task_spawn(task_loop(), &(struct task_options){.name = "peer"}, peer_main, peer);
}

void net_peer_stop(struct net_peer *peer)
{
    shutdown(peer->listen_fd, SHUT_RDWR);
    assert_status_ok(op_wait_firmly(&peer->ended));
    close(peer->listen_fd);
    SSL_CTX_free(peer->context);
    peer->context = NULL;
    if (peer->path != NULL) {
        unlink(peer->path);
    }
}

size_t net_peer_read(struct net_peer *peer, char *out, size_t most)
{
    ssize_t n =
        peer->ssl != NULL ? SSL_read(peer->ssl, out, (int)most) : recv(peer->fd, out, most, 0);
    return n > 0 ? (size_t)n : 0;
}

bool net_peer_write(struct net_peer *peer, struct span bytes)
{
    while (bytes.len > 0) {
        ssize_t n = peer->ssl != NULL ? SSL_write(peer->ssl, bytes.at, (int)bytes.len)
                                      : send(peer->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes = span_from(bytes, (size_t)n);
    }
    return true;
}

void net_peer_read_to_end(struct net_peer *peer)
{
    char bytes[4096];
    while (net_peer_read(peer, bytes, sizeof(bytes)) > 0) {
    }
}

void net_peer_reset(struct net_peer *peer)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(peer->fd);
    peer->fd = -1;
}
