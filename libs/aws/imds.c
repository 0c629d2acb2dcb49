/* The instance metadata service of EC2, version 2 only: a token first, then the role's keys. */
#include "aws/source.h"
#include "base/utf8.h"
#include "codec/hash.h"
#include "codec/uri.h"

#define NAME       "instance metadata"
#define ROLES      "/latest/meta-data/iam/security-credentials/"
#define ANSWER_MS  1000 /* it is a neighbour, or not there */
#define TOKEN_S    "21600"
#define KEPT_ON_MS (15u * 60 * 1000)

static struct status ask(struct source *source, const char *base, const char *method,
                         const char *path, struct http_header header,
                         struct source_answer *answer) PARKS
{
    struct http_request request = {
        .method = method,
        .url = arena_printf(source->arena, "%s%s", base, path),
        .headers = &header,
        .n_headers = 1,
        .connect_ms = ANSWER_MS,
        .first_byte_ms = ANSWER_MS,
        .idle_ms = ANSWER_MS,
    };
    return source_ask(source, &request, answer);
}

/* Without a trailing slash; NULL when the variable is no URL. */
static const char *base_url(struct source *source)
{
    struct span given = source_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    struct uri uri;
    if (given.len == 0) {
        bool six =
            span_eq_nocase(source_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), SPAN("IPv6"));
        return six ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    }
    while (span_ends(given, SPAN("/"))) {
        given.len--;
    }
    return given.len <= 1024 && uri_parse(given, &uri) ? arena_string(source->arena, given) : NULL;
}

static bool token_usable(struct span token)
{
    return token.len > 0 && token.len <= 4096 && utf8_valid(token) &&
           span_find_char(token, '\n') == SPAN_MISSING &&
           span_find_char(token, '\r') == SPAN_MISSING;
}

static enum source_found take_token(struct source *source, const char *base,
                                    struct span *token) PARKS
{
    CLEANUP(source_answer_clear) struct source_answer answer = {0};
    struct status s = ask(
        source, base, "PUT", "/latest/api/token",
        (struct http_header){SPAN("x-aws-ec2-metadata-token-ttl-seconds"), SPAN(TOKEN_S)}, &answer);
    if (!status_ok(s)) {
        return source_nothing(source, NAME,
                              "%s does not answer: %s (in a container, the instance's hop limit "
                              "must be 2)",
                              base, status_text(s));
    }
    if (answer.code != 200) {
        return source_nothing(source, NAME, "%s gives no token (HTTP %d%s)", base, answer.code,
                              answer.code == 404 || answer.code == 405
                                  ? "; version 1 of the service is not used"
                                  : "");
    }
    struct span text = span_trim(buf_span(&answer.body));
    if (!token_usable(text)) {
        return source_nothing(source, NAME, "what %s gives is no token", base);
    }
    *token = arena_copy(source->arena, text);
    return SOURCE_KEYS;
}

static enum source_found refused(struct source *source, const char *what, int code)
{
    return code == 404 ? source_nothing(source, NAME, "no role is attached to the instance")
                       : source_later(source, NAME, "no %s: HTTP %d", what, code);
}

/* The path of the role's keys. */
static enum source_found take_role(struct source *source, const char *base, struct http_header pass,
                                   const char **path) PARKS
{
    CLEANUP(source_answer_clear) struct source_answer answer = {0};
    struct status s = ask(source, base, "GET", ROLES, pass, &answer);
    if (!status_ok(s)) {
        return source_later(source, NAME, "no role: %s", status_text(s));
    }
    struct span rest = buf_span(&answer.body), role = SPAN_NONE;
    if (answer.code != 200 || !span_cut(&rest, '\n', &role) || span_trim(role).len == 0) {
        return refused(source, "role", answer.code == 200 ? 404 : answer.code);
    }
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 4096);
    buf_add_str(&out, ROLES);
    uri_add_encoded(&out, span_trim(role), "");
    if (!buf_ok(&out)) {
        return source_broken(source, NAME, "the role's name is too long");
    }
    *path = arena_string(source->arena, buf_span(&out));
    return SOURCE_KEYS;
}

static enum source_found take_keys(struct source *source, const char *base, struct http_header pass,
                                   const char *path, struct key_set *out) PARKS
{
    CLEANUP(source_answer_clear) struct source_answer answer = {0};
    struct status s = ask(source, base, "GET", path, pass, &answer);
    if (!status_ok(s)) {
        return source_later(source, NAME, "no keys: %s", status_text(s));
    }
    if (answer.code != 200) {
        return refused(source, "keys", answer.code);
    }
    CLEANUP(json_drop) struct json *root = json_parse(buf_span(&answer.body), NULL);
    struct span code = json_string(json_get(root, "Code"));
    if (code.len > 0 && !span_eq(code, SPAN("Success"))) {
        struct span message = span_first(json_string(json_get(root, "Message")), 512);
        return source_later(source, NAME, "%.*s %.*s", (int)code.len, code.at, (int)message.len,
                            message.len > 0 ? message.at : "");
    }
    struct credentials_values values;
    uint64_t left_ms;
    const char *why = source_read_keys(root, &values, &left_ms);
    if (why != NULL) {
        return source_later(source, NAME, "%s", why);
    }
    if (left_ms < KEPT_ON_MS) {
        /* When the service cannot renew them, AWS accepts its old ones for longer than they say;
         * were it not so, Bedrock would tell. */
        uint32_t random;
        hash_random(&random, sizeof(random));
        left_ms = KEPT_ON_MS + random % KEPT_ON_MS;
    }
    key_set_fill(out, &values, left_ms, NAME);
    return SOURCE_KEYS;
}

enum source_found imds_find(struct source *source, struct key_set *out)
{
    if (span_eq_nocase(source_variable("AWS_EC2_METADATA_DISABLED"), SPAN("true"))) {
        return source_nothing(source, NAME, "AWS_EC2_METADATA_DISABLED is true");
    }
    const char *base = base_url(source);
    if (base == NULL) {
        return source_broken(source, NAME, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no URL");
    }
    struct http_header pass = {.name = SPAN("x-aws-ec2-metadata-token")};
    const char *path = NULL;
    enum source_found found = take_token(source, base, &pass.value);
    if (found == SOURCE_KEYS) {
        found = take_role(source, base, pass, &path);
    }
    return found == SOURCE_KEYS ? take_keys(source, base, pass, path, out) : found;
}
