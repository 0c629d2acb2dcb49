/*
 * net_peer.h -- a scripted server: blocking sockets on a pool thread, plain or in TLS.
 *
 * A test fills in what it wants, calls net_peer_start, and net_peer_stop before it returns. The
 * script runs once for each connection, one after the other, on the pool thread; what it notes may
 * be read after net_peer_stop. No call in it blocks longer than 10 s.
 */
#ifndef PRISM_TESTS_NET_PEER_H
#define PRISM_TESTS_NET_PEER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "loop/op.h"

struct net_peer {
    void (*script)(struct net_peer *peer);
    void *arg;
    const char *path; /* of a unix socket; NULL: TCP on 127.0.0.1 */
    const char *cert; /* NULL: plain */
    const char *key;
    const char *client_ca;   /* clients must show a certificate of it; NULL: none is asked for */
    int tls_most;            /* TLS1_2_VERSION; 0: the newest */
    const char *tls_ciphers; /* of old versions; NULL: OpenSSL's */

    uint16_t port;
    size_t connections;
    bool shaken;   /* the last TLS handshake succeeded */
    char name[64]; /* SNI of the last one */

    int listen_fd;
    int fd; /* of the connection the script is for */
    SSL *ssl;
    SSL_CTX *context;
    struct op ended;
};

void net_peer_start(struct net_peer *peer);
void net_peer_stop(struct net_peer *peer) PARKS;

/* For scripts. Bytes that came, 0 at the end or after a failure; false when they did not go out. */
size_t net_peer_read(struct net_peer *peer, char *out, size_t most);
bool net_peer_write(struct net_peer *peer, struct span bytes);
void net_peer_read_to_end(struct net_peer *peer);
void net_peer_reset(struct net_peer *peer); /* cuts the connection with a TCP reset */

#endif
