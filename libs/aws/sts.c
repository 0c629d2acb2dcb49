/* AWS's security token service: a role's keys for a token, or for other keys. */
#include "aws/source.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "codec/sigv4.h"
#include "codec/uri.h"
#include "codec/xml.h"
#include "loop/task.h"

#define CONNECT_MS   5000
#define ANSWER_MS    5000
#define FORM_MOST    (256u << 10)
#define HEADERS_MOST 8

/* The one service's own override counts before the one for all; both may be switched off. */
static struct span endpoint_given(void)
{
    if (span_eq_nocase(source_variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), SPAN("true"))) {
        return SPAN_NONE;
    }
    struct span own = source_variable("AWS_ENDPOINT_URL_STS");
    return own.len > 0 ? own : source_variable("AWS_ENDPOINT_URL");
}

static const char *url_of(struct source *source, struct span region)
{
    struct span given = endpoint_given();
    while (span_ends(given, SPAN("/"))) {
        given.len--;
    }
    if (given.len > 0) {
        return arena_printf(source->arena, "%.*s/", (int)given.len, given.at);
    }
    return region.len > 0 ? arena_printf(source->arena, "https://sts.%.*s.amazonaws.com/",
                                         (int)region.len, region.at)
                          : "https://sts.amazonaws.com/";
}

static void add_field(struct buf *form, const char *name, struct span value)
{
    if (value.len > 0) {
        buf_addf(form, "&%s=", name);
        uri_add_encoded(form, value, "");
    }
}

static void add_form(struct buf *form, const struct sts_request *request, struct arena *arena)
{
    struct span session = request->session_name;
    if (session.len == 0) {
        session = span_str(
            arena_printf(arena, "ai-prism-%llu", (unsigned long long)clock_wall_ms() / 1000));
    }
    buf_addf(form, "Action=%s&Version=2011-06-15",
             request->signer != NULL ? "AssumeRole" : "AssumeRoleWithWebIdentity");
    add_field(form, "RoleArn", request->role_arn);
    add_field(form, "RoleSessionName", session);
    add_field(form, "ExternalId", request->external_id);
    add_field(form, "DurationSeconds", request->duration_s);
    add_field(form, "WebIdentityToken", request->token);
}

/* Adds what signing adds to the headers; returns how many there are then. */
static size_t sign(const struct sts_request *request, struct span form, struct arena *arena,
                   struct http_header *headers, size_t n)
{
    struct sigv4_header signed_headers[HEADERS_MOST];
    for (size_t i = 0; i < n; i++) {
        signed_headers[i] = (struct sigv4_header){headers[i].name, headers[i].value};
    }
    const struct sigv4_request what = {
        .method = SPAN("POST"),
        .path = SPAN("/"),
        .headers = signed_headers,
        .n_headers = n,
        .body = form,
    };
    const struct sigv4_options how = {
        .access_key = span_str(request->signer->access_key),
        .secret_key = span_str(request->signer->secret_key),
        .session_token = span_str(request->signer->session_token),
        .region = request->region.len > 0 ? request->region : SPAN("us-east-1"),
        .service = SPAN("sts"),
        .wall_s = clock_wall_ms() / 1000,
    };
    struct sigv4_result result;
    sigv4_sign(&what, &how, arena, &result);
    for (size_t i = 0; i < result.n_added; i++) {
        check(n < HEADERS_MOST);
        headers[n++] = (struct http_header){result.added[i].name, result.added[i].value};
    }
    return n;
}

static enum source_found refused(struct source *source, const char *name, const char *url,
                                 const struct source_answer *answer)
{
    static const char *const passing[] = {"IDPCommunicationError", "Throttling",
                                          "ThrottlingException", "RequestLimitExceeded",
                                          "ExpiredTokenException"}; /* its file will be renewed */
    struct xml_element error[] = {{.path = "ErrorResponse/Error/Code"},
                                  {.path = "ErrorResponse/Error/Message"}};
    const char *broken = xml_read(buf_span(&answer->body), source->arena, error, ARRAY_LEN(error));
    if (broken != NULL) {
        return source_later(source, name, "%s answers HTTP %d", url, answer->code);
    }
    bool passes = answer->code == 429 || answer->code >= 500;
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        passes |= span_eq(error[0].text, span_str(passing[i]));
    }
    struct span message = utf8_first(error[1].text, 512);
    return (passes ? source_later : source_broken)(
        source, name, "%s answers HTTP %d %.*s: %.*s", url, answer->code, (int)error[0].text.len,
        error[0].text.len > 0 ? error[0].text.at : "", (int)message.len,
        message.len > 0 ? message.at : "");
}

static enum source_found take(struct source *source, const struct sts_request *request,
                              const struct source_answer *answer, struct key_set *out)
{
#define WEB "AssumeRoleWithWebIdentityResponse/AssumeRoleWithWebIdentityResult/Credentials/"
#define OWN "AssumeRoleResponse/AssumeRoleResult/Credentials/"
    struct xml_element web[] = {{.path = WEB "AccessKeyId"},
                                {.path = WEB "SecretAccessKey"},
                                {.path = WEB "SessionToken"},
                                {.path = WEB "Expiration"}};
    struct xml_element own[] = {{.path = OWN "AccessKeyId"},
                                {.path = OWN "SecretAccessKey"},
                                {.path = OWN "SessionToken"},
                                {.path = OWN "Expiration"}};
    struct xml_element *found = request->signer != NULL ? own : web;
    const char *why = xml_read(buf_span(&answer->body), source->arena, found, ARRAY_LEN(web));
    uint64_t until_ms = 0, now_ms = clock_wall_ms();
    if (why == NULL && (found[0].text.len == 0 || found[1].text.len == 0)) {
        why = "it holds no credentials";
    } else if (why == NULL && !clock_parse_rfc3339(found[3].text, &until_ms)) {
        why = "its Expiration is no time";
    } else if (why == NULL && until_ms <= now_ms) {
        why = "the credentials it holds have expired";
    }
    if (why != NULL) {
        return source_later(source, request->name, "the answer of STS cannot be used: %s", why);
    }
    const struct credentials_values values = {
        .access_key = found[0].text, .secret_key = found[1].text, .session_token = found[2].text};
    key_set_fill(out, &values, until_ms - now_ms, request->name);
    return SOURCE_KEYS;
}

enum source_found sts_assume(struct source *source, const struct sts_request *request,
                             struct key_set *out)
{
    CLEANUP(source_wipe) struct buf form;
    buf_init(&form, FORM_MOST);
    add_form(&form, request, source->arena);
    const char *url = url_of(source, request->region);
    struct uri uri;
    if (!buf_ok(&form) || !uri_parse(span_str(url), &uri)) {
        return source_broken(source, request->name, "the endpoint of STS is no URL: %s", url);
    }
    struct http_header headers[HEADERS_MOST] = {
        {SPAN("content-type"), SPAN("application/x-www-form-urlencoded; charset=utf-8")},
        {SPAN("host"), uri.authority},
    };
    size_t n = 2;
    if (request->signer != NULL) {
        n = sign(request, buf_span(&form), source->arena, headers, n);
    }
    const struct http_request post = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .n_headers = n,
        .body = buf_span(&form),
        .connect_ms = CONNECT_MS,
        .first_byte_ms = ANSWER_MS,
        .idle_ms = ANSWER_MS,
    };
    CLEANUP(source_answer_clear) struct source_answer answer = {0};
    struct status s = source_ask(source, &post, &answer);
    if (!status_ok(s)) {
        return source_later(source, request->name, "%s: %s", url, status_text(s));
    }
    return answer.code == 200 ? take(source, request, &answer, out)
                              : refused(source, request->name, url, &answer);
}
