#include <math.h>
#include <stdio.h>

/* jansson has other things by some of our names; it is asked for values and parsing only. */
#define json_type    jansson_type
#define json_string  jansson_string
#define json_integer jansson_integer
#define JSON_NULL    JANSSON_NULL
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_REAL    JANSSON_REAL
#define JSON_STRING  JANSSON_STRING
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_OBJECT  JANSSON_OBJECT
#include <jansson.h>
#undef json_type
#undef json_string
#undef json_integer
#undef JSON_NULL
#undef JSON_INTEGER
#undef JSON_REAL
#undef JSON_STRING
#undef JSON_ARRAY
#undef JSON_OBJECT

#include "base/check.h"
#include "base/utf8.h"
#include "codec/json_tree.h"

#define DIGITS_15_MOST 1.79769313486231e308 /* beyond it 15 digits may round up to infinity */

/* --- reading ---------------------------------------------------------------------------------- */

static void fill_error(struct json_error *error, size_t line, size_t column, const char *text)
{
    if (error != NULL) {
        error->line = line;
        error->column = column;
        snprintf(error->text, sizeof(error->text), "%s", text);
    }
}

/* Counts characters as jansson does. */
static void fill_error_at(struct json_error *error, struct span before, const char *text)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < before.len; i++) {
        if (before.at[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)before.at[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    fill_error(error, line, column, text);
}

/* What jansson would allocate for and recurse into, bounded before it does. */
static bool bounded(struct span text, struct json_error *error)
{
    size_t depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        bool opens = c == '[' || c == '{';
        depth += opens ? 1 : 0;
        depth -= (c == ']' || c == '}') && depth > 0 ? 1 : 0;
        values += opens || c == ',' ? 1 : 0;
        if (depth > JSON_DEPTH_MOST || values > JSON_VALUES_MOST) {
            fill_error_at(error, span_first(text, i),
                          depth > JSON_DEPTH_MOST ? "nested too deeply" : "too many values");
            return false;
        }
    }
    return true;
}

static struct span string_of(struct arena *arena, const json_t *from)
{
    return arena_copy(arena, span_of(json_string_value(from), json_string_length(from)));
}

static void convert(struct arena *arena, json_t *from, struct json *to)
{
    switch (json_typeof(from)) {
    case JANSSON_NULL:
        to->type = JSON_NULL;
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        to->type = JSON_BOOL;
        to->truth = json_typeof(from) == JSON_TRUE;
        return;
    case JANSSON_INTEGER:
        to->type = JSON_INTEGER;
        to->integer = json_integer_value(from);
        return;
    case JANSSON_REAL:
        to->type = JSON_REAL;
        to->real = json_real_value(from);
        return;
    case JANSSON_STRING:
        to->type = JSON_STRING;
        to->string = string_of(arena, from);
        return;
    case JANSSON_ARRAY:
        to->type = JSON_ARRAY;
        to->count = json_array_size(from);
        to->children = ARENA_ARRAY(arena, struct json, to->count);
        for (size_t i = 0; i < to->count; i++) {
            convert(arena, json_array_get(from, i), &to->children[i]);
        }
        return;
    case JANSSON_OBJECT:
        to->type = JSON_OBJECT;
        to->count = json_object_size(from);
        to->children = ARENA_ARRAY(arena, struct json, to->count);
        struct json *child = to->children;
        for (void *it = json_object_iter(from); it != NULL; it = json_object_iter_next(from, it)) {
            child->key = arena_copy(arena, span_str(json_object_iter_key(it)));
            convert(arena, json_object_iter_value(it), child++);
        }
        return;
    }
}

/* As the library reads it. */
static bool read_any(struct span text, struct arena *arena, struct json *root,
                     struct json_error *error)
{
    json_error_t why;
    json_t *value = json_loadb(text.at != NULL ? text.at : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (value == NULL) {
        fill_error(error, (size_t)why.line, (size_t)why.column, why.text);
        return false;
    }
    *root = (struct json){0}; /* an attempt at it may have gone before */
    convert(arena, value, root);
    json_decref(value);
    return true;
}

struct json *json_parse(struct span text, struct json_error *error)
{
    if (text.len > JSON_SIZE_MOST) {
        fill_error(error, 0, 0, "too large");
        return NULL;
    }
    /* For both readers' trees: text, and a node and padding for each value. */
    struct arena *arena =
        arena_new(2 * text.len + 2 * JSON_VALUES_MOST * (sizeof(struct json) + 128));
    struct json_tree *tree = ARENA_NEW(arena, struct json_tree);
    tree->arena = arena;
    if (json_read_plain(text, arena, &tree->root) ||
        (bounded(text, error) && read_any(text, arena, &tree->root, error))) {
        return &tree->root;
    }
    arena_free(arena);
    return NULL;
}

void json_free(struct json *root)
{
    if (root != NULL) {
        arena_free(CONTAINER_OF(root, struct json_tree, root)->arena);
    }
}

void json_drop(struct json **root)
{
    json_free(*root);
    *root = NULL;
}

enum json_type json_type(const struct json *value)
{
    return value != NULL ? value->type : JSON_NULL;
}

size_t json_count(const struct json *value)
{
    return value != NULL ? value->count : 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (json_type(object) != JSON_OBJECT) {
        return NULL;
    }
    struct span wanted = span_str(key);
    for (size_t i = 0; i < object->count; i++) {
        if (span_eq(object->children[i].key, wanted)) {
            return &object->children[i];
        }
    }
    return NULL;
}

const struct json *json_at(const struct json *array, size_t index)
{
    return json_type(array) == JSON_ARRAY && index < array->count ? &array->children[index] : NULL;
}

struct span json_string(const struct json *value)
{
    return json_type(value) == JSON_STRING ? value->string : SPAN_NONE;
}

int64_t json_integer(const struct json *value, int64_t otherwise)
{
    return json_type(value) == JSON_INTEGER ? value->integer : otherwise;
}

double json_number(const struct json *value, double otherwise)
{
    if (json_type(value) == JSON_INTEGER) {
        return (double)value->integer;
    }
    return json_type(value) == JSON_REAL ? value->real : otherwise;
}

bool json_bool(const struct json *value, bool otherwise)
{
    return json_type(value) == JSON_BOOL ? value->truth : otherwise;
}

bool json_member(const struct json *object, size_t index, struct span *key,
                 const struct json **value)
{
    if (json_type(object) != JSON_OBJECT || index >= object->count) {
        return false;
    }
    *key = object->children[index].key;
    *value = &object->children[index];
    return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

void json_writer_init(struct json_writer *w, struct buf *out)
{
    w->out = out;
    w->comma = false;
}

static void separate(struct json_writer *w)
{
    if (w->comma) {
        buf_add_char(w->out, ',');
    }
    w->comma = true;
}

static void begin(struct json_writer *w, char bracket)
{
    separate(w);
    buf_add_char(w->out, bracket);
    w->comma = false;
}

static void end(struct json_writer *w, char bracket)
{
    buf_add_char(w->out, bracket);
    w->comma = true;
}

static void put_key(struct json_writer *w, struct span key)
{
    separate(w);
    utf8_add_json(w->out, key);
    buf_add_char(w->out, ':');
    w->comma = false;
}

void json_begin_object(struct json_writer *w)
{
    begin(w, '{');
}

void json_end_object(struct json_writer *w)
{
    end(w, '}');
}

void json_begin_array(struct json_writer *w)
{
    begin(w, '[');
}

void json_end_array(struct json_writer *w)
{
    end(w, ']');
}

void json_key(struct json_writer *w, const char *key)
{
    put_key(w, span_str(key));
}

void json_put_string(struct json_writer *w, struct span value)
{
    separate(w);
    utf8_add_json(w->out, value);
}

void json_put_integer(struct json_writer *w, int64_t value)
{
    separate(w);
    buf_add_i64(w->out, value);
}

void json_put_number(struct json_writer *w, double value)
{
    if (!isfinite(value)) {
        json_put_null(w);
        return;
    }
    separate(w);
    buf_addf(w->out, fabs(value) > DIGITS_15_MOST ? "%.17g" : "%.15g", value);
}

void json_put_bool(struct json_writer *w, bool value)
{
    separate(w);
    buf_add_str(w->out, value ? "true" : "false");
}

void json_put_null(struct json_writer *w)
{
    separate(w);
    buf_add_str(w->out, "null");
}

void json_put_raw(struct json_writer *w, struct span json)
{
    separate(w);
    buf_add_span(w->out, json);
}

static void put_value(struct json_writer *w, const struct json *value)
{
    switch (json_type(value)) {
    case JSON_NULL:
        json_put_null(w);
        return;
    case JSON_BOOL:
        json_put_bool(w, value->truth);
        return;
    case JSON_INTEGER:
        json_put_integer(w, value->integer);
        return;
    case JSON_REAL:
        json_put_number(w, value->real);
        return;
    case JSON_STRING:
        json_put_string(w, value->string);
        return;
    case JSON_ARRAY:
        json_begin_array(w);
        for (size_t i = 0; i < value->count; i++) {
            put_value(w, &value->children[i]);
        }
        json_end_array(w);
        return;
    case JSON_OBJECT:
        json_begin_object(w);
        for (size_t i = 0; i < value->count; i++) {
            put_key(w, value->children[i].key);
            put_value(w, &value->children[i]);
        }
        json_end_object(w);
        return;
    }
}

void json_add(struct buf *out, const struct json *value)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    put_value(&writer, value);
}
