/* HTTPS: whom the client believes, and what it says of those it does not. */
#include <stdio.h>
#include <string.h>

#include "net/http.h"
#include "net_peer.h"
#include "task_test.h"
#include "tls_files.h"

static void answer(struct net_peer *peer)
{
    char request[1024];
    if (net_peer_read(peer, request, sizeof(request)) > 0) {
        net_peer_write(peer, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                                  "Connection: close\r\n\r\nhi"));
    }
}

/* One GET; the body or why there is none, into out. */
static enum reason ask(const char *ca_file, const char *host, uint16_t port, char out[128]) PARKS
{
    char url[128];
    snprintf(url, sizeof(url), "https://%s:%u/", host, port);
    struct http_client *client =
        http_client_new(task_loop(), &(struct http_client_options){.ca_file = ca_file});
    const struct http_request request = {
        .method = "GET", .url = url, .first_byte_ms = 10000, .idle_ms = 10000};
    struct http *http = NULL;
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, 128);
    struct status s = http_open(client, &request, &http);
    if (status_ok(s)) {
        s = http_read_all(http, &body);
    }
    snprintf(out, 128, "%s", status_ok(s) ? buf_cstr(&body) : status_text(s));
    http_close(&http);
    http_client_free(client);
    return s.reason;
}

task_test_real(who_is_believed)
{
    struct tls_files files;
    tls_files_make(&files);
    char missing[128];
    snprintf(missing, sizeof(missing), "%s/none.pem", files.folder);
    const struct {
        const char *cert;
        const char *key;
        const char *ca;
        const char *host;
        enum reason reason;
        const char *says;
    } cases[] = {
        {files.server_cert, files.server_key, files.ca, "127.0.0.1", REASON_NONE, "hi"},
        {files.server_cert, files.server_key, files.ca, "localhost", REASON_NONE, "hi"},
        /* curl takes every name below localhost for this machine. */
        {files.server_cert, files.server_key, files.ca, "other.localhost", REASON_CONNECT_FAILED,
         "the server's certificate is for another host name"},
        {files.server_cert, files.server_key, files.other_ca, "127.0.0.1", REASON_CONNECT_FAILED,
         "the server's certificate is signed by no authority that is trusted"},
        {files.server_cert, files.server_key, NULL, "127.0.0.1", REASON_CONNECT_FAILED,
         "the server's certificate is signed by no authority that is trusted"},
        {files.expired_cert, files.expired_key, files.ca, "127.0.0.1", REASON_CONNECT_FAILED,
         "the server's certificate has expired"},
        {files.server_cert, files.server_key, missing, "127.0.0.1", REASON_CONNECT_FAILED,
         "the file of trusted authorities cannot be used"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char said[128];
        struct net_peer peer = {.script = answer, .cert = cases[i].cert, .key = cases[i].key};
        net_peer_start(&peer);
        assert_int_equal(ask(cases[i].ca, cases[i].host, peer.port, said), cases[i].reason);
        assert_string_equal(said, cases[i].says);
        net_peer_stop(&peer);
    }
    tls_files_remove(&files);
}

task_test_real(what_speaks_no_tls_gets_no_request)
{
    char said[128];
    struct net_peer peer = {.script = answer};
    net_peer_start(&peer);
    assert_int_equal(ask(NULL, "127.0.0.1", peer.port, said), REASON_CONNECT_FAILED);
    net_peer_stop(&peer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(who_is_believed),
    cmocka_unit_test(what_speaks_no_tls_gets_no_request),
};

HARNESS_MAIN(tests)
