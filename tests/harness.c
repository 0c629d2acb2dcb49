#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void harness_assert_span(struct span actual, struct span expected, const char *file, int line)
{
    if (span_eq(actual, expected)) {
        return;
    }
    print_error("%s:%d:\n  got  (%zu) \"%.*s\"\n  want (%zu) \"%.*s\"\n", file, line, actual.len,
                (int)actual.len, actual.at != NULL ? actual.at : "", expected.len,
                (int)expected.len, expected.at != NULL ? expected.at : "");
    _fail(file, line);
}

void harness_assert_status(struct status actual, enum reason reason, const char *file, int line)
{
    if (reason == REASON_NONE ? status_ok(actual) : actual.reason == reason) {
        return;
    }
    print_error("%s:%d: got %s %s (%s), want %s\n", file, line, status_code_name(actual.code),
                reason_name(actual.reason), status_text(actual),
                reason == REASON_NONE ? "OK" : reason_name(reason));
    _fail(file, line);
}

struct span harness_read(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_error("%s: %s\n", path, strerror(errno));
        fail();
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 64u << 20);
    size_t got;
    char *room;
    while ((room = buf_reserve(&text, 65536)) != NULL && (got = fread(room, 1, 65536, file)) > 0) {
        buf_commit(&text, got);
    }
    fclose(file);
    return arena_copy(arena, buf_span(&text));
}

const char *harness_vectors(struct arena *arena, const char *relative, size_t cases)
{
    const char *root = getenv("PRISM_VECTORS");
    const char *path =
        arena_printf(arena, "%s/%s", root != NULL ? root : "../shared/vectors", relative);
    if (access(path, R_OK) != 0) {
        print_message("# SKIPPED: vectors %s are not there (PRISM_VECTORS), %zu cases not run\n",
                      path, cases);
        skip();
    }
    return path;
}

void harness_ran(const char *suite, size_t ran, size_t expected)
{
    print_message("# %s: %zu of %zu cases\n", suite, ran, expected);
    assert_true(ran >= expected);
}

uint32_t harness_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
