/*
 * harness.h -- what every test shares: the runner, files, third-party vectors.
 *
 * A test file is one cmocka binary that ends in HARNESS_MAIN(tests). Vectors are read in place from
 * PRISM_VECTORS, else ../shared/vectors; where a folder is absent the test is skipped, by name.
 */
#ifndef PRISM_TESTS_HARNESS_H
#define PRISM_TESTS_HARNESS_H

/* cmocka wants these four in front of it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/arena.h"
#include "base/buf.h"
#include "base/span.h"
#include "base/status.h"

#define HARNESS_MAIN(tests)                                                                        \
    int main(void)                                                                                 \
    {                                                                                              \
        return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);                           \
    }

#define assert_span(actual, expected) harness_assert_span(actual, expected, __FILE__, __LINE__)
void harness_assert_span(struct span actual, struct span expected, const char *file, int line);
#define assert_status(actual, reason) harness_assert_status(actual, reason, __FILE__, __LINE__)
void harness_assert_status(struct status actual, enum reason reason, const char *file, int line);

#define assert_status_ok(actual) assert_status(actual, REASON_NONE)

/* A whole file into the arena; fails the test when it cannot be read. */
struct span harness_read(struct arena *arena, const char *path);

/* The path of a folder or file of the vectors, in the arena; skips the running test when absent.
 * cases: how many are not run then. */
const char *harness_vectors(struct arena *arena, const char *relative, size_t cases);

/* States how many cases ran and fails when it is fewer than there must be. */
void harness_ran(const char *suite, size_t ran, size_t expected);

/* A fixed sequence of numbers for random cuts: the same in every run. */
uint32_t harness_random(uint32_t *state);

#endif
