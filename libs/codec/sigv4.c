#include "codec/sigv4.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "codec/uri.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define TIME_SIZE sizeof("20260102T030405Z")

/* The token, the date, the body's hash, the authorization. */
#define ADDED_MOST 4

/* A header or a query parameter on its way into the canonical request. */
struct pair {
    struct span name;
    struct span value;
    size_t order; /* in which it came */
};

struct signer {
    const struct sigv4_request *request;
    const struct sigv4_options *options;
    struct arena *arena;
    struct span time;      /* 20260102T030405Z, the first eight are the date */
    struct span scope;     /* date/region/service/aws4_request */
    struct span body_hash; /* hex */
    struct sigv4_header *added;
    size_t n_added;
    struct pair *headers; /* those that are signed, sorted, lower case */
    size_t n_headers;
    struct span signed_headers; /* their names */
};

/* --- pieces of text, all in the arena --- */

static struct span concat(struct arena *arena, const struct span *pieces, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        len += pieces[i].len;
    }
    char *text = arena_alloc(arena, len + 1);
    char *to = text;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len > 0) {
            to = mempcpy(to, pieces[i].at, pieces[i].len);
        }
    }
    return span_of(text, len);
}

#define CONCAT(arena, ...)                                                                         \
    concat(arena, (struct span[]){__VA_ARGS__}, ARRAY_LEN(((struct span[]){__VA_ARGS__})))

static struct span hex(struct arena *arena, const uint8_t hash[HASH_SHA256_SIZE])
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, HASH_SHA256_SIZE * 2);
    text_add_hex(&text, span_of(hash, HASH_SHA256_SIZE));
    return arena_copy(arena, buf_span(&text));
}

static struct span hash_hex(struct arena *arena, struct span data)
{
    uint8_t hash[HASH_SHA256_SIZE];
    hash_sha256(data, hash);
    return hex(arena, hash);
}

static struct span encoded(struct arena *arena, struct span text, const char *keep)
{
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, text.len * 3);
    uri_add_encoded(&out, text, keep);
    return arena_copy(arena, buf_span(&out));
}

static struct span time_text(uint64_t wall_s, char text[TIME_SIZE])
{
    struct tm utc;
    time_t seconds = (time_t)wall_s;
    check(gmtime_r(&seconds, &utc) != NULL);
    size_t len = strftime(text, TIME_SIZE, "%Y%m%dT%H%M%SZ", &utc);
    check(len == TIME_SIZE - 1);
    return span_of(text, len);
}

/* --- headers --- */

static int header_order(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    int order = span_compare(a->name, b->name);
    return order != 0 ? order : a->order < b->order ? -1 : a->order > b->order;
}

/* What proxies and connections change on the way, and what signing itself sets. */
static bool header_unsigned(struct span name)
{
    static const char *const names[] = {
        "authorization", "connection",        "expect",  "keep-alive", "te",
        "trailer",       "transfer-encoding", "upgrade", "user-agent", "x-amzn-trace-id",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (span_eq(name, span_str(names[i]))) {
            return true;
        }
    }
    return span_starts(name, SPAN("proxy-"));
}

static struct span lower(struct arena *arena, struct span name)
{
    char *copy = arena_string(arena, name);
    for (size_t i = 0; i < name.len; i++) {
        if (copy[i] >= 'A' && copy[i] <= 'Z') {
            copy[i] |= 0x20;
        }
    }
    return span_of(copy, name.len);
}

/* Blanks at the ends go, runs of them become one space. */
static struct span collapse(struct arena *arena, struct span value)
{
    value = span_trim(value);
    char *copy = arena_string(arena, value);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
            copy[len++] = c;
        } else if (copy[len - 1] != ' ') {
            copy[len++] = ' ';
        }
    }
    return span_of(copy, len);
}

static void headers_take(struct signer *s, const struct sigv4_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct span name = lower(s->arena, headers[i].name);
        if (!header_unsigned(name)) {
            s->headers[s->n_headers++] =
                (struct pair){name, collapse(s->arena, headers[i].value), i};
        }
    }
}

static bool repeats(const struct signer *s, size_t header)
{
    return header > 0 && span_eq(s->headers[header].name, s->headers[header - 1].name);
}

static void headers_prepare(struct signer *s)
{
    size_t most = s->request->n_headers + s->n_added;
    s->headers = ARENA_ARRAY(s->arena, struct pair, most);
    headers_take(s, s->request->headers, s->request->n_headers);
    headers_take(s, s->added, s->n_added);
    qsort(s->headers, s->n_headers, sizeof(struct pair), header_order);

    struct span *pieces = ARENA_ARRAY(s->arena, struct span, 2 * most);
    size_t count = 0;
    for (size_t i = 0; i < s->n_headers; i++) {
        if (!repeats(s, i)) {
            pieces[count++] = i > 0 ? SPAN(";") : SPAN("");
            pieces[count++] = s->headers[i].name;
        }
    }
    s->signed_headers = concat(s->arena, pieces, count);
}

/* A line per name; the values of a repeated one are joined in the order they came. */
static struct span canonical_headers(const struct signer *s)
{
    struct span *pieces = ARENA_ARRAY(s->arena, struct span, 4 * s->n_headers);
    size_t count = 0;
    for (size_t i = 0; i < s->n_headers; i++) {
        if (repeats(s, i)) {
            pieces[count - 1] = SPAN(",");
        } else {
            pieces[count++] = s->headers[i].name;
            pieces[count++] = SPAN(":");
        }
        pieces[count++] = s->headers[i].value;
        pieces[count++] = SPAN("\n");
    }
    return concat(s->arena, pieces, count);
}

/* --- path and query --- */

/* Without empty, "." and ".." segments. Unlike in RFC 3986, a slash ends it only where one did
 * before: AWS computes it so. */
static struct span normalized(struct arena *arena, struct span path)
{
    char *out = arena_alloc(arena, path.len + 1);
    size_t len = 0;
    struct span segment = SPAN_NONE;
    while (span_cut(&path, '/', &segment)) {
        if (span_eq(segment, SPAN(".."))) {
            while (len > 0 && out[--len] != '/') {
            }
        } else if (segment.len > 0 && !span_eq(segment, SPAN("."))) {
            out[len++] = '/';
            memcpy(out + len, segment.at, segment.len);
            len += segment.len;
        }
    }
    if (len == 0 || segment.len == 0) {
        out[len++] = '/';
    }
    return span_of(out, len);
}

static struct span canonical_path(const struct signer *s)
{
    struct span path = s->request->path.len > 0 ? s->request->path : SPAN("/");
    if (!s->options->no_normalize) {
        path = normalized(s->arena, path);
    }
    return s->options->single_encode ? path : encoded(s->arena, path, "/");
}

static int parameter_order(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    int order = span_compare(a->name, b->name);
    return order != 0 ? order : span_compare(a->value, b->value);
}

/* Escaped in the one canonical way, however it was sent. */
static struct span recoded(struct arena *arena, struct span text)
{
    CLEANUP(buf_clear) struct buf plain;
    buf_init(&plain, text.len);
    return uri_decode(&plain, text) ? encoded(arena, buf_span(&plain), "")
                                    : encoded(arena, text, "");
}

static struct span canonical_query(const struct signer *s, struct span query)
{
    size_t most = 1;
    for (size_t i = 0; i < query.len; i++) {
        most += query.at[i] == '&';
    }
    struct pair *parameters = ARENA_ARRAY(s->arena, struct pair, most);
    size_t n_parameters = 0;
    struct span part;
    while (span_cut(&query, '&', &part)) {
        if (part.len > 0) {
            size_t equals = span_find_char(part, '=');
            struct span value = equals != SPAN_MISSING ? span_from(part, equals + 1) : SPAN_NONE;
            parameters[n_parameters++] = (struct pair){
                .name = recoded(s->arena, span_first(part, equals)),
                .value = recoded(s->arena, value),
            };
        }
    }
    qsort(parameters, n_parameters, sizeof(struct pair), parameter_order);

    struct span *pieces = ARENA_ARRAY(s->arena, struct span, 4 * most);
    size_t count = 0;
    for (size_t i = 0; i < n_parameters; i++) {
        pieces[count++] = i > 0 ? SPAN("&") : SPAN("");
        pieces[count++] = parameters[i].name;
        pieces[count++] = SPAN("=");
        pieces[count++] = parameters[i].value;
    }
    return concat(s->arena, pieces, count);
}

static struct span with_parameter(struct arena *arena, struct span query, struct span name,
                                  struct span value)
{
    return CONCAT(arena, query, query.len > 0 ? SPAN("&") : SPAN(""), name, SPAN("="),
                  encoded(arena, value, ""));
}

static struct span with_token(const struct signer *s, struct span query)
{
    return with_parameter(s->arena, query, SPAN("X-Amz-Security-Token"), s->options->session_token);
}

/* The query of a presigned URL up to what is signed. */
static struct span query_prepared(const struct signer *s)
{
    struct arena *arena = s->arena;
    struct span credential = CONCAT(arena, s->options->access_key, SPAN("/"), s->scope);
    struct span expires = span_str(arena_printf(arena, "%u", s->options->expires_s));
    struct span query = s->request->query;
    query = with_parameter(arena, query, SPAN("X-Amz-Algorithm"), SPAN(ALGORITHM));
    query = with_parameter(arena, query, SPAN("X-Amz-Credential"), credential);
    query = with_parameter(arena, query, SPAN("X-Amz-Date"), s->time);
    query = with_parameter(arena, query, SPAN("X-Amz-SignedHeaders"), s->signed_headers);
    return with_parameter(arena, query, SPAN("X-Amz-Expires"), expires);
}

/* --- signing --- */

static void add(struct signer *s, struct span name, struct span value)
{
    s->added[s->n_added++] = (struct sigv4_header){name, value};
}

static void derive(const struct sigv4_options *options, struct span day,
                   uint8_t key[HASH_SHA256_SIZE])
{
    CLEANUP(buf_clear) struct buf secret;
    struct span chained = span_of(key, HASH_SHA256_SIZE);
    buf_init(&secret, 4 + options->secret_key.len);
    char *all = buf_reserve(&secret, secret.max);
    buf_add_str(&secret, "AWS4");
    buf_add_span(&secret, options->secret_key);
    hash_hmac_sha256(buf_span(&secret), day, key);
    hash_hmac_sha256(chained, options->region, key);
    hash_hmac_sha256(chained, options->service, key);
    hash_hmac_sha256(chained, SPAN("aws4_request"), key);
    explicit_bzero(all, secret.len);
}

void sigv4_derive(const struct sigv4_options *options, struct sigv4_key *key)
{
    CLEANUP(buf_clear) struct buf origin;
    char time[TIME_SIZE];
    struct span day = span_first(time_text(options->wall_s, time), 8);
    const struct span parts[] = {day, options->region, options->service, options->secret_key};
    buf_init(&origin, sizeof(key->origin));
    char *all = buf_reserve(&origin, origin.max);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_add_span(&origin, parts[i]);
        buf_add_char(&origin, '\n');
    }
    bool kept = buf_ok(&origin) && key->origin_len == origin.len &&
                memcmp(key->origin, origin.at, origin.len) == 0;
    if (!kept) {
        derive(options, day, key->bytes);
        key->origin_len = buf_ok(&origin) ? origin.len : 0;
        memcpy(key->origin, origin.at, key->origin_len);
    }
    explicit_bzero(all, origin.max);
}

static struct span signature(const struct signer *s, struct span string_to_sign)
{
    uint8_t key[HASH_SHA256_SIZE];
    uint8_t signed_with[HASH_SHA256_SIZE];
    if (s->options->key != NULL) {
        memcpy(key, s->options->key, sizeof(key));
    } else {
        derive(s->options, span_first(s->time, 8), key);
    }
    hash_hmac_sha256(span_of(key, sizeof(key)), string_to_sign, signed_with);
    explicit_bzero(key, sizeof(key));
    return hex(s->arena, signed_with);
}

void sigv4_sign(const struct sigv4_request *request, const struct sigv4_options *options,
                struct arena *arena, struct sigv4_result *out)
{
    struct signer s = {.request = request, .options = options, .arena = arena};
    bool token = options->session_token.len > 0;
    const struct span newline = SPAN("\n"), slash = SPAN("/");
    char time[TIME_SIZE];
    s.time = arena_copy(arena, time_text(options->wall_s, time));
    s.scope = CONCAT(arena, span_first(s.time, 8), slash, options->region, slash, options->service,
                     slash, SPAN("aws4_request"));
    s.body_hash = hash_hex(arena, request->body);
    s.added = ARENA_ARRAY(arena, struct sigv4_header, ADDED_MOST);
    if (!options->in_query) {
        add(&s, SPAN("x-amz-date"), s.time);
        if (options->sign_body_header) {
            add(&s, SPAN("x-amz-content-sha256"), s.body_hash);
        }
        if (token && !options->token_unsigned) {
            add(&s, SPAN("x-amz-security-token"), options->session_token);
        }
    }
    headers_prepare(&s);

    struct span query = options->in_query ? query_prepared(&s) : request->query;
    if (options->in_query && token && !options->token_unsigned) {
        query = with_token(&s, query);
    }
    struct span canonical_request = CONCAT(
        arena, request->method, newline, canonical_path(&s), newline, canonical_query(&s, query),
        newline, canonical_headers(&s), newline, s.signed_headers, newline, s.body_hash);
    struct span string_to_sign = CONCAT(arena, SPAN(ALGORITHM), newline, s.time, newline, s.scope,
                                        newline, hash_hex(arena, canonical_request));
    struct span signed_with = signature(&s, string_to_sign);

    if (options->in_query) {
        if (token && options->token_unsigned) {
            query = with_token(&s, query);
        }
        query = with_parameter(arena, query, SPAN("X-Amz-Signature"), signed_with);
    } else {
        if (token && options->token_unsigned) {
            add(&s, SPAN("x-amz-security-token"), options->session_token);
        }
        add(&s, SPAN("authorization"),
            CONCAT(arena, SPAN(ALGORITHM " Credential="), options->access_key, slash, s.scope,
                   SPAN(", SignedHeaders="), s.signed_headers, SPAN(", Signature="), signed_with));
    }
    *out = (struct sigv4_result){s.added,           s.n_added,      query,
                                 canonical_request, string_to_sign, signed_with};
}
