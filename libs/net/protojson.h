/*
 * protojson.h -- protobuf-c messages as proto3 JSON.
 *
 * Floor 3, pure. Names are lowerCamelCase, enums their names, 64-bit integers strings, bytes
 * base64, unset fields left out: https://protobuf.dev/programming-guides/json/
 */
#ifndef PRISM_NET_PROTOJSON_H
#define PRISM_NET_PROTOJSON_H

#include "base/buf.h"

/* One line without the newline; out's maximum bounds it. */
void protojson_add(struct buf *out, const void *message);

#endif
