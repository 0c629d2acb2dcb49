#include "net/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "loop/task.h"
#include "net/dial.h"

#define CONNECT_MS 5000
#define CHUNK      (16u << 10) /* a whole TLS record */
#define PIECE      (64u << 10) /* sealed at once */
#define UNSENT_MAX (4 * PIECE) /* a peer that makes TLS talk without reading ends here */

/* Reading or writing, when somebody waits for it. */
struct side {
    struct op op;
    bool waiting;
};

struct stream {
    struct loop *loop;
    int fd;
    struct fd_watch *watch;
    unsigned events; /* that are watched */
    bool readable;   /* seen when nobody was reading */
    struct side reader;
    struct side writer;
    struct status broken; /* why it is only good for closing */
    struct status mute;   /* why nothing can be sent any more: what came may still be read */
    uint64_t open_until_ms;
    struct buf unsent;
    SSL *ssl; /* NULL: plain */
    BIO *in;  /* what TLS has still to open; the ssl's */
    BIO *out; /* what TLS has sealed; the ssl's */
    char chunk[CHUNK];
};

/* --- waiting -------------------------------------------------------------------------------------
 */

static void side_wake(struct side *side, struct status s)
{
    if (side->waiting) {
        side->waiting = false;
        op_done(&side->op, s);
    }
}

static void side_asked(struct op *op)
{
    side_wake(CONTAINER_OF(op, struct side, op), status_of(REASON_CALL_CANCELLED, NULL));
}

static struct status side_wait(struct stream *stream, struct side *side) PARKS
{
    op_init(&side->op, stream->loop, side_asked, NULL);
    side->waiting = true;
    bool in_time;
    struct status s = op_wait_until(&side->op, stream->open_until_ms, &in_time);
    if (!status_ok(s) && !in_time && status_ok(task_status())) {
        return status_of(REASON_CONNECT_FAILED, "no connection in time");
    }
    return s;
}

static void stream_watch(struct stream *stream, unsigned events)
{
    if (stream->events != events) {
        stream->events = events;
        fd_watch_change(stream->watch, events);
    }
}

void stream_abort(struct stream *stream, struct status why)
{
    if (status_ok(stream->broken)) {
        stream->broken = why;
        side_wake(&stream->reader, why);
        side_wake(&stream->writer, why);
    }
}

static struct status stream_lose(struct stream *stream, const char *detail)
{
    stream_abort(stream, status_of(REASON_CONNECTION_LOST, detail));
    return stream->broken;
}

/* The peer's last words often say more than the error of who wrote to it. */
static void stream_mute(struct stream *stream, const char *detail)
{
    if (status_ok(stream->mute)) {
        stream->mute = status_of(REASON_CONNECTION_LOST, detail);
        buf_reset(&stream->unsent);
        side_wake(&stream->writer, stream->mute);
    }
}

static bool stream_sends(const struct stream *stream)
{
    return stream->unsent.len > 0 && status_ok(stream->mute) && status_ok(stream->broken);
}

/* --- the socket ----------------------------------------------------------------------------------
 */

/* As much as the kernel takes now; the watch sees to the rest. */
static void stream_flush(struct stream *stream)
{
    while (stream_sends(stream)) {
        ssize_t n = send(stream->fd, stream->unsent.at, stream->unsent.len, MSG_NOSIGNAL);
        if (n >= 0) {
            buf_drop(&stream->unsent, (size_t)n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            stream_mute(stream, strerrordesc_np(errno));
        }
    }
    bool rest = stream_sends(stream);
    stream_watch(stream, rest ? stream->events | FD_WRITE : stream->events & ~(unsigned)FD_WRITE);
    if (!rest) {
        side_wake(&stream->writer, STATUS_SUCCESS);
    }
}

static void stream_ready(void *arg, unsigned events)
{
    struct stream *stream = arg;
    if ((events & FD_WRITE) != 0) {
        stream_flush(stream);
    }
    if ((events & FD_READ) == 0) {
        return;
    }
    if (stream->reader.waiting) {
        side_wake(&stream->reader, STATUS_SUCCESS);
    } else {
        /* Watching costs system calls to change, so it only ends when a turn found no reader. */
        stream->readable = true;
        stream_watch(stream, stream->events & ~(unsigned)FD_READ);
    }
}

/* Bytes of the socket into the chunk; 0 at their end. */
static struct status stream_receive(struct stream *stream, size_t *len) PARKS
{
    for (;;) {
        TRY(stream->broken);
        if (!stream->readable) {
            stream_watch(stream, stream->events | FD_READ);
            TRY(side_wait(stream, &stream->reader));
        }
        stream->readable = false;
        ssize_t n = recv(stream->fd, stream->chunk, sizeof(stream->chunk), 0);
        if (n >= 0) {
            *len = (size_t)n;
            return STATUS_SUCCESS;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
            return stream_lose(stream, strerrordesc_np(errno));
        }
    }
}

/* --- TLS -----------------------------------------------------------------------------------------
 */

/* OpenSSL's own words, static, or this. */
static const char *tls_text(const char *otherwise)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return text != NULL ? text : otherwise;
}

/* The default asks at the terminal. */
static int tls_no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing, (void)arg;
    return -1;
}

static struct status tls_load(SSL_CTX *context, const struct stream_tls *tls)
{
    if (tls->ca_file != NULL ? SSL_CTX_load_verify_file(context, tls->ca_file) != 1
                             : SSL_CTX_set_default_verify_paths(context) != 1) {
        return status_of(REASON_CONFIG_INVALID, "the file of certificate authorities is unusable");
    }
    SSL_CTX_set_default_passwd_cb(context, tls_no_passphrase);
    if (tls->cert_file != NULL &&
        SSL_CTX_use_certificate_chain_file(context, tls->cert_file) != 1) {
        return status_of(REASON_CONFIG_INVALID, "our certificate's file is unusable");
    }
    if (tls->key_file != NULL &&
        (SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM) != 1 ||
         SSL_CTX_check_private_key(context) != 1)) {
        return status_of(REASON_CONFIG_INVALID,
                         "our key's file is unusable or fits no certificate");
    }
    return STATUS_SUCCESS;
}

/* Whom the peer must prove to be. */
static struct status tls_expect(SSL *ssl, const char *name)
{
    unsigned char address[sizeof(struct in6_addr)];
    if (name == NULL || name[0] == '\0') {
        return status_of(REASON_CONFIG_INVALID, "TLS needs the server's name");
    }
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
        check(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1);
        return STATUS_SUCCESS;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1) {
        return status_of(REASON_CONFIG_INVALID, "TLS cannot use the server's name");
    }
    return STATUS_SUCCESS;
}

static struct status tls_start(struct stream *stream, const struct stream_options *options)
{
    const struct stream_tls *tls = options->tls;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    check(context != NULL);
    check(SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    struct status s = tls_load(context, tls);
    if (status_ok(s)) {
        stream->ssl = SSL_new(context);
        check(stream->ssl != NULL);
        stream->in = BIO_new(BIO_s_mem());
        stream->out = BIO_new(BIO_s_mem());
        check(stream->in != NULL && stream->out != NULL);
        SSL_set_bio(stream->ssl, stream->in, stream->out);
        SSL_set_connect_state(stream->ssl);
        s = tls_expect(stream->ssl, tls->server_name != NULL ? tls->server_name : options->host);
    }
    SSL_CTX_free(context); /* the ssl holds it */
    ERR_clear_error();
    return s;
}

/* What TLS wants to send goes on its way. */
static void tls_flush(struct stream *stream)
{
    size_t sealed = BIO_ctrl_pending(stream->out);
    if (sealed > 0) {
        char *room = buf_reserve(&stream->unsent, sealed);
        if (room == NULL) {
            (void)stream_lose(stream, "the peer asks without reading");
            return;
        }
        check(BIO_read(stream->out, room, (int)sealed) == (int)sealed);
        buf_commit(&stream->unsent, sealed);
    }
    stream_flush(stream);
}

/* After a call into TLS that did not succeed: whether more bytes would help. */
static bool tls_wants_more(struct stream *stream, int result)
{
    return SSL_get_error(stream->ssl, result) == SSL_ERROR_WANT_READ;
}

/* More of the peer's bytes for TLS; false at their end. */
static struct status tls_feed(struct stream *stream, bool *fed) PARKS
{
    size_t len;
    TRY(stream_receive(stream, &len));
    *fed = len > 0;
    check(len == 0 || BIO_write(stream->in, stream->chunk, (int)len) == (int)len);
    return STATUS_SUCCESS;
}

static struct status tls_refused(struct stream *stream)
{
    long verdict = SSL_get_verify_result(stream->ssl);
    const char *text = tls_text("the TLS handshake failed");
    return status_of(REASON_CONNECT_FAILED,
                     verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : text);
}

static struct status tls_handshake(struct stream *stream) PARKS
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_do_handshake(stream->ssl);
        bool more = result != 1 && tls_wants_more(stream, result);
        struct status refused = result == 1 || more ? STATUS_SUCCESS : tls_refused(stream);
        tls_flush(stream);
        TRY(refused);
        if (result == 1) {
            return STATUS_SUCCESS;
        }
        bool fed;
        TRY(tls_feed(stream, &fed));
        if (!fed) {
            return status_of(REASON_CONNECT_FAILED, "the peer closed inside the TLS handshake");
        }
    }
}

static struct status tls_read(struct stream *stream, size_t *len) PARKS
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_read(stream->ssl, stream->chunk, sizeof(stream->chunk));
        bool more = result <= 0 && tls_wants_more(stream, result);
        bool ended = result <= 0 && SSL_get_error(stream->ssl, result) == SSL_ERROR_ZERO_RETURN;
        const char *text = result <= 0 ? tls_text("TLS failed") : NULL;
        tls_flush(stream);
        TRY(stream->broken);
        if (result > 0 || ended) {
            *len = result > 0 ? (size_t)result : 0;
            return STATUS_SUCCESS;
        }
        if (!more) {
            return stream_lose(stream, text);
        }
        bool fed;
        TRY(tls_feed(stream, &fed));
        if (!fed) {
            return stream_lose(stream, "the peer closed without TLS's goodbye");
        }
    }
}

/* --- the stream ----------------------------------------------------------------------------------
 */

struct status stream_read(struct stream *stream, struct span *chunk)
{
    check(!stream->reader.waiting);
    TRY(stream->broken);
    size_t len = 0;
    TRY(stream->ssl != NULL ? tls_read(stream, &len) : stream_receive(stream, &len));
    *chunk = span_of(stream->chunk, len);
    return STATUS_SUCCESS;
}

static struct status stream_send(struct stream *stream, struct span piece) PARKS
{
    TRY(stream->broken);
    TRY(stream->mute);
    if (stream->ssl == NULL) {
        buf_add_span(&stream->unsent, piece);
        stream_flush(stream);
    } else {
        ERR_clear_error();
        if (SSL_write(stream->ssl, piece.at, (int)piece.len) != (int)piece.len) {
            return stream_lose(stream, tls_text("TLS failed"));
        }
        tls_flush(stream);
    }
    TRY(stream->broken);
    TRY(stream->mute);
    return stream->unsent.len > 0 ? side_wait(stream, &stream->writer) : STATUS_SUCCESS;
}

struct status stream_write(struct stream *stream, struct span bytes)
{
    check(!stream->writer.waiting);
    while (bytes.len > 0) {
        struct status s = stream_send(stream, span_first(bytes, PIECE));
        if (!status_ok(s)) {
            stream_mute(stream, "a write was given up");
            return s;
        }
        bytes = span_from(bytes, PIECE);
    }
    return STATUS_SUCCESS;
}

struct status stream_open(const struct stream_options *options, struct stream **out)
{
    struct loop *loop = task_loop();
    uint64_t connect_ms = options->connect_ms != 0 ? options->connect_ms : CONNECT_MS;
    uint64_t until_ms = loop_now_ms(loop) + connect_ms;
    int fd;
    TRY(options->path != NULL ? dial_unix(options->path, until_ms, &fd)
                              : dial_tcp(options->host, options->port, until_ms, &fd));

    CLEANUP(stream_close) struct stream *stream = ALLOC(struct stream);
    stream->loop = loop;
    stream->fd = fd;
    stream->watch = fd_watch_start(loop, fd, 0, stream_ready, stream);
    stream->open_until_ms = until_ms;
    buf_init(&stream->unsent, UNSENT_MAX);
    if (options->tls != NULL) {
        TRY(tls_start(stream, options));
        struct status s = tls_handshake(stream);
        if (s.reason == REASON_CONNECTION_LOST) {
            s = status_of(REASON_CONNECT_FAILED, s.detail);
        }
        TRY(s);
    }
    stream->open_until_ms = UINT64_MAX;
    *out = stream;
    stream = NULL;
    return STATUS_SUCCESS;
}

void stream_close(struct stream **slot)
{
    struct stream *stream = *slot;
    if (stream == NULL) {
        return;
    }
    check(!stream->reader.waiting && !stream->writer.waiting);
    if (stream->ssl != NULL) {
        if (status_ok(stream->broken) && SSL_is_init_finished(stream->ssl)) {
            (void)SSL_shutdown(stream->ssl);
            tls_flush(stream);
        }
        SSL_free(stream->ssl);
        ERR_clear_error();
    }
    fd_watch_stop(stream->watch);
    close(stream->fd);
    buf_clear(&stream->unsent);
    free(stream);
    *slot = NULL;
}
