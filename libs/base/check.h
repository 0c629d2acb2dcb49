/*
 * check.h -- what the code says to the compiler and to itself.
 *
 * Floor 0. check() states what can only be false through a bug of ours: it stays compiled in,
 * names the place and aborts. What can be false through the outside world is a status instead.
 */
#ifndef PRISM_BASE_CHECK_H
#define PRISM_BASE_CHECK_H

#include <stddef.h>

#define NODISCARD    __attribute__((warn_unused_result))
#define NORETURN     __attribute__((noreturn))
#define FORMAT(f, a) __attribute__((format(printf, f, a)))

/* Runs clear(&variable) at the end of the scope: CLEANUP(buf_clear) struct buf b. */
#define CLEANUP(clear) __attribute__((cleanup(clear)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The structure that holds member at pointer. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define check(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            check_failed(__FILE__, __LINE__, #condition);                                          \
        }                                                                                          \
    } while (0)

void check_failed(const char *file, int line, const char *condition) NORETURN;

#endif
