#include "aws/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "codec/text.h"
#include "loop/task.h"

#define ARENA_MOST  (1u << 20)
#define WHY_MOST    4096
#define TOKEN_MOST  (64u << 10)
#define ANSWER_MOST (256u << 10)

enum source_found source_find(struct source *source, struct key_set *out)
{
    static enum source_found (*const order[])(struct source *, struct key_set *) = {
        environment_find, profile_role_find, web_identity_find,
        profile_find,     container_find,    imds_find,
    };
    enum source_found found = SOURCE_NOTHING;
    for (size_t i = 0; i < ARRAY_LEN(order) && found == SOURCE_NOTHING; i++) {
        found = order[i](source, out);
    }
    return found;
}

void source_init(struct source *source, struct http_client *http)
{
    *source = (struct source){.http = http, .arena = arena_new(ARENA_MOST)};
    buf_init(&source->why, WHY_MOST);
}

void source_clear(struct source *source)
{
    arena_free(source->arena);
    buf_clear(&source->why);
}

/* --- keys ------------------------------------------------------------------------------------- */

static char *copied(struct span value)
{
    return value.len > 0 ? alloc_string(value) : NULL;
}

void key_set_fill(struct key_set *keys, const struct credentials_values *values, uint64_t lives_ms,
                  const char *source)
{
    *keys = (struct key_set){
        .access_key = copied(values->access_key),
        .secret_key = copied(values->secret_key),
        .session_token = copied(values->session_token),
        .bearer_token = copied(values->bearer_token),
        .lives_ms = lives_ms,
        .source = source,
    };
}

static void wipe(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}

void key_set_clear(struct key_set *keys)
{
    wipe(keys->access_key);
    wipe(keys->secret_key);
    wipe(keys->session_token);
    wipe(keys->bearer_token);
    *keys = (struct key_set){0};
}

static bool same(const char *a, const char *b)
{
    return span_eq(span_str(a), span_str(b));
}

bool key_set_same(const struct key_set *a, const struct key_set *b)
{
    return same(a->access_key, b->access_key) && same(a->secret_key, b->secret_key) &&
           same(a->session_token, b->session_token) && same(a->bearer_token, b->bearer_token);
}

/* --- what is said ------------------------------------------------------------------------------
 */

static void say(struct source *source, const char *name, const char *format, va_list args)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, WHY_MOST);
    buf_addfv(&text, format, args); /* may quote what others sent */
    buf_addf(&source->why, "%s%s: ", source->why.len > 0 ? "; " : "", name);
    text_add_printable(&source->why, buf_span(&text));
}

enum source_found source_nothing(struct source *source, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(source, name, format, args);
    va_end(args);
    return SOURCE_NOTHING;
}

enum source_found source_broken(struct source *source, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_reset(&source->why);
    say(source, name, format, args);
    va_end(args);
    return SOURCE_BROKEN;
}

enum source_found source_later(struct source *source, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_reset(&source->why);
    say(source, name, format, args);
    va_end(args);
    return SOURCE_LATER;
}

/* --- where they look ---------------------------------------------------------------------------
 */

struct span source_variable(const char *name)
{
    return span_str(getenv(name));
}

struct span source_region(void)
{
    struct span region = source_variable("AWS_REGION");
    return region.len > 0 ? region : source_variable("AWS_DEFAULT_REGION");
}

struct reading {
    const char *path;
    struct buf *out;
    const char *why;
    bool missing;
};

/* Any thread: the task waits. */
static void read_file(void *arg)
{
    struct reading *reading = arg;
    struct stat info;
    if (stat(reading->path, &info) != 0) {
        reading->why = strerror(errno);
        reading->missing = errno == ENOENT || errno == ENOTDIR;
    } else if (!S_ISREG(info.st_mode)) {
        reading->why = "it is no regular file"; /* reading a pipe would wait for its writer */
    } else {
        reading->why = file_read(reading->path, reading->out);
    }
}

const char *source_read_file(const char *path, struct buf *out, bool *missing)
{
    struct reading reading = {.path = path, .out = out};
    struct status s = loop_work(task_loop(), read_file, &reading);
    *missing = reading.missing;
    return status_ok(s) ? reading.why : status_text(s);
}

const char *source_read_token(struct source *source, const char *path, struct span *token)
{
    CLEANUP(source_wipe) struct buf text;
    buf_init(&text, TOKEN_MOST);
    bool missing;
    const char *why = source_read_file(path, &text, &missing);
    if (why == NULL) {
        struct span bare = span_trim(buf_span(&text));
        if (bare.len == 0) {
            why = "it is empty";
        } else if (span_find_char(bare, '\n') != SPAN_MISSING ||
                   span_find_char(bare, '\r') != SPAN_MISSING ||
                   span_find_char(bare, '\0') != SPAN_MISSING) {
            why = "it holds more than one line";
        } else {
            *token = arena_copy(source->arena, bare);
        }
    }
    return why;
}

void source_wipe(struct buf *buf)
{
    if (buf->cap > 0) {
        explicit_bzero(buf->at, buf->cap);
    }
    buf_clear(buf);
}

void source_answer_clear(struct source_answer *answer)
{
    source_wipe(&answer->body);
}

struct status source_ask(struct source *source, const struct http_request *request,
                         struct source_answer *answer)
{
    CLEANUP(http_close) struct http *http = NULL;
    buf_init(&answer->body, ANSWER_MOST);
    TRY(http_open(source->http, request, &http));
    answer->code = http_code(http);
    return http_read_all(http, &answer->body);
}

/* --- what they answer --------------------------------------------------------------------------
 */

static bool sendable(struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.at[i] <= ' ' || value.at[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

const char *source_read_keys(const struct json *root, struct credentials_values *values,
                             uint64_t *left_ms)
{
    struct credentials_values found = {
        .access_key = json_string(json_get(root, "AccessKeyId")),
        .secret_key = json_string(json_get(root, "SecretAccessKey")),
        .session_token = json_string(json_get(root, "Token")),
    };
    struct span expiration = json_string(json_get(root, "Expiration"));
    uint64_t until_ms = 0;
    if (json_type(root) != JSON_OBJECT) {
        return "the answer is no JSON object";
    }
    if (found.access_key.len == 0 || found.secret_key.len == 0) {
        return "the answer holds no AccessKeyId and SecretAccessKey";
    }
    if (!sendable(found.access_key) || !sendable(found.secret_key) ||
        !sendable(found.session_token)) {
        return "the answer holds keys with blanks or control characters";
    }
    if (expiration.len > 0 && !clock_parse_rfc3339(expiration, &until_ms)) {
        return "the answer's Expiration is no time";
    }
    uint64_t now_ms = clock_wall_ms();
    *left_ms = expiration.len == 0 ? KEYS_FOR_EVER : until_ms > now_ms ? until_ms - now_ms : 0;
    *values = found;
    return NULL;
}
