#include "aws_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/uri.h"

#define ROLES    "/latest/meta-data/iam/security-credentials/"
#define SILENCE  20000
#define TTL_MOST 21600

extern char **environ;

static void reply(struct http_exchange *exchange, int code, struct span body)
{
    http_reply(exchange, code, NULL, 0, body);
}

static const char *expiration(const struct aws_world *w, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 64);
    clock_add_rfc3339(&out, clock_wall_ms() + w->lives_ms);
    return w->expiration != NULL ? w->expiration : arena_string(arena, buf_span(&out));
}

static void reply_keys(struct aws_world *w, struct http_exchange *exchange)
{
    struct arena *arena = http_exchange_arena(exchange);
    if (w->before != NULL) {
        w->before(w);
    }
    const char *body =
        w->body != NULL
            ? w->body
            : arena_printf(arena,
                           "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"%s\","
                           "\"SecretAccessKey\":\"%s\",\"Token\":\"%s\",\"Expiration\":\"%s\"}",
                           w->access_key, w->secret_key, w->session_token, expiration(w, arena));
    reply(exchange, w->code != 0 ? w->code : 200, span_str(body));
}

/* --- instance metadata ------------------------------------------------------------------------ */

static void token(struct aws_world *w, struct http_exchange *exchange)
{
    uint64_t ttl = 0;
    struct span asked = http_exchange_header(exchange, "x-aws-ec2-metadata-token-ttl-seconds");
    if (!span_eq(http_exchange_method(exchange), SPAN("PUT"))) {
        reply(exchange, 405, SPAN_NONE);
    } else if (http_exchange_header(exchange, "x-forwarded-for").len > 0) {
        reply(exchange, 403, SPAN_NONE);
    } else if (!span_parse_u64(asked, &ttl) || ttl < 1 || ttl > TTL_MOST ||
               http_exchange_body(exchange).len > 0) {
        reply(exchange, 400, SPAN_NONE);
    } else if (w->token_code != 0) {
        reply(exchange, w->token_code, SPAN_NONE);
    } else {
        struct arena *arena = http_exchange_arena(exchange);
        reply(exchange, 200, span_str(arena_printf(arena, "token-%zu==", ++w->tokens)));
    }
}

static void metadata(struct aws_world *w, struct http_exchange *exchange)
{
    struct arena *arena = http_exchange_arena(exchange);
    struct span name = span_from(http_exchange_path(exchange), strlen(ROLES));
    const char *now = arena_printf(arena, "token-%zu==", w->tokens);
    if (w->forgets_its_tokens ||
        !span_eq(http_exchange_header(exchange, "x-aws-ec2-metadata-token"), span_str(now))) {
        reply(exchange, 401, SPAN_NONE);
    } else if (!span_eq(http_exchange_method(exchange), SPAN("GET"))) {
        reply(exchange, 405, SPAN_NONE);
    } else if (name.len == 0) {
        reply(exchange, w->role[0] != '\0' ? 200 : 404, span_str(w->role));
    } else if (!span_eq(name, span_str(w->role))) {
        reply(exchange, 404, SPAN_NONE);
    } else {
        reply_keys(w, exchange);
    }
}

/* --- container -------------------------------------------------------------------------------- */

static void container(struct aws_world *w, struct http_exchange *exchange)
{
    if (!span_eq(http_exchange_method(exchange), SPAN("GET")) ||
        !span_eq(http_exchange_header(exchange, "authorization"), span_str(w->pass))) {
        reply(exchange, 401, SPAN("{\"code\":\"401\",\"message\":\"who are you?\"}"));
    } else {
        reply_keys(w, exchange);
    }
}

/* --- token service ---------------------------------------------------------------------------- */

static struct span field(struct span form, const char *name, struct arena *arena)
{
    struct span pair, key;
    while (span_cut(&form, '&', &pair)) {
        CLEANUP(buf_clear) struct buf value;
        buf_init(&value, 8192);
        if (span_cut(&pair, '=', &key) && span_eq(key, span_str(name)) &&
            uri_decode(&value, pair)) {
            return arena_copy(arena, buf_span(&value));
        }
    }
    return SPAN_NONE;
}

static void refuse(struct http_exchange *exchange, int code, const char *error, const char *message)
{
    struct arena *arena = http_exchange_arena(exchange);
    reply(exchange, code,
          span_str(arena_printf(
              arena,
              "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
              "<Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error>"
              "<RequestId>r</RequestId></ErrorResponse>",
              error, message)));
}

static void sts(struct aws_world *w, struct http_exchange *exchange)
{
    struct arena *arena = http_exchange_arena(exchange);
    struct span form = http_exchange_body(exchange);
    struct span action = field(form, "Action", arena);
    struct span signature = http_exchange_header(exchange, "authorization");
    bool web = span_eq(action, SPAN("AssumeRoleWithWebIdentity"));
    snprintf(w->form, sizeof(w->form), "%.*s", (int)form.len, form.at);
    snprintf(w->authorization, sizeof(w->authorization), "%.*s", (int)signature.len,
             signature.len > 0 ? signature.at : "");
    if (!span_eq(http_exchange_method(exchange), SPAN("POST")) ||
        !span_starts(http_exchange_header(exchange, "content-type"),
                     SPAN("application/x-www-form-urlencoded")) ||
        !span_eq(field(form, "Version", arena), SPAN("2011-06-15")) ||
        field(form, "RoleArn", arena).len < 20 || field(form, "RoleSessionName", arena).len < 2) {
        refuse(exchange, 400, "ValidationError", "1 validation error");
    } else if (web ? signature.len > 0 : signature.len == 0) {
        refuse(exchange, 403, web ? "SignatureDoesNotMatch" : "MissingAuthenticationToken", "x");
    } else if (w->error_code != NULL) {
        refuse(exchange, w->code != 0 ? w->code : 400, w->error_code, "it &lt;says&gt; why");
    } else if (web && !span_eq(field(form, "WebIdentityToken", arena), span_str(w->web_token))) {
        refuse(exchange, 400, "InvalidIdentityToken", "no such token");
    } else if (w->body != NULL) {
        reply(exchange, 200, span_str(w->body));
    } else {
        const char *name = arena_string(arena, action);
        reply(exchange, 200,
              span_str(arena_printf(
                  arena,
                  "<?xml version=\"1.0\"?>\n<%sResponse "
                  "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <%sResult>\n"
                  "    <AssumedRoleUser><Arn>a</Arn></AssumedRoleUser>\n    <Credentials>\n"
                  "      <AccessKeyId>%s</AccessKeyId>\n      <SecretAccessKey>%s"
                  "</SecretAccessKey>\n      <SessionToken>\n%s\n</SessionToken>\n"
                  "      <Expiration>%s</Expiration>\n    </Credentials>\n  </%sResult>\n"
                  "</%sResponse>\n",
                  name, name, w->access_key, w->secret_key, w->session_token, expiration(w, arena),
                  name, name)));
    }
}

/* --- all -------------------------------------------------------------------------------------- */

static void handle(struct http_exchange *exchange, void *arg) PARKS
{
    struct aws_world *w = arg;
    struct span path = http_exchange_path(exchange);
    w->requests++;
    if (w->silent) {
        struct status s = task_sleep_ms(SILENCE);
        (void)s; /* the client leaves earlier */
    } else if (span_eq(path, SPAN("/latest/api/token"))) {
        token(w, exchange);
    } else if (span_starts(path, SPAN(ROLES))) {
        metadata(w, exchange);
    } else if (span_eq(path, SPAN("/v1/credentials"))) {
        container(w, exchange);
    } else if (span_eq(path, SPAN("/"))) {
        sts(w, exchange);
    } else {
        reply(exchange, 404, SPAN_NONE);
    }
}

static void forget_environment(void)
{
    for (char **at = environ; *at != NULL;) {
        char name[64];
        if (strncmp(*at, "AWS_", 4) != 0 || sscanf(*at, "%63[^=]", name) != 1 ||
            unsetenv(name) != 0) {
            at++;
        }
    }
}

void aws_world_start(struct aws_world *w)
{
    *w = (struct aws_world){.access_key = "AKIDEXAMPLE",
                            .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                            .session_token = "session/token==",
                            .lives_ms = 3600000,
                            .role = "a-role",
                            .web_token = "header.payload.signature",
                            .arena = arena_new(4u << 20)};
    struct http_server_options options = {.host = "127.0.0.1", .handler = handle, .arg = w};
    assert_status_ok(http_server_start(task_loop(), &options, &w->server));
    snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%u", http_server_port(w->server));
    w->http = http_client_new(task_loop(), &(struct http_client_options){0});
    forget_environment();
    snprintf(w->home, sizeof(w->home), "/tmp/prism-home-XXXXXX");
    assert_non_null(mkdtemp(w->home));
    setenv("HOME", w->home, 1);
    assert_int_equal(mkdir(arena_printf(w->arena, "%s/.aws", w->home), 0700), 0);
}

void aws_world_stop(struct aws_world *w)
{
    forget_environment();
    static const char *const names[] = {".aws/config", ".aws/credentials", "token"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        aws_world_file(w, names[i], NULL);
    }
    rmdir(arena_printf(w->arena, "%s/.aws", w->home));
    assert_int_equal(rmdir(w->home), 0);
    assert_int_equal(http_client_open(w->http), 0);
    http_client_free(w->http);
    http_server_stop(w->server);
    arena_free(w->arena);
}

void aws_world_set(const char *name, const char *value)
{
    assert_int_equal(value != NULL ? setenv(name, value, 1) : unsetenv(name), 0);
}

const char *aws_world_file(struct aws_world *w, const char *name, const char *text)
{
    const char *path = arena_printf(w->arena, "%s/%s", w->home, name);
    if (text == NULL) {
        unlink(path);
        return path;
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

struct aws_found aws_world_look(struct aws_world *w,
                                enum source_found (*find)(struct source *, struct key_set *))
{
    struct source source;
    CLEANUP(key_set_clear) struct key_set keys = {0};
    source_init(&source, w->http);
    struct aws_found found = {.found = find(&source, &keys)};
    found.why = arena_string(w->arena, buf_span(&source.why));
    if (found.found == SOURCE_KEYS) {
        found.values = (struct credentials_values){
            .access_key = arena_copy(w->arena, span_str(keys.access_key)),
            .secret_key = arena_copy(w->arena, span_str(keys.secret_key)),
            .session_token = arena_copy(w->arena, span_str(keys.session_token)),
            .bearer_token = arena_copy(w->arena, span_str(keys.bearer_token))};
        found.lives_ms = keys.lives_ms;
        found.source = keys.source;
    }
    source_clear(&source);
    return found;
}
