/*
 * bedrock.h -- Bedrock Runtime: InvokeModel, InvokeModelWithResponseStream and CountTokens.
 *
 * Floor 4, tasks on the loop thread. Signs, sends, and turns everything the service says into
 * Messages-API event JSON or a status (bedrock_errors.def: HTTP status + exception name + known
 * texts -> reason). One call is one attempt. Details of statuses are valid until bedrock_close.
 */
#ifndef PRISM_AWS_BEDROCK_H
#define PRISM_AWS_BEDROCK_H

#include <stdint.h>

#include "aws/credentials.h"
#include "base/arena.h"
#include "base/span.h"
#include "net/http.h"

struct bedrock;
struct bedrock_call;

struct bedrock_options {
    struct http_client *http;
    struct credentials *credentials;
    const char *endpoint; /* NULL: https://bedrock-runtime.{region}.amazonaws.com */
};

struct bedrock *bedrock_new(const struct bedrock_options *options) NODISCARD;
void bedrock_free(struct bedrock *bedrock);

struct bedrock_request {
    const char *region;
    const char *model_id;
    struct span body; /* a Messages body, JSON; stays the caller's until the call is closed */
    uint64_t connect_ms;
    uint64_t first_byte_ms; /* to the response's headers and again to the first event */
    uint64_t idle_ms;       /* longest silence between events */

    /* NULL, or called when the stream is about to wait for more: what its events came to so far
     * should not wait with it. How long it takes is not counted as silence; a failure ends the
     * wait. */
    struct status (*before_wait)(void *arg) PARKS;
    void *arg;
};

/* Facts about the answer for metadata and logs; valid until close. */
struct bedrock_reply {
    int http_status;          /* 0: no answer came */
    struct span request_id;   /* x-amzn-requestid */
    bool simulated;           /* the peer says it is the simulator (x-prism-simulated) */
    uint32_t server_retry_ms; /* Retry-After or x-amz-retry-after, 0: none */
    bool dispatched;          /* the request may have reached the service */
    uint64_t credentials;     /* serial of those it was sent with */
};

/* Opens a stream: OK once the response's headers are there with 200. On failure *out is set too,
 * for its reply facts, unless nothing was built; close it always. */
struct status bedrock_invoke_stream(struct bedrock *bedrock, const struct bedrock_request *request,
                                    struct bedrock_call **out) NODISCARD PARKS;

/* The next inner event's JSON, valid until the next call; len 0 at the orderly end of the HTTP
 * body. Exception frames, broken framing and cut streams are statuses; whether `message_stop` was
 * seen is the caller's business. */
struct status bedrock_stream_next(struct bedrock_call *call, struct span *event) NODISCARD PARKS;

/* One answer body, JSON, valid until close. */
struct status bedrock_invoke(struct bedrock *bedrock, const struct bedrock_request *request,
                             struct bedrock_call **out, struct span *body) NODISCARD PARKS;

/* The tokens of the prompt in a whole Messages body. Models are known by their base ids here; one
 * that cannot count is TIER_MISCONFIGURED. */
struct status bedrock_count(struct bedrock *bedrock, const struct bedrock_request *request,
                            uint64_t *tokens) NODISCARD PARKS;

const struct bedrock_reply *bedrock_reply(const struct bedrock_call *call);
void bedrock_close(struct bedrock_call **call); /* cuts what is unfinished; takes NULL inside */

/* The classification, pure, for tests: exception is "ThrottlingException" in any case, with
 * anything behind ':' or before '#' ignored. http_status 0: a frame inside a stream. */
enum reason bedrock_classify(int http_status, struct span exception, struct span message);

#endif
