/*
 * stream.h -- bytes to and from one peer, over TCP or a unix socket, plain or in TLS.
 *
 * Floor 3, tasks on the loop thread. OpenSSL is in stream.c only. Both kinds go one way: what is to
 * be sent passes one bounded buffer, as it is or sealed, to the same socket. At most one task reads
 * and one writes at a time. Nothing is read ahead of the reader, and nobody gets a SIGPIPE.
 *
 * Reasons: CONNECT_FAILED (the stream never opened), CONFIG_INVALID (a file of the TLS options),
 * CONNECTION_LOST, PROTOCOL_ERROR, and the task's own. Details are static.
 */
#ifndef PRISM_NET_STREAM_H
#define PRISM_NET_STREAM_H

#include <stdint.h>

#include "base/span.h"
#include "loop/loop.h"

struct stream;

/* TLS 1.2 or newer; the peer's chain and name are always verified. Files are PEM and are read anew
 * for each stream, on the loop: small ones on a local disk. */
struct stream_tls {
    const char *ca_file;     /* NULL: the system's */
    const char *cert_file;   /* our chain, our own first; NULL: we show none */
    const char *key_file;    /* without a passphrase */
    const char *server_name; /* that the certificate must have; NULL: the host */
};

struct stream_options {
    const char *host; /* a name or an address, without brackets */
    uint16_t port;
    const char *path;             /* of a unix socket; then host is NULL */
    const struct stream_tls *tls; /* NULL: plain */
    uint64_t connect_ms;          /* for lookup, connection and handshake together; 0: 5 s */
};

struct status stream_open(const struct stream_options *options,
                          struct stream **out) NODISCARD PARKS;

/* The next bytes, valid until the next read or close; len 0 when the peer has ended its side.
 * Cancelling a read loses nothing. */
struct status stream_read(struct stream *stream, struct span *chunk) NODISCARD PARKS;

/* Returns when the kernel has taken all. A write that fails has sent an unknown part and is the
 * last; what the peer said before may still be read, and often says why. */
struct status stream_write(struct stream *stream, struct span bytes) NODISCARD PARKS;

/* Ends what waits, and every later read and write, with this status; the first one stays. */
void stream_abort(struct stream *stream, struct status why);

/* Nobody may wait any more. Says TLS's goodbye if that needs no waiting; sets *stream to NULL. */
void stream_close(struct stream **stream);

#endif
