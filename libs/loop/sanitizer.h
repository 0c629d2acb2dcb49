/*
 * sanitizer.h -- what ThreadSanitizer cannot see by itself, said to it; nothing in other flavors.
 *
 * Floor 2, any thread. A foreign library that carries a pointer from one thread to another is not
 * instrumented, so the giver says HANDOVER_GIVE(p) before and the taker HANDOVER_TAKE(p) after.
 */
#ifndef PRISM_LOOP_SANITIZER_H
#define PRISM_LOOP_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER_ADDRESS
#elif defined(__SANITIZE_THREAD__)
#define SANITIZER_THREAD
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZER_ADDRESS
#elif __has_feature(thread_sanitizer)
#define SANITIZER_THREAD
#endif
#endif

#ifdef SANITIZER_THREAD
#include <sanitizer/tsan_interface.h>
#define HANDOVER_GIVE(pointer) __tsan_release(pointer)
#define HANDOVER_TAKE(pointer) __tsan_acquire(pointer)
#else
#define HANDOVER_GIVE(pointer) ((void)(pointer))
#define HANDOVER_TAKE(pointer) ((void)(pointer))
#endif

#endif
