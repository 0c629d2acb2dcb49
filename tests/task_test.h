/*
 * task_test.h -- a test whose body runs in a task on a loop of its own.
 *
 *     task_test(a_sleep_ends) { ... task_loop() ... }
 *
 * The loop's clock stands still until the body moves it with task_test_advance; task_test_real
 * keeps the real clock, for tests that speak to sockets. After the body no other task may be
 * alive, no timer or watch be left. A failing assert (or skip) in any task ends the test on the
 * main stack: cmocka must not jump from one stack to another. The tasks of a failed test stay
 * parked for ever.
 */
#ifndef PRISM_TESTS_TASK_TEST_H
#define PRISM_TESTS_TASK_TEST_H

#include <stdbool.h>

#include "harness.h"
#include "loop/loop.h"
#include "loop/task.h"

#define TASK_TEST_START_MS 1000000 /* where the clock stands at first */

#define task_test(name)      TASK_TEST(name, true)
#define task_test_real(name) TASK_TEST(name, false)

#define TASK_TEST(name, own_clock)                                                                 \
    static void name##_body(void);                                                                 \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        task_test_run(name##_body, own_clock);                                                     \
    }                                                                                              \
    static void name##_body(void)

void task_test_run(void (*body)(void), bool own_clock);

/* Lets everybody run until nobody is ready (but at most 1,000 turns), then moves the clock and does
 * so again. 0: only lets them run. */
void task_test_advance(uint64_t ms) PARKS;

/* From now on: counts the waits of all tasks with this name and cancels the one that comes to the
 * nth (from 1), in it. To leave a call at each of its waits:
 *
 *     for (size_t n = 1; n == 1 || task_test_waits() >= n - 1; n++) {
 *         task_test_cancel_at("call", n);
 *         ... the scenario, then what must always hold ...
 *     }
 */
void task_test_cancel_at(const char *name, size_t n);
size_t task_test_waits(void);

#endif
