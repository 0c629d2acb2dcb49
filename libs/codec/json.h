/*
 * json.h -- JSON in and out.
 *
 * Floor 1, pure. What is plain is read by json_plain.c, all else by jansson (json.c only), with
 * bounds on size and depth and duplicate keys refused. Writing appends to a buf and needs no tree:
 * commas are the writer's.
 */
#ifndef PRISM_CODEC_JSON_H
#define PRISM_CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"

#define JSON_DEPTH_MOST  128
#define JSON_SIZE_MOST   (32u << 20)
#define JSON_VALUES_MOST (1u << 20)

struct json; /* one value; the root owns all below it */

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INTEGER,
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_error {
    size_t line;
    size_t column;
    char text[160];
};

/* One whole value and nothing behind it. NULL and *error filled when it is none; error may be NULL.
 */
struct json *json_parse(struct span text, struct json_error *error) NODISCARD;
void json_free(struct json *root);  /* takes NULL */
void json_drop(struct json **root); /* for CLEANUP */

/* All take NULL for "absent" and answer with the neutral value, so lookups chain. */
enum json_type json_type(const struct json *value);                      /* JSON_NULL when absent */
const struct json *json_get(const struct json *object, const char *key); /* NULL when absent */
const struct json *json_at(const struct json *array, size_t index);
size_t json_count(const struct json *value);       /* members or elements */
struct span json_string(const struct json *value); /* empty when it is no string; may hold NUL */
int64_t json_integer(const struct json *value, int64_t otherwise);
double json_number(const struct json *value, double otherwise); /* integer or real */
bool json_bool(const struct json *value, bool otherwise);

/* for (i = 0; json_member(object, i, &key, &value); i++): insertion order. */
bool json_member(const struct json *object, size_t index, struct span *key,
                 const struct json **value);

/* The value again, compact; key order kept. */
void json_add(struct buf *out, const struct json *value);

/* --- writing ------------------------------------------------------------------------------------
 */

struct json_writer {
    struct buf *out;
    bool comma; /* a value stands before this place in the same container */
};

void json_writer_init(struct json_writer *w, struct buf *out);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_put_string(struct json_writer *w, struct span value);
void json_put_integer(struct json_writer *w, int64_t value);
void json_put_number(struct json_writer *w, double value); /* 15 digits; not finite: null */
void json_put_bool(struct json_writer *w, bool value);
void json_put_null(struct json_writer *w);
void json_put_raw(struct json_writer *w, struct span json); /* one value that is JSON already */

#endif
