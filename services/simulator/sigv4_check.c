#include "simulator/sigv4_check.h"

#include <stdlib.h>

#include "base/buf.h"
#include "codec/hash.h"

#define INVALID(text)  ((struct refusal){403, "InvalidSignatureException", text, false})
#define BROKEN(text)   ((struct refusal){403, "IncompleteSignatureException", text, false})
#define HEADERS_SIGNED 64

/* What the Authorization header and the date say. */
struct claim {
    struct span access_key;
    struct span day; /* these four are the scope */
    struct span region;
    struct span service;
    struct span end;
    struct span scope;
    struct span signed_names;
    struct span signature;
    struct span date;
};

static struct span header(const struct sigv4_check_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (span_eq_nocase(r->headers[i].name, span_str(name))) {
            return r->headers[i].value;
        }
    }
    return SPAN_NONE;
}

static void add_hex(struct buf *out, const uint8_t digest[HASH_SHA256_SIZE])
{
    for (size_t i = 0; i < HASH_SHA256_SIZE; i++) {
        buf_addf(out, "%02x", digest[i]);
    }
}

static void add_hash(struct buf *out, struct span data)
{
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(data, digest);
    add_hex(out, digest);
}

static bool unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

/* The path as sent, encoded once more; routes have no dot segments, so there is nothing to
 * normalise. */
static void add_path(struct buf *out, struct span path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (unreserved(path.at[i]) || path.at[i] == '/') {
            buf_add_char(out, path.at[i]);
        } else {
            buf_addf(out, "%%%02X", (unsigned char)path.at[i]);
        }
    }
}

static int by_text(const void *a, const void *b)
{
    return span_compare(*(const struct span *)a, *(const struct span *)b);
}

/* Parameters in order, each with its '='. They are encoded already: nobody signs what he does not
 * send. */
static void add_query(struct buf *out, struct span query)
{
    struct span parts[HEADERS_SIGNED] = {{0}};
    size_t n = 0;
    struct span part;
    while (n < ARRAY_LEN(parts) && span_cut(&query, '&', &part)) {
        if (part.len > 0) {
            parts[n++] = part;
        }
    }
    qsort(parts, n, sizeof(parts[0]), by_text);
    for (size_t i = 0; i < n; i++) {
        buf_add_str(out, i > 0 ? "&" : "");
        buf_add_span(out, parts[i]);
        buf_add_str(out, span_find_char(parts[i], '=') == SPAN_MISSING ? "=" : "");
    }
}

/* The value without blanks at its ends and with single ones inside. */
static void add_value(struct buf *out, struct span value)
{
    value = span_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] != ' ' || value.at[i - 1] != ' ') {
            buf_add_char(out, value.at[i]);
        }
    }
}

/* False when a signed header was not sent. */
static bool add_headers(struct buf *out, const struct sigv4_check_request *r, struct span names)
{
    struct span name;
    while (span_cut(&names, ';', &name)) {
        size_t found = 0;
        buf_add_span(out, name);
        buf_add_char(out, ':');
        for (size_t i = 0; i < r->n_headers; i++) {
            if (span_eq_nocase(r->headers[i].name, name)) {
                buf_add_str(out, found++ > 0 ? "," : "");
                add_value(out, r->headers[i].value);
            }
        }
        buf_add_char(out, '\n');
        if (found == 0) {
            return false;
        }
    }
    return true;
}

static bool names_have(struct span names, struct span wanted)
{
    struct span name;
    while (span_cut(&names, ';', &name)) {
        if (span_eq_nocase(name, wanted)) {
            return true;
        }
    }
    return false;
}

/* Lower case and in order, as the canonical request wants them. */
static bool names_canonical(struct span names)
{
    struct span last = SPAN_NONE;
    struct span name;
    for (size_t i = 0; i < names.len; i++) {
        if (names.at[i] >= 'A' && names.at[i] <= 'Z') {
            return false;
        }
    }
    while (span_cut(&names, ';', &name)) {
        if (span_compare(last, name) >= 0) {
            return false;
        }
        last = name;
    }
    return true;
}

static struct refusal read_authorization(struct span value, struct claim *claim)
{
    struct span part;
    span_cut(&value, ' ', &part);
    if (!span_eq(part, SPAN("AWS4-HMAC-SHA256"))) {
        return BROKEN("Unsupported AWS 'algorithm'.");
    }
    struct span credential = SPAN_NONE;
    while (span_cut(&value, ',', &part)) {
        struct span key = SPAN_NONE;
        part = span_trim(part);
        span_cut(&part, '=', &key);
        if (span_eq(key, SPAN("Credential"))) {
            credential = part;
        } else if (span_eq(key, SPAN("SignedHeaders"))) {
            claim->signed_names = part;
        } else if (span_eq(key, SPAN("Signature"))) {
            claim->signature = part;
        }
    }
    if (credential.len == 0 || claim->signed_names.len == 0 || claim->signature.len == 0) {
        return BROKEN("Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' "
                      "parameters.");
    }
    if (!span_cut(&credential, '/', &claim->access_key)) {
        return BROKEN("Credential must have a scope.");
    }
    claim->scope = credential;
    if (!span_cut(&credential, '/', &claim->day) || !span_cut(&credential, '/', &claim->region) ||
        !span_cut(&credential, '/', &claim->service)) {
        return BROKEN("Credential must have five elements.");
    }
    claim->end = credential;
    return REFUSAL_NONE;
}

/* Seconds since the epoch of "20260102T030405Z". */
static bool read_date(struct span text, int64_t *out)
{
    static const struct {
        size_t at, len;
    } parts[] = {{0, 4}, {4, 2}, {6, 2}, {9, 2}, {11, 2}, {13, 2}};
    uint64_t v[ARRAY_LEN(parts)];
    if (text.len != 16 || text.at[8] != 'T' || text.at[15] != 'Z') {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (!span_parse_u64(span_first(span_from(text, parts[i].at), parts[i].len), &v[i])) {
            return false;
        }
    }
    struct tm tm = {
        .tm_year = (int)v[0] - 1900,
        .tm_mon = (int)v[1] - 1,
        .tm_mday = (int)v[2],
        .tm_hour = (int)v[3],
        .tm_min = (int)v[4],
        .tm_sec = (int)v[5],
    };
    *out = timegm(&tm);
    return true;
}

static struct refusal check_scope(const struct claim *claim, uint64_t wall_s, struct arena *arena)
{
    int64_t date;
    if (!read_date(claim->date, &date)) {
        return BROKEN("Authorization header requires existence of either a 'X-Amz-Date' or a "
                      "'Date' header.");
    }
    if (!span_eq(claim->service, SPAN("bedrock"))) {
        return INVALID("Credential should be scoped to correct service: 'bedrock'.");
    }
    if (!span_eq(claim->end, SPAN("aws4_request"))) {
        return INVALID("Credential should be scoped with a valid terminator: 'aws4_request'.");
    }
    if (claim->region.len == 0) {
        return INVALID("Credential should be scoped to a valid region.");
    }
    if (!span_eq(claim->day, span_first(claim->date, 8))) {
        return INVALID("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                       "date from HTTP.");
    }
    if (date + SIGV4_CHECK_SKEW_S < (int64_t)wall_s) {
        return INVALID(arena_printf(arena, "Signature expired: %.*s is more than 5 min. old.",
                                    (int)claim->date.len, claim->date.at));
    }
    if (date > (int64_t)wall_s + SIGV4_CHECK_SKEW_S) {
        return INVALID(arena_printf(arena,
                                    "Signature not yet current: %.*s is more than 5 min. "
                                    "ahead.",
                                    (int)claim->date.len, claim->date.at));
    }
    return REFUSAL_NONE;
}

static struct refusal check_names(const struct sigv4_check_request *r, struct span names)
{
    if (!names_canonical(names)) {
        return BROKEN("'SignedHeaders' must be in lower case and in order.");
    }
    if (!names_have(names, SPAN("host"))) {
        return INVALID("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
    }
    for (size_t i = 0; i < r->n_headers; i++) {
        struct span name = r->headers[i].name;
        if (span_eq_nocase(span_first(name, 6), SPAN("x-amz-")) && !names_have(names, name)) {
            return INVALID("Every 'X-Amz-' header must be a 'SignedHeader' in the AWS "
                           "Authorization.");
        }
    }
    return REFUSAL_NONE;
}

static void sign(const struct claim *claim, struct span secret, struct span to_sign,
                 uint8_t out[HASH_SHA256_SIZE], struct arena *arena)
{
    struct span key = span_str(arena_printf(arena, "AWS4%.*s", (int)secret.len, secret.at));
    struct span links[] = {claim->day, claim->region, claim->service, claim->end, to_sign};
    uint8_t digest[HASH_SHA256_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        hash_hmac_sha256(key, links[i], out);
        memcpy(digest, out, sizeof(digest));
        key = span_of(digest, sizeof(digest));
    }
}

static struct refusal check_signature(const struct sigv4_check_request *r,
                                      const struct claim *claim, struct span secret,
                                      struct arena *arena)
{
    static const char mismatch[] =
        "The request signature we calculated does not match the signature you provided. Check your "
        "AWS Secret Access Key and signing method. Consult the service documentation for details.";
    CLEANUP(buf_clear) struct buf body_hash;
    CLEANUP(buf_clear) struct buf canonical;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&body_hash, 128);
    buf_init(&canonical, 256u << 10);
    buf_init(&text, 4096);

    add_hash(&body_hash, r->body);
    struct span claimed = header(r, "x-amz-content-sha256");
    buf_add_span(&canonical, r->method);
    buf_add_char(&canonical, '\n');
    add_path(&canonical, r->path);
    buf_add_char(&canonical, '\n');
    add_query(&canonical, r->query);
    buf_add_char(&canonical, '\n');
    bool complete = add_headers(&canonical, r, claim->signed_names);
    buf_add_char(&canonical, '\n');
    buf_add_span(&canonical, claim->signed_names);
    buf_add_char(&canonical, '\n');
    buf_add_span(&canonical, buf_span(&body_hash));

    buf_add_str(&text, "AWS4-HMAC-SHA256\n");
    buf_add_span(&text, claim->date);
    buf_add_char(&text, '\n');
    buf_add_span(&text, claim->scope);
    buf_add_char(&text, '\n');
    add_hash(&text, buf_span(&canonical));

    uint8_t signature[HASH_SHA256_SIZE];
    sign(claim, secret, buf_span(&text), signature, arena);
    bool whole = complete && buf_ok(&canonical) && buf_ok(&text) &&
                 (claimed.len == 0 || span_eq(claimed, buf_span(&body_hash)));
    buf_reset(&text);
    add_hex(&text, signature);
    return whole && span_eq(buf_span(&text), claim->signature) ? REFUSAL_NONE : INVALID(mismatch);
}

struct refusal sigv4_check(const struct sigv4_check_request *request,
                           const struct sigv4_check_keys *keys, uint64_t wall_s,
                           struct arena *arena, struct span *region)
{
    struct span authorization = header(request, "authorization");
    if (authorization.len == 0) {
        return (struct refusal){403, "MissingAuthenticationTokenException",
                                "Missing Authentication Token", false};
    }
    if (span_starts(authorization, SPAN("Bearer "))) {
        if (!span_eq(span_from(authorization, strlen("Bearer ")), keys->api_key)) {
            return (struct refusal){403, "AccessDeniedException",
                                    "Authentication failed: Please make sure your API Key is "
                                    "valid.",
                                    false};
        }
        *region = SPAN_NONE;
        return REFUSAL_NONE;
    }
    struct claim claim = {.date = header(request, "x-amz-date")};
    struct refusal refusal = read_authorization(authorization, &claim);
    if (refusal.code == 0) {
        refusal = check_scope(&claim, wall_s, arena);
    }
    if (refusal.code == 0 && !span_eq(claim.access_key, keys->access_key)) {
        refusal = (struct refusal){403, "UnrecognizedClientException",
                                   "The security token included in the request is invalid.", false};
    }
    if (refusal.code == 0) {
        refusal = check_names(request, claim.signed_names);
    }
    if (refusal.code == 0) {
        refusal = check_signature(request, &claim, keys->secret_key, arena);
    }
    if (refusal.code == 0) {
        *region = claim.region;
    }
    return refusal;
}
