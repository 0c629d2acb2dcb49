/*
 * file.h -- small files, whole.
 *
 * Floor 0. Blocks: at start and end of a process, or off the loop.
 */
#ifndef PRISM_BASE_FILE_H
#define PRISM_BASE_FILE_H

#include "base/buf.h"
#include "base/span.h"

/* Appends the file to out, whose maximum bounds it. NULL, or why not (static or strerror's). */
const char *file_read(const char *path, struct buf *out) NODISCARD;

/* All or nothing: a neighbour is written and renamed over path. NULL, or why not. */
const char *file_write(const char *path, struct span text) NODISCARD;

#endif
