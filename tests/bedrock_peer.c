#include "bedrock_peer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "simulator/sigv4_check.h"

static void copy_text(char *out, size_t size, struct span text)
{
    snprintf(out, size, "%.*s", (int)text.len, text.len > 0 ? text.at : "");
}

static void take_request(struct peer *peer, struct http_exchange *exchange)
{
    static const struct sigv4_check_keys keys = {{PEER_KEY, sizeof(PEER_KEY) - 1},
                                                 {PEER_SECRET, sizeof(PEER_SECRET) - 1},
                                                 {PEER_TOKEN, sizeof(PEER_TOKEN) - 1}};
    struct sigv4_check_request request = {
        .method = http_exchange_method(exchange),
        .path = http_exchange_path(exchange),
        .query = http_exchange_query(exchange),
        .body = http_exchange_body(exchange),
    };
    request.n_headers = http_exchange_headers(exchange, &request.headers);
    struct span region;
    struct refusal refusal = sigv4_check(&request, &keys, clock_wall_ms() / 1000,
                                         http_exchange_arena(exchange), &region);
    peer->refused = refusal.code != 0 ? refusal.error : NULL;
    peer->calls++;
    copy_text(peer->target, sizeof(peer->target), http_exchange_target(exchange));
    copy_text(peer->type, sizeof(peer->type), http_exchange_header(exchange, "content-type"));
    struct span accept = http_exchange_header(exchange, "x-amzn-bedrock-accept");
    copy_text(peer->accept, sizeof(peer->accept),
              accept.len > 0 ? accept : http_exchange_header(exchange, "accept"));
    peer->body_len = request.body.len;
}

static struct status write_body(const struct peer_script *script,
                                struct http_exchange *exchange) PARKS
{
    uint32_t random = 7;
    struct span rest = script->body;
    while (rest.len > 0) {
        size_t n = script->cut == 0          ? rest.len
                   : script->cut == SIZE_MAX ? 1 + harness_random(&random) % 97
                                             : script->cut;
        struct span part = span_first(rest, n);
        rest = span_from(rest, part.len);
        TRY(http_reply_write(exchange, part));
        if (script->between_ms > 0) {
            TRY(task_sleep_ms(script->between_ms));
        }
    }
    return STATUS_SUCCESS;
}

static struct status answer(const struct peer_script *script, struct http_exchange *exchange) PARKS
{
    if (script->end == PEER_DROPS) {
        http_reply_abort(exchange, false);
        return STATUS_SUCCESS;
    }
    TRY(task_sleep_ms(script->before_ms));
    http_reply_start(exchange, script->code != 0 ? script->code : 200, script->headers,
                     script->n_headers);
    TRY(task_sleep_ms(script->after_ms));
    TRY(write_body(script, exchange));
    if (script->end == PEER_RESETS) {
        http_reply_abort(exchange, true);
    } else if (script->end == PEER_STALLS) {
        TRY(task_sleep_ms(60000));
    }
    return STATUS_SUCCESS;
}

static void handle(struct http_exchange *exchange, void *arg) PARKS
{
    struct peer *peer = arg;
    take_request(peer, exchange);
    struct status s = answer(&peer->script, exchange);
    (void)s; /* the client left, which some tests want */
}

void peer_start(struct peer *peer, const struct credentials_values *values)
{
    static const struct credentials_values keys = {
        .access_key = {PEER_KEY, sizeof(PEER_KEY) - 1},
        .secret_key = {PEER_SECRET, sizeof(PEER_SECRET) - 1}};
    memset(peer, 0, sizeof(*peer));
    struct http_server_options server = {
        .host = "127.0.0.1", .body_max = 25000000, .handler = handle, .arg = peer};
    assert_status_ok(http_server_start(task_loop(), &server, &peer->server));
    snprintf(peer->endpoint, sizeof(peer->endpoint), "http://127.0.0.1:%u/",
             (unsigned)http_server_port(peer->server));
    peer->http = http_client_new(task_loop(), &(struct http_client_options){0});
    peer->credentials = credentials_fixed(values != NULL ? values : &keys);
    peer->bedrock = bedrock_new(&(struct bedrock_options){
        .http = peer->http, .credentials = peer->credentials, .endpoint = peer->endpoint});
}

void peer_stop(struct peer *peer)
{
    assert_int_equal(http_client_open(peer->http), 0);
    bedrock_free(peer->bedrock);
    credentials_free(peer->credentials);
    http_client_free(peer->http);
    http_server_stop(peer->server);
}

struct bedrock_request peer_request(void)
{
    return (struct bedrock_request){.region = "us-east-1",
                                    .model_id = PEER_MODEL,
                                    .body = SPAN("{\"max_tokens\":16}"),
                                    .first_byte_ms = 10000,
                                    .idle_ms = 10000};
}

struct status peer_stream(struct peer *peer, const struct bedrock_request *request,
                          struct buf *events, size_t *n)
{
    *n = 0;
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    struct span event = {"", 1};
    struct status s = bedrock_invoke_stream(peer->bedrock, request, &call);
    while (status_ok(s) && event.len > 0) {
        s = bedrock_stream_next(call, &event);
        if (status_ok(s) && event.len > 0) {
            buf_add_span(events, event);
            buf_add_char(events, '\n');
            (*n)++;
        }
    }
    s.detail = NULL; /* it dies with the call */
    return s;
}
