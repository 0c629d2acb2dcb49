/* A request as text is signed in one of several ways: the canonical path and query are what they
 * stay when they are made canonical again, the pieces fit each other, and the simulator's own
 * verifier agrees with the signature. */
#include "codec/hash.h"
#include "codec/sigv4.h"
#include "fuzz.h"
#include "simulator/sigv4_check.h"

#define HEADERS_MOST 32
#define WALL_S       1767323045
#define ACCESS_KEY   SPAN("AKIDEXAMPLE")
#define SECRET_KEY   SPAN("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
#define MEMORY       (16u << 20)

/* A request line, headers, an empty line, the body; missing parts are empty. */
static void read_request(struct span text, struct sigv4_header *headers, struct sigv4_request *out)
{
    struct span line = SPAN_NONE, target = SPAN_NONE, rest;
    span_cut(&text, '\n', &line);
    span_cut(&line, ' ', &out->method);
    span_cut(&line, ' ', &target);
    span_cut(&target, '?', &out->path);
    out->query = target;
    while (span_cut(&text, '\n', &line) && line.len > 0) {
        rest = line;
        struct sigv4_header header = {0};
        if (span_cut(&rest, ':', &header.name) && out->n_headers < HEADERS_MOST) {
            header.value = rest;
            headers[out->n_headers++] = header;
        }
    }
    out->headers = headers;
    out->body = text;
}

static struct span line_of(struct span text, size_t number)
{
    struct span line = SPAN_NONE;
    for (size_t i = 0; i <= number; i++) {
        check(span_cut(&text, '\n', &line));
    }
    return line;
}

static void check_encoded(struct span text, char keep)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~' || c == '%' || c == keep;
        check(plain || c == '=' || c == '&');
    }
}

/* Path and query of a signature are canonical: as a request's own they come out unchanged. */
static void check_canonical(const struct sigv4_options *options, const struct sigv4_result *signed_)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(MEMORY);
    struct span path = line_of(signed_->canonical_request, 1);
    struct span query = line_of(signed_->canonical_request, 2);
    struct sigv4_header host = {SPAN("host"), SPAN("example.com")};
    struct sigv4_request request = {SPAN("GET"), path, query, &host, 1, SPAN_NONE};
    struct sigv4_options again = *options;
    again.single_encode = true;
    again.in_query = false;
    struct sigv4_result result;
    sigv4_sign(&request, &again, arena, &result);
    check(span_eq(line_of(result.canonical_request, 1), path));
    check(span_eq(line_of(result.canonical_request, 2), query));
    check_encoded(query, '%');
    if (!options->single_encode) {
        check_encoded(path, '/');
    }
}

static void check_pieces(const struct sigv4_result *result)
{
    uint8_t hash[HASH_SHA256_SIZE];
    CLEANUP(buf_clear) struct buf hex;
    buf_init(&hex, 2 * HASH_SHA256_SIZE);
    hash_sha256(result->canonical_request, hash);
    for (size_t i = 0; i < sizeof(hash); i++) {
        buf_addf(&hex, "%02x", hash[i]);
    }
    check(span_ends(result->string_to_sign, buf_span(&hex)));
    check(result->signature.len == (size_t)2 * HASH_SHA256_SIZE);
}

/* What a client of ours sends to the provider: a path without segments to normalize, no query,
 * tokens as names, values without tabs, and none of the headers that signing adds. */
static bool like_ours(const struct sigv4_request *request)
{
    bool host = false;
    for (size_t i = 0; i < request->n_headers; i++) {
        struct span name = request->headers[i].name, value = request->headers[i].value;
        for (size_t k = 0; k < name.len; k++) {
            char c = name.at[k];
            bool token = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '-';
            if (!token) {
                return false;
            }
        }
        if (name.len == 0 || span_eq_nocase(span_first(name, 6), SPAN("x-amz-")) ||
            span_eq_nocase(name, SPAN("authorization")) ||
            span_find_char(value, '\t') != SPAN_MISSING ||
            span_find_char(value, '\r') != SPAN_MISSING) {
            return false;
        }
        host |= span_eq_nocase(name, SPAN("host"));
    }
    return host && request->query.len == 0 && span_starts(request->path, SPAN("/")) &&
           span_find(request->path, SPAN("//")) == SPAN_MISSING &&
           span_find(request->path, SPAN("/.")) == SPAN_MISSING;
}

static void check_verified(const struct sigv4_request *request, const struct sigv4_result *result,
                           struct arena *arena)
{
    struct http_header headers[HEADERS_MOST + 4];
    struct sigv4_check_keys keys = {ACCESS_KEY, SECRET_KEY, SPAN_NONE};
    struct sigv4_check_request arrived = {
        .method = request->method,
        .path = request->path,
        .query = request->query,
        .headers = headers,
        .body = request->body,
    };
    for (size_t i = 0; i < request->n_headers; i++) {
        headers[arrived.n_headers++] =
            (struct http_header){request->headers[i].name, request->headers[i].value};
    }
    for (size_t i = 0; i < result->n_added; i++) {
        headers[arrived.n_headers++] =
            (struct http_header){result->added[i].name, result->added[i].value};
    }
    struct span region = SPAN_NONE;
    struct refusal refusal = sigv4_check(&arrived, &keys, WALL_S, arena, &region);
    check(refusal.code == 0 && span_eq(region, SPAN("us-east-2")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(MEMORY);
    struct sigv4_header headers[HEADERS_MOST];
    struct sigv4_request request = {0};
    struct sigv4_result result;
    read_request(span_of(data, size), headers, &request);
    uint32_t choice = hash_crc32(0, span_of(data, size));
    struct sigv4_options options = {
        .access_key = ACCESS_KEY,
        .secret_key = SECRET_KEY,
        .session_token = choice & 1 ? SPAN("a/session+token==") : SPAN_NONE,
        .region = SPAN("us-east-2"),
        .service = SPAN("bedrock"),
        .wall_s = WALL_S,
        .single_encode = (choice & 6) == 6,
        .no_normalize = (choice & 24) == 24,
        .sign_body_header = (choice & 32) != 0,
        .token_unsigned = (choice & 64) != 0,
        .in_query = (choice & 384) == 384,
        .expires_s = 60,
    };
    sigv4_sign(&request, &options, arena, &result);
    check_pieces(&result);
    check_canonical(&options, &result);
    if (!options.single_encode && !options.no_normalize && !options.in_query &&
        !options.token_unsigned && like_ours(&request)) {
        check_verified(&request, &result, arena);
    }
    return 0;
}
