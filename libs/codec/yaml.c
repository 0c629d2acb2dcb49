#include "codec/yaml.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/check.h"
#include "base/map.h"

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at */
    struct span text;
    struct arena *arena;
    struct yaml_error *error;
};

static bool refuse(struct reader *r, size_t line, const char *text)
{
    r->error->line = line;
    snprintf(r->error->text, sizeof(r->error->text), "%s", text);
    return false;
}

static size_t line_at(struct span text, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < offset && i < text.len; i++) {
        line += text.at[i] == '\n' ? 1 : 0;
    }
    return line;
}

static size_t event_line(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

/* What libyaml minds; a construct that has begun earlier is named with its line. */
static bool refuse_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    check(p->error != YAML_MEMORY_ERROR);
    if (p->error == YAML_READER_ERROR) {
        return refuse(r, line_at(r->text, p->problem_offset), p->problem);
    }
    /* A missing newline at the end counts as a line of its own there. */
    size_t line = p->problem_mark.line + 1, last = line_at(r->text, r->text.len);
    line = line < last ? line : last;
    char text[sizeof(r->error->text)];
    if (p->context != NULL) {
        snprintf(text, sizeof(text), "%s %s from line %zu on", p->problem, p->context,
                 p->context_mark.line + 1);
    }
    return refuse(r, line, p->context != NULL ? text : p->problem);
}

/* Looks at the next event. */
static bool advance(struct reader *r)
{
    yaml_event_delete(&r->event);
    return yaml_parser_parse(&r->parser, &r->event) || refuse_syntax(r);
}

static void *room(struct reader *r, size_t size)
{
    void *memory = arena_try(r->arena, size);
    if (memory == NULL) {
        refuse(r, event_line(r), "too much content");
    }
    return memory;
}

static bool read_text(struct reader *r, struct span *out)
{
    size_t len = r->event.data.scalar.length;
    char *copy = room(r, len + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, r->event.data.scalar.value, len);
    *out = span_of(copy, len);
    return true;
}

static bool plain_scalar(const struct reader *r)
{
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* What configuration has no use for. */
static bool check_properties(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        return refuse(r, event_line(r), "anchors are not read here");
    }
    return tag == NULL || refuse(r, event_line(r), "tags are not read here");
}

static bool read_value(struct reader *r, size_t depth, struct yaml *value);

/* The key that the reader looks at, into a member that is new to seen. */
static bool read_key(struct reader *r, struct map *seen, struct yaml *member)
{
    size_t line = event_line(r);
    if (r->event.type == YAML_ALIAS_EVENT) {
        return refuse(r, line, "aliases are not read here");
    }
    if (r->event.type != YAML_SCALAR_EVENT) {
        return refuse(r, line, "a key must be text");
    }
    if (!check_properties(r, r->event.data.scalar.anchor, r->event.data.scalar.tag) ||
        !read_text(r, &member->key)) {
        return false;
    }
    if (plain_scalar(r) && member->key.len == 0) {
        return refuse(r, line, "a key must be text");
    }
    if (plain_scalar(r) && span_eq(member->key, SPAN("<<"))) {
        return refuse(r, line, "merge keys are not read here");
    }
    const struct yaml *first = map_get(seen, member->key);
    if (first != NULL) {
        refuse(r, line, "");
        snprintf(r->error->text, sizeof(r->error->text), "\"%.*s\" is there already, in line %zu",
                 (int)(member->key.len < 64 ? member->key.len : 64), member->key.at,
                 first->key_line);
        return false;
    }
    member->key_line = line;
    map_set(seen, member->key, member);
    return true;
}

/* Up to the end of the collection that has begun; seen: the keys of a mapping, NULL in a sequence.
 */
static bool read_children(struct reader *r, size_t depth, struct map *seen, struct yaml *value)
{
    yaml_event_type_t last = seen != NULL ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    const struct yaml **link = &value->children;
    for (;;) {
        if (!advance(r)) {
            return false;
        }
        if (r->event.type == last) {
            return true;
        }
        struct yaml *child = room(r, sizeof(struct yaml));
        if (child == NULL || (seen != NULL && (!read_key(r, seen, child) || !advance(r))) ||
            !read_value(r, depth + 1, child)) {
            return false;
        }
        *link = child;
        link = &child->next;
        value->count++;
    }
}

static bool read_sequence(struct reader *r, size_t depth, struct yaml *value)
{
    value->kind = YAML_SEQUENCE;
    return check_properties(r, r->event.data.sequence_start.anchor,
                            r->event.data.sequence_start.tag) &&
           read_children(r, depth, NULL, value);
}

static bool read_mapping(struct reader *r, size_t depth, struct yaml *value)
{
    value->kind = YAML_MAPPING;
    if (!check_properties(r, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag)) {
        return false;
    }
    struct map *seen = map_new();
    bool ok = read_children(r, depth, seen, value);
    map_free(seen);
    return ok;
}

/* The value that the reader looks at, with all below it. */
static bool read_value(struct reader *r, size_t depth, struct yaml *value)
{
    value->line = event_line(r);
    if (depth > YAML_DEPTH_MOST) {
        return refuse(r, value->line, "nested too deeply");
    }
    if (r->event.type == YAML_ALIAS_EVENT) {
        return refuse(r, value->line, "aliases are not read here");
    }
    if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        return read_sequence(r, depth, value);
    }
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        return read_mapping(r, depth, value);
    }
    check(r->event.type == YAML_SCALAR_EVENT);
    value->kind = YAML_SCALAR;
    value->quoted = !plain_scalar(r);
    return check_properties(r, r->event.data.scalar.anchor, r->event.data.scalar.tag) &&
           read_text(r, &value->text);
}

static bool read_stream(struct reader *r, struct yaml *root)
{
    if (!advance(r) || !advance(r)) { /* the stream's start, and what is in it */
        return false;
    }
    root->kind = YAML_MAPPING;
    root->line = 1;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        return true;
    }
    if (!advance(r) || !read_value(r, 1, root)) {
        return false;
    }
    if (root->kind == YAML_SCALAR && !root->quoted && root->text.len == 0) {
        root->kind = YAML_MAPPING;
    }
    if (!advance(r) || !advance(r)) { /* the document's end, and what follows it */
        return false;
    }
    return r->event.type == YAML_STREAM_END_EVENT ||
           refuse(r, event_line(r), "there is more than one document");
}

bool yaml_parse(struct span text, struct arena *arena, const struct yaml **root,
                struct yaml_error *error)
{
    struct reader r = {.text = text, .arena = arena, .error = error};
    if (text.len > YAML_SIZE_MOST) {
        return refuse(&r, 0, "too large");
    }
    /* libyaml takes it for the end. */
    size_t nul = span_find_char(text, '\0');
    if (nul != SPAN_MISSING) {
        return refuse(&r, line_at(text, nul), "there is a NUL byte");
    }
    struct yaml *tree = room(&r, sizeof(struct yaml));
    if (tree == NULL) {
        return false;
    }
    check(yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    const char *input = text.at != NULL ? text.at : "";
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)input, text.len);
    bool ok = read_stream(&r, tree);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (ok) {
        *root = tree;
    }
    return ok;
}

const struct yaml *yaml_get(const struct yaml *mapping, const char *key)
{
    if (mapping == NULL || mapping->kind != YAML_MAPPING) {
        return NULL;
    }
    for (const struct yaml *it = mapping->children; it != NULL; it = it->next) {
        if (span_eq(it->key, span_str(key))) {
            return it;
        }
    }
    return NULL;
}

bool yaml_bool(struct span text, bool *out)
{
    static const struct {
        struct span word;
        bool truth;
    } words[] = {
        {SPAN("true"), true}, {SPAN("false"), false}, {SPAN("yes"), true},
        {SPAN("no"), false},  {SPAN("on"), true},     {SPAN("off"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (span_eq_nocase(text, words[i].word)) {
            *out = words[i].truth;
            return true;
        }
    }
    return false;
}
