/* A value that is read, written and read again is the same value; so is what the writer makes of
 * the tree, member by member. */
#include <math.h>

#include "codec/json.h"
#include "fuzz.h"

#define WRITTEN_MOST (16u << 20)

/* Reals are written with 15 digits, and without a point where none is needed. */
static bool same_number(const struct json *a, const struct json *b)
{
    double x = json_number(a, NAN), y = json_number(b, NAN);
    if (json_type(a) == JSON_INTEGER) {
        return json_type(b) == JSON_INTEGER && json_integer(a, 0) == json_integer(b, 0);
    }
    return fabs(x - y) <= 1e-14 * fabs(x);
}

static void check_same(const struct json *a, const struct json *b)
{
    if (json_type(a) == JSON_INTEGER || json_type(a) == JSON_REAL) {
        check(same_number(a, b));
        return;
    }
    check(json_type(a) == json_type(b) && json_count(a) == json_count(b));
    check(json_bool(a, false) == json_bool(b, false));
    check(span_eq(json_string(a), json_string(b)));
    for (size_t i = 0; i < json_count(a); i++) {
        struct span key_a, key_b;
        const struct json *child_a = json_at(a, i), *child_b = json_at(b, i);
        if (json_member(a, i, &key_a, &child_a)) {
            check(json_member(b, i, &key_b, &child_b) && span_eq(key_a, key_b));
            check(json_get(a, key_a.at) == child_a);
        }
        check_same(child_a, child_b);
    }
}

static void put(struct json_writer *w, const struct json *value)
{
    struct span key;
    const struct json *child;
    switch (json_type(value)) {
    case JSON_NULL:
        json_put_null(w);
        return;
    case JSON_BOOL:
        json_put_bool(w, json_bool(value, false));
        return;
    case JSON_INTEGER:
        json_put_integer(w, json_integer(value, 0));
        return;
    case JSON_REAL:
        json_put_number(w, json_number(value, 0));
        return;
    case JSON_STRING:
        json_put_string(w, json_string(value));
        return;
    case JSON_ARRAY:
        json_begin_array(w);
        for (size_t i = 0; i < json_count(value); i++) {
            put(w, json_at(value, i));
        }
        json_end_array(w);
        return;
    case JSON_OBJECT:
        json_begin_object(w);
        for (size_t i = 0; json_member(value, i, &key, &child); i++) {
            json_key(w, key.at);
            put(w, child);
        }
        json_end_object(w);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_error error;
    CLEANUP(json_drop) struct json *value = json_parse(span_of(data, size), &error);
    if (value == NULL) {
        check(memchr(error.text, '\0', sizeof(error.text)) != NULL && error.text[0] != '\0');
        return 0;
    }
    CLEANUP(buf_clear) struct buf text;
    CLEANUP(buf_clear) struct buf written;
    buf_init(&text, WRITTEN_MOST);
    buf_init(&written, WRITTEN_MOST);
    json_add(&text, value);

    struct json_writer writer;
    json_writer_init(&writer, &written);
    put(&writer, value);
    check(buf_ok(&text) && span_eq(buf_span(&written), buf_span(&text)));

    CLEANUP(json_drop) struct json *second = json_parse(buf_span(&text), NULL);
    check(second != NULL);
    check_same(value, second);
    return 0;
}
