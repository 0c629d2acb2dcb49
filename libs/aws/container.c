/* The credentials endpoint of a container: ECS tasks, EKS Pod Identity. */
#include "aws/source.h"
#include "base/utf8.h"
#include "codec/uri.h"

#define NAME       "container"
#define CONNECT_MS 1000
#define ANSWER_MS  2000
#define URL_MOST   2048
#define TASK_HOST  "http://169.254.170.2"

/* 127.0.0.0/8 as people write it. */
static bool loopback(struct span host)
{
    struct span part;
    uint64_t value;
    size_t n = 0;
    if (!span_starts(host, SPAN("127."))) {
        return span_eq(host, SPAN("::1")) || span_eq_nocase(host, SPAN("localhost"));
    }
    while (span_cut(&host, '.', &part)) {
        if (++n > 4 || part.len > 3 || !span_parse_u64(part, &value) || value > 255) {
            return false;
        }
    }
    return n == 4;
}

/* The token goes there: over plain HTTP only to neighbours. */
static bool allowed(const struct uri *uri)
{
    static const char *const hosts[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        if (span_eq_nocase(uri->host, span_str(hosts[i]))) {
            return true;
        }
    }
    return span_eq_nocase(uri->scheme, SPAN("https")) || loopback(uri->host);
}

const char *container_url(struct span relative, struct span full, struct arena *arena,
                          const char **why)
{
    struct uri uri;
    bool is_relative = relative.len > 0;
    if (relative.len > URL_MOST || full.len > URL_MOST ||
        (is_relative && !span_starts(relative, SPAN("/")))) {
        *why = is_relative ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path"
                           : "AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL";
        return NULL;
    }
    const char *url = is_relative
                          ? arena_printf(arena, TASK_HOST "%.*s", (int)relative.len, relative.at)
                          : arena_string(arena, full);
    if (!uri_parse(span_str(url), &uri) || span_eq_nocase(uri.scheme, SPAN("s3"))) {
        *why = is_relative ? "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is no path"
                           : "AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL";
        return NULL;
    }
    if (!allowed(&uri)) {
        *why = arena_printf(arena,
                            "AWS_CONTAINER_CREDENTIALS_FULL_URI names %.*s, which is neither https "
                            "nor on this machine",
                            (int)uri.host.len, uri.host.at);
        return NULL;
    }
    return url;
}

/* What to send as Authorization; the file is read anew each time, as its token is exchanged. */
static const char *take_pass(struct source *source, struct span *pass) PARKS
{
    struct span path = source_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if (path.len > 0) {
        const char *why = source_read_token(source, path.at, pass);
        return why != NULL ? arena_printf(source->arena, "the token file %s cannot be used: %s",
                                          path.at, why)
                           : NULL;
    }
    *pass = source_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    return span_find_char(*pass, '\n') != SPAN_MISSING ||
                   span_find_char(*pass, '\r') != SPAN_MISSING
               ? "AWS_CONTAINER_AUTHORIZATION_TOKEN holds more than one line"
               : NULL;
}

static enum source_found refused(struct source *source, const char *url,
                                 const struct source_answer *answer, const struct json *root)
{
    struct span message = json_string(json_get(root, "message"));
    if (message.len == 0) {
        message = json_string(json_get(root, "Message"));
    }
    message = utf8_first(message, 512);
    bool passes = answer->code == 429 || answer->code >= 500;
    return (passes ? source_later : source_broken)(
        source, NAME, "%s answers HTTP %d%s%.*s", url, answer->code, message.len > 0 ? ": " : "",
        (int)message.len, message.len > 0 ? message.at : "");
}

enum source_found container_find(struct source *source, struct key_set *out)
{
    struct span relative = source_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    struct span full = source_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    struct span pass = SPAN_NONE;
    const char *why;
    if (relative.len == 0 && full.len == 0) {
        return source_nothing(source, NAME,
                              "AWS_CONTAINER_CREDENTIALS_FULL_URI and _RELATIVE_URI are not set");
    }
    const char *url = container_url(relative, full, source->arena, &why);
    if (url == NULL) {
        return source_broken(source, NAME, "%s", why);
    }
    why = take_pass(source, &pass);
    if (why != NULL) {
        return source_later(source, NAME, "%s", why); /* it may be being replaced */
    }
    const struct http_header header = {SPAN("authorization"), pass};
    const struct http_request request = {
        .method = "GET",
        .url = url,
        .headers = &header,
        .n_headers = pass.len > 0,
        .connect_ms = CONNECT_MS,
        .first_byte_ms = ANSWER_MS,
        .idle_ms = ANSWER_MS,
    };
    CLEANUP(source_answer_clear) struct source_answer answer = {0};
    struct status s = source_ask(source, &request, &answer);
    if (!status_ok(s)) {
        return source_later(source, NAME, "%s: %s", url, status_text(s));
    }
    CLEANUP(json_drop) struct json *root = json_parse(buf_span(&answer.body), NULL);
    if (answer.code != 200) {
        return refused(source, url, &answer, root);
    }
    struct credentials_values values;
    uint64_t left_ms = 0;
    why = source_read_keys(root, &values, &left_ms);
    if (why == NULL && left_ms == 0) {
        why = "the credentials it gives have expired";
    }
    if (why != NULL) {
        return source_later(source, NAME, "%s: %s", url, why);
    }
    key_set_fill(out, &values, left_ms, NAME);
    return SOURCE_KEYS;
}
