/*
 * json_tree.h -- what json.c and json_plain.c share; nobody else includes it.
 *
 * Floor 1, pure.
 */
#ifndef PRISM_CODEC_JSON_TREE_H
#define PRISM_CODEC_JSON_TREE_H

#include "base/arena.h"
#include "codec/json.h"

struct json {
    enum json_type type;
    size_t count;    /* children */
    struct span key; /* when it is an object's member */
    union {
        bool truth;
        int64_t integer;
        double real;
        struct span string;
        struct json *children;
    };
};

/* The root and where everything below it lives. */
struct json_tree {
    struct json root;
    struct arena *arena;
};

/* Reads what nearly all JSON between programs is: small, without broken numbers. False, with
 * nothing of use in *root, for everything else, be it right or wrong: that is for the library. */
bool json_read_plain(struct span text, struct arena *arena, struct json *root) NODISCARD;

#endif
