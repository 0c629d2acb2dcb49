/*
 * symbols.h -- which file declares what, from a FileDescriptorSet.
 *
 * Floor 5, pure: reads the wire format itself, so that no code for descriptor.proto is needed. The
 * set is ours and outlives the symbols, whose answers point into it.
 */
#ifndef PRISM_APP_SYMBOLS_H
#define PRISM_APP_SYMBOLS_H

#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

struct symbols;
struct symbols_file;

struct symbols *symbols_new(struct span descriptor_set) NODISCARD;
void symbols_free(struct symbols *symbols); /* takes NULL */

/* NULL when unknown. Symbols are messages, fields, oneofs, enums, enum values, services, methods:
 * "pkg.Message.field", without a leading dot. */
const struct symbols_file *symbols_file_named(const struct symbols *symbols, struct span path);
const struct symbols_file *symbols_file_of(const struct symbols *symbols, struct span symbol);

/* The file and all that it imports, directly or not, each once, itself first: encoded
 * FileDescriptorProtos in the arena. */
size_t symbols_closure(const struct symbols *symbols, const struct symbols_file *file,
                       struct arena *arena, struct span **files);

#endif
