#include "app/symbols.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"

/* Field numbers of google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    NAME = 1, /* of everything that has one */
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

struct symbols_file {
    struct span bytes;
    size_t index;
};

struct symbols {
    struct symbols_file *files;
    size_t n_files;
    struct map *by_path;
    struct map *by_symbol;
};

/* --- the wire format: https://protobuf.dev/programming-guides/encoding/ -------------------------
 */

static uint64_t take_varint(struct span *rest)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        check(rest->len > 0);
        unsigned char byte = (unsigned char)rest->at[0];
        *rest = span_of(rest->at + 1, rest->len - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    check(false);
    return 0;
}

/* Moves on to the next field of that number, whose bytes are given; fields of other types are
 * numbers here and stepped over. A set of ours that cannot be read is a bug of the build. */
static bool take_field(struct span *rest, unsigned number, struct span *bytes)
{
    while (rest->len > 0) {
        uint64_t key = take_varint(rest);
        if ((key & 7) == 0) {
            take_varint(rest);
            continue;
        }
        size_t len = (key & 7) == 1 ? 8 : (key & 7) == 5 ? 4 : take_varint(rest);
        check(len <= rest->len);
        *bytes = span_first(*rest, len);
        *rest = span_of(rest->at + len, rest->len - len);
        if (key == ((uint64_t)number << 3 | 2)) {
            return true;
        }
    }
    return false;
}

static struct span field(struct span message, unsigned number)
{
    struct span bytes = SPAN_NONE;
    (void)take_field(&message, number, &bytes);
    return bytes;
}

/* --- the index ----------------------------------------------------------------------------------
 */

/* Adds a name to a package or message; returns how long the scope was, for the way back. */
static size_t enter(struct buf *scope, struct span name)
{
    size_t before = scope->len;
    if (before > 0) {
        buf_add_char(scope, '.');
    }
    buf_add_span(scope, name);
    return before;
}

static void add_symbols(struct symbols *symbols, struct symbols_file *file, struct buf *scope,
                        struct span parent, unsigned number)
{
    struct span child;
    while (take_field(&parent, number, &child)) {
        size_t before = enter(scope, field(child, NAME));
        map_set(symbols->by_symbol, buf_span(scope), file);
        buf_truncate(scope, before);
    }
}

/* Values of an enum are siblings of the enum. */
static void add_enums(struct symbols *symbols, struct symbols_file *file, struct buf *scope,
                      struct span parent, unsigned number)
{
    struct span declared;
    add_symbols(symbols, file, scope, parent, number);
    while (take_field(&parent, number, &declared)) {
        add_symbols(symbols, file, scope, declared, ENUM_VALUE);
    }
}

static void add_messages(struct symbols *symbols, struct symbols_file *file, struct buf *scope,
                         struct span parent, unsigned number)
{
    struct span message;
    add_symbols(symbols, file, scope, parent, number);
    while (take_field(&parent, number, &message)) {
        size_t before = enter(scope, field(message, NAME));
        add_symbols(symbols, file, scope, message, MESSAGE_FIELD);
        add_symbols(symbols, file, scope, message, MESSAGE_ONEOF);
        add_enums(symbols, file, scope, message, MESSAGE_ENUM);
        add_messages(symbols, file, scope, message, MESSAGE_NESTED);
        buf_truncate(scope, before);
    }
}

static void add_services(struct symbols *symbols, struct symbols_file *file, struct buf *scope)
{
    struct span rest = file->bytes, service;
    add_symbols(symbols, file, scope, file->bytes, FILE_SERVICE);
    while (take_field(&rest, FILE_SERVICE, &service)) {
        size_t before = enter(scope, field(service, NAME));
        add_symbols(symbols, file, scope, service, SERVICE_METHOD);
        buf_truncate(scope, before);
    }
}

static void add_file(struct symbols *symbols, struct symbols_file *file)
{
    CLEANUP(buf_clear) struct buf scope;
    buf_init(&scope, 4096);
    map_set(symbols->by_path, field(file->bytes, NAME), file);
    buf_add_span(&scope, field(file->bytes, FILE_PACKAGE));
    add_messages(symbols, file, &scope, file->bytes, FILE_MESSAGE);
    add_enums(symbols, file, &scope, file->bytes, FILE_ENUM);
    add_services(symbols, file, &scope);
    check(buf_ok(&scope));
}

struct symbols *symbols_new(struct span descriptor_set)
{
    struct symbols *symbols = ALLOC(struct symbols);
    struct span rest = descriptor_set, bytes;
    symbols->by_path = map_new();
    symbols->by_symbol = map_new();
    while (take_field(&rest, SET_FILE, &bytes)) {
        symbols->n_files++;
    }
    symbols->files = alloc_zeroed(symbols->n_files, sizeof(struct symbols_file));
    rest = descriptor_set;
    for (size_t i = 0; take_field(&rest, SET_FILE, &bytes); i++) {
        symbols->files[i] = (struct symbols_file){bytes, i};
        add_file(symbols, &symbols->files[i]);
    }
    return symbols;
}

void symbols_free(struct symbols *symbols)
{
    if (symbols == NULL) {
        return;
    }
    map_free(symbols->by_path);
    map_free(symbols->by_symbol);
    free(symbols->files);
    free(symbols);
}

/* --- answers ------------------------------------------------------------------------------------
 */

const struct symbols_file *symbols_file_named(const struct symbols *symbols, struct span path)
{
    return map_get(symbols->by_path, path);
}

const struct symbols_file *symbols_file_of(const struct symbols *symbols, struct span symbol)
{
    return map_get(symbols->by_symbol, symbol);
}

size_t symbols_closure(const struct symbols *symbols, const struct symbols_file *file,
                       struct arena *arena, struct span **files)
{
    bool *known = ARENA_ARRAY(arena, bool, symbols->n_files);
    struct span *found = ARENA_ARRAY(arena, struct span, symbols->n_files);
    size_t n = 0;
    found[n++] = file->bytes;
    known[file->index] = true;
    for (size_t i = 0; i < n; i++) {
        struct span rest = found[i], path;
        while (take_field(&rest, FILE_DEPENDENCY, &path)) {
            const struct symbols_file *import = symbols_file_named(symbols, path);
            check(import != NULL);
            if (!known[import->index]) {
                known[import->index] = true;
                found[n++] = import->bytes;
            }
        }
    }
    *files = found;
    return n;
}
