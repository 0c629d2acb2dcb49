#include "aws/bedrock.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "codec/eventstream.h"
#include "codec/json.h"
#include "codec/retry.h"
#include "codec/sigv4.h"
#include "codec/text.h"
#include "codec/uri.h"
#include "loop/task.h"

#define CALL_ARENA    (1u << 20) /* URL, signature, head of the reply */
#define ERROR_MOST    (64u << 10)
#define ANSWER_MOST   (25u * 1000 * 1000)
#define MESSAGE_MOST  (2u << 20) /* a payload part is a million bytes, in base64 */
#define TEXT_MOST     1024
#define URL_MOST      16384
#define HEADERS_MOST  16
#define STREAM        "invoke-with-response-stream"
#define ERROR_IDLE_MS 2000 /* its status is known, its text is not worth a long wait */

struct bedrock {
    struct http_client *http;
    struct credentials *credentials;
    char *endpoint;       /* NULL: AWS's own */
    struct sigv4_key key; /* of the last signature */
};

/* What is sent; lives as long as the transfer. */
struct outgoing {
    struct http_request http;
    struct http_header headers[HEADERS_MOST];
    size_t n_headers;
};

struct bedrock_call {
    struct arena *arena;
    struct outgoing outgoing;
    struct http *http;
    struct bedrock_reply reply;
    struct eventstream_decoder *decoder;
    struct span input; /* of the chunk at hand, not yet fed */
    struct buf event;
    struct buf body;
    uint64_t silence_ms; /* how long may pass until the next event; 0: for ever */
    uint64_t idle_ms;    /* what that is once there was an event */
    bool began;          /* there was one */
    struct status (*before_wait)(void *arg) PARKS;
    void *arg;
};

struct bedrock *bedrock_new(const struct bedrock_options *options)
{
    struct bedrock *bedrock = ALLOC(struct bedrock);
    bedrock->http = options->http;
    bedrock->credentials = options->credentials;
    if (options->endpoint != NULL) {
        struct span endpoint = span_str(options->endpoint);
        while (span_ends(endpoint, SPAN("/"))) {
            endpoint.len--;
        }
        bedrock->endpoint = alloc_string(endpoint);
    }
    return bedrock;
}

void bedrock_free(struct bedrock *bedrock)
{
    if (bedrock == NULL) {
        return;
    }
    free(bedrock->endpoint);
    explicit_bzero(&bedrock->key, sizeof(bedrock->key));
    free(bedrock);
}

/* --- classification --------------------------------------------------------------------------- */

/* "ThrottlingException" of "aws.protocols#ThrottlingException:http://internal..." */
static struct span bare_exception(struct span exception)
{
    exception = span_first(exception, span_find_char(exception, ':'));
    size_t hash = span_find_char(exception, '#');
    return span_trim(hash == SPAN_MISSING ? exception : span_from(exception, hash + 1));
}

enum reason bedrock_classify(int http_status, struct span exception, struct span message)
{
    static const struct {
        int http_status;
        struct span exception;
        struct span fragment;
        enum reason reason;
    } rows[] = {
#define BEDROCK_ERROR(status, name, text, reason) {status, SPAN(name), SPAN(text), REASON_##reason},
#include "aws/bedrock_errors.def"
    };
    exception = bare_exception(exception);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((rows[i].http_status == 0 || rows[i].http_status == http_status) &&
            (rows[i].exception.len == 0 || span_eq_nocase(exception, rows[i].exception)) &&
            (rows[i].fragment.len == 0 ||
             span_find_nocase(message, rows[i].fragment) != SPAN_MISSING)) {
            return rows[i].reason;
        }
    }
    return REASON_TIER_FAILED;
}

/* A model error carries what the model itself answered, which is what counts, unless that is
 * between the service and its model. */
static int status_behind(int http_status, struct span exception, const struct json *body)
{
    int64_t original = json_integer(json_get(body, "originalStatusCode"), 0);
    bool ours = original == 400 || original == 408 || original == 413 || original == 429 ||
                (original >= 500 && original <= 599);
    return ours && span_eq_nocase(bare_exception(exception), SPAN("ModelErrorException"))
               ? (int)original
               : http_status;
}

static struct status failure(struct bedrock_call *call, int http_status, struct span exception,
                             struct span message, const struct json *body)
{
    int behind = status_behind(http_status, exception, body);
    enum reason reason =
        bedrock_classify(behind, behind == http_status ? exception : SPAN_NONE, message);
    exception = bare_exception(exception);
    message = span_first(message, TEXT_MOST);
    const char *detail = arena_printf(call->arena, "%.*s%s%.*s", (int)exception.len,
                                      exception.len > 0 ? exception.at : "",
                                      exception.len > 0 && message.len > 0 ? ": " : "",
                                      (int)message.len, message.len > 0 ? message.at : "");
    return status_retry(reason, call->reply.server_retry_ms, detail);
}

/* --- request ---------------------------------------------------------------------------------- */

static void add_header(struct outgoing *out, struct span name, struct span value)
{
    check(out->n_headers < HEADERS_MOST);
    out->headers[out->n_headers++] = (struct http_header){name, value};
}

/* NULL when it would be absurdly long. */
static const char *url_of(const struct bedrock *bedrock, const struct bedrock_request *request,
                          const char *operation, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf url;
    buf_init(&url, URL_MOST);
    if (bedrock->endpoint != NULL) {
        buf_add_str(&url, bedrock->endpoint);
    } else {
        buf_addf(&url, "https://bedrock-runtime.%s.amazonaws.com", request->region);
    }
    buf_add_str(&url, "/model/");
    uri_add_encoded(&url, span_str(request->model_id), "");
    buf_addf(&url, "/%s", operation);
    return buf_ok(&url) ? arena_string(arena, buf_span(&url)) : NULL;
}

struct signing {
    struct sigv4_request request;
    struct sigv4_options options;
    uint8_t key[sizeof(((struct sigv4_key *)NULL)->bytes)];
    struct arena *arena;
    struct sigv4_result result;
};

/* Any thread: the task waits and leaves its arena alone. */
static void run_signing(void *arg)
{
    struct signing *signing = arg;
    sigv4_sign(&signing->request, &signing->options, signing->arena, &signing->result);
}

static struct status sign(struct bedrock *bedrock, const struct credentials_values *who,
                          const struct bedrock_request *request, const struct uri *uri,
                          struct arena *arena, struct outgoing *out) PARKS
{
    struct sigv4_header headers[HEADERS_MOST + 1];
    size_t n = 0;
    headers[n++] = (struct sigv4_header){SPAN("host"), uri->authority};
    for (size_t i = 0; i < out->n_headers; i++) {
        headers[n++] = (struct sigv4_header){out->headers[i].name, out->headers[i].value};
    }
    struct signing signing = {
        .request =
            {
                .method = SPAN("POST"),
                .path = uri->path,
                .query = uri->query,
                .headers = headers,
                .n_headers = n,
                .body = request->body,
            },
        .options =
            {
                .access_key = who->access_key,
                .secret_key = who->secret_key,
                .session_token = who->session_token,
                .region = span_str(request->region),
                .service = SPAN("bedrock"),
                .wall_s = clock_wall_ms() / 1000,
            },
        .arena = arena,
    };
    sigv4_derive(&signing.options, &bedrock->key);
    /* A copy, as others may sign for another region meanwhile. */
    memcpy(signing.key, bedrock->key.bytes, sizeof(signing.key));
    signing.options.key = signing.key;
    TRY(loop_work_over(request->body.len, run_signing, &signing));
    for (size_t i = 0; i < signing.result.n_added; i++) {
        add_header(out, signing.result.added[i].name, signing.result.added[i].value);
    }
    return STATUS_SUCCESS;
}

static struct status prepare(struct bedrock *bedrock, const struct bedrock_request *request,
                             const char *operation, struct bedrock_call *call) PARKS
{
    struct arena *arena = call->arena;
    struct outgoing *out = &call->outgoing;
    struct credentials_values who;
    struct uri uri;
    TRY(credentials_get(bedrock->credentials, arena, &who));
    call->reply.credentials = who.serial;
    const char *url = url_of(bedrock, request, operation, arena);
    if (url == NULL || !uri_parse(span_str(url), &uri)) {
        return status_of(REASON_TIER_MISCONFIGURED,
                         "endpoint, region and model id make no http or https URL");
    }
    add_header(out, SPAN("content-type"), SPAN("application/json"));
    if (strcmp(operation, STREAM) == 0) {
        add_header(out, SPAN("x-amzn-bedrock-accept"), SPAN("application/json"));
    } else {
        add_header(out, SPAN("accept"), SPAN("application/json"));
    }
    if (who.bearer_token.len > 0) {
        const char *value =
            arena_printf(arena, "Bearer %.*s", (int)who.bearer_token.len, who.bearer_token.at);
        add_header(out, SPAN("authorization"), span_str(value));
    } else {
        TRY(sign(bedrock, &who, request, &uri, arena, out));
    }
    add_header(out, SPAN("host"), uri.authority); /* as it was signed */
    out->http = (struct http_request){
        .method = "POST",
        .url = url,
        .headers = out->headers,
        .n_headers = out->n_headers,
        .body = request->body,
        .connect_ms = request->connect_ms,
        .first_byte_ms = request->first_byte_ms,
        .idle_ms = request->first_byte_ms,
    };
    return STATUS_SUCCESS;
}

/* --- reply ------------------------------------------------------------------------------------ */

static void take_head(struct bedrock_call *call)
{
    struct bedrock_reply *reply = &call->reply;
    reply->http_status = http_code(call->http);
    reply->request_id = http_header(call->http, "x-amzn-requestid");
    reply->simulated = span_eq_nocase(http_header(call->http, "x-prism-simulated"), SPAN("true"));
    reply->server_retry_ms = retry_asked_ms(http_header(call->http, "retry-after"),
                                            http_header(call->http, "x-amz-retry-after"));
}

static struct status read_error(struct bedrock_call *call) PARKS
{
    struct span exception = http_header(call->http, "x-amzn-errortype");
    CLEANUP(buf_clear) struct buf body;
    buf_init(&body, ERROR_MOST);
    http_set_idle_ms(call->http, ERROR_IDLE_MS);
    struct status s = http_read_all(call->http, &body);
    (void)s; /* as much of the error's text as came */
    CLEANUP(json_drop) struct json *root = json_parse(buf_span(&body), NULL);
    struct span message = json_string(json_get(root, "message"));
    if (message.len == 0) {
        message = json_string(json_get(root, "Message"));
    }
    static const char *const code_members[] = {"code", "Code", "__type"};
    for (size_t i = 0; i < ARRAY_LEN(code_members) && exception.len == 0; i++) {
        exception = json_string(json_get(root, code_members[i]));
    }
    return failure(call, call->reply.http_status, exception, message, root);
}

/* What the transport says, in the words of tiers. */
static struct status transport(const struct bedrock_call *call, struct status s)
{
    if (s.reason == REASON_TIMED_OUT) {
        s = status_of(call->began ? REASON_TIER_STALLED : REASON_TIER_TIMEOUT, s.detail);
    } else if (s.reason == REASON_CONNECTION_LOST && call->reply.http_status == 200) {
        s = status_of(REASON_TIER_STREAM_BROKEN, s.detail);
    }
    return s;
}

static struct status open_call(struct bedrock *bedrock, const struct bedrock_request *request,
                               const char *operation, struct bedrock_call **out) PARKS
{
    struct bedrock_call *call = ALLOC(struct bedrock_call);
    call->arena = arena_new(CALL_ARENA);
    call->silence_ms = request->first_byte_ms;
    call->idle_ms = request->idle_ms;
    call->before_wait = request->before_wait;
    call->arg = request->arg;
    buf_init(&call->event, MESSAGE_MOST);
    buf_init(&call->body, ANSWER_MOST);
    *out = call;

    TRY(prepare(bedrock, request, operation, call));
    call->reply.dispatched = true; /* unless the transport knows better */
    struct status s = http_open(bedrock->http, &call->outgoing.http, &call->http);
    if (!status_ok(s)) {
        call->reply.dispatched = s.reason != REASON_CONNECT_FAILED;
        return transport(call, s);
    }
    take_head(call);
    return call->reply.http_status == 200 ? STATUS_SUCCESS : read_error(call);
}

struct status bedrock_invoke_stream(struct bedrock *bedrock, const struct bedrock_request *request,
                                    struct bedrock_call **out)
{
    struct status s = open_call(bedrock, request, STREAM, out);
    if (status_ok(s)) {
        (*out)->decoder = eventstream_decoder_new(MESSAGE_MOST);
    }
    return s;
}

static struct status whole(struct bedrock *bedrock, const struct bedrock_request *request,
                           const char *operation, struct bedrock_call **out,
                           struct span *body) PARKS
{
    TRY(open_call(bedrock, request, operation, out));
    struct status s = http_read_all((*out)->http, &(*out)->body);
    if (!status_ok(s)) {
        return transport(*out, s);
    }
    *body = buf_span(&(*out)->body);
    return STATUS_SUCCESS;
}

struct status bedrock_invoke(struct bedrock *bedrock, const struct bedrock_request *request,
                             struct bedrock_call **out, struct span *body)
{
    return whole(bedrock, request, "invoke", out, body);
}

struct wrapping {
    struct span body;
    struct buf *out;
};

/* Any thread. */
static void wrap(void *arg)
{
    const struct wrapping *wrapping = arg;
    buf_add_str(wrapping->out, "{\"input\":{\"invokeModel\":{\"body\":\"");
    text_add_base64(wrapping->out, wrapping->body);
    buf_add_str(wrapping->out, "\"}}}");
}

struct status bedrock_count(struct bedrock *bedrock, const struct bedrock_request *request,
                            uint64_t *tokens)
{
    CLEANUP(bedrock_close) struct bedrock_call *call = NULL;
    CLEANUP(buf_clear) struct buf wrapped;
    struct bedrock_request question = *request;
    struct span body = SPAN_NONE;
    buf_init(&wrapped, 2 * ANSWER_MOST);
    TRY(loop_work_over(request->body.len, wrap, &(struct wrapping){request->body, &wrapped}));
    question.body = buf_span(&wrapped);
    struct status s = whole(bedrock, &question, "count-tokens", &call, &body);
    s.detail = NULL; /* it dies with the call */
    TRY(s);
    CLEANUP(json_drop) struct json *root = json_parse(body, NULL);
    int64_t counted = json_integer(json_get(root, "inputTokens"), -1);
    if (counted < 0) {
        return status_of(REASON_PROTOCOL_ERROR, "the answer has no inputTokens");
    }
    *tokens = (uint64_t)counted;
    return STATUS_SUCCESS;
}

/* --- stream ----------------------------------------------------------------------------------- */

/* {"bytes":"...","p":"..."}, as the service writes it: read where it lies, as a token each comes
 * this way. Empty when it is anything else, which is for the JSON parser. */
static struct span plain_bytes(struct span payload)
{
    const struct span head = SPAN("{\"bytes\":\""), between = SPAN("\",\"p\":\""),
                      tail = SPAN("\"}");
    if (!span_starts(payload, head) || !span_ends(payload, tail) ||
        span_find_char(payload, '\\') != SPAN_MISSING) {
        return SPAN_NONE;
    }
    struct span rest = span_from(payload, head.len);
    struct span bytes = span_first(rest, span_find_char(rest, '"'));
    rest = span_from(rest, bytes.len);
    struct span padding = span_starts(rest, between) ? span_from(rest, between.len) : rest;
    padding = span_first(padding, span_find_char(padding, '"'));
    bool plain = padding.at + padding.len + tail.len == payload.at + payload.len;
    return plain ? bytes : SPAN_NONE;
}

static struct status take_chunk(struct bedrock_call *call, struct span payload)
{
    CLEANUP(json_drop) struct json *root = NULL;
    struct span bytes = plain_bytes(payload);
    if (bytes.len == 0) {
        root = json_parse(payload, NULL);
        bytes = json_string(json_get(root, "bytes"));
    }
    buf_reset(&call->event);
    if (bytes.len == 0 || !text_decode_base64(&call->event, bytes) || !buf_ok(&call->event)) {
        return status_of(REASON_TIER_STREAM_BROKEN, "a chunk holds no base64 bytes");
    }
    call->began = true;
    call->silence_ms = call->idle_ms;
    return STATUS_SUCCESS;
}

static struct status take_exception(struct bedrock_call *call, struct span name,
                                    struct span payload)
{
    CLEANUP(json_drop) struct json *root = json_parse(payload, NULL);
    struct span message = json_string(json_get(root, "message"));
    if (message.len == 0) {
        message = json_string(json_get(root, "originalMessage"));
    }
    return failure(call, 0, name, message, root);
}

/* One frame; event.len stays 0 for kinds that are not known: there will be new ones. */
static struct status take_message(struct bedrock_call *call,
                                  const struct eventstream_message *message)
{
    struct span kind = eventstream_string(message, ":message-type");
    buf_reset(&call->event);
    if (span_eq(kind, SPAN("exception"))) {
        return take_exception(call, eventstream_string(message, ":exception-type"),
                              message->payload);
    }
    if (span_eq(kind, SPAN("error"))) {
        return failure(call, 0, eventstream_string(message, ":error-code"),
                       eventstream_string(message, ":error-message"), NULL);
    }
    return span_eq(eventstream_string(message, ":event-type"), SPAN("chunk"))
               ? take_chunk(call, message->payload)
               : STATUS_SUCCESS;
}

/* More bytes, until *due_ms, which the first wait for an event sets (0: whenever); *end when there
 * are none. Bytes that make no event are silence too. */
static struct status read_more(struct bedrock_call *call, uint64_t *due_ms, bool *end) PARKS
{
    if (!http_ready(call->http)) {
        if (call->before_wait != NULL) {
            TRY(call->before_wait(call->arg));
        }
        uint64_t now_ms = loop_now_ms(task_loop());
        if (*due_ms == 0 && call->silence_ms != 0) {
            *due_ms = now_ms + call->silence_ms;
        }
        if (*due_ms != 0) {
            http_set_idle_ms(call->http, *due_ms > now_ms ? *due_ms - now_ms : 1);
        } else {
            http_set_idle_ms(call->http, 0);
        }
    }
    struct status s = http_read(call->http, &call->input);
    if (!status_ok(s)) {
        return transport(call, s);
    }
    if (call->input.len == 0 && eventstream_inside(call->decoder)) {
        return status_of(REASON_TIER_STREAM_BROKEN, "the stream ended inside a frame");
    }
    *end = call->input.len == 0;
    return STATUS_SUCCESS;
}

struct status bedrock_stream_next(struct bedrock_call *call, struct span *event)
{
    uint64_t due_ms = 0;
    for (;;) {
        struct eventstream_message message;
        switch (eventstream_feed(call->decoder, &call->input, &message)) {
        case EVENTSTREAM_MESSAGE:
            TRY(take_message(call, &message));
            if (call->event.len > 0) {
                *event = buf_span(&call->event);
                return STATUS_SUCCESS;
            }
            break;
        case EVENTSTREAM_MORE: {
            bool end = false;
            TRY(read_more(call, &due_ms, &end));
            if (end) {
                *event = SPAN_NONE;
                return STATUS_SUCCESS;
            }
            break;
        }
        case EVENTSTREAM_BROKEN:
            return status_of(
                REASON_TIER_STREAM_BROKEN,
                arena_printf(call->arena, "broken frame: %s", eventstream_error(call->decoder)));
        }
    }
}

const struct bedrock_reply *bedrock_reply(const struct bedrock_call *call)
{
    return &call->reply;
}

void bedrock_close(struct bedrock_call **call_to_close)
{
    struct bedrock_call *call = *call_to_close;
    if (call == NULL) {
        return;
    }
    *call_to_close = NULL;
    http_close(&call->http);
    eventstream_decoder_free(call->decoder);
    buf_clear(&call->event);
    buf_clear(&call->body);
    arena_free(call->arena);
    free(call);
}
