/*
 * fault_walk.h -- a scenario run again and again, each time with one thing going wrong, one step
 * further on: what must hold whenever nobody calls must hold after each of them.
 *
 *     struct fault_walk walk = {.name = "Generate", .tasks = {"Generate", "report"},
 *                               .run = call_once, .judge = at_rest, .arg = &world};
 *     size_t n = fault_walk_fail(&walk);
 *
 * What is counted are the waits of the tasks with these names, wherever they run in this process.
 * A walk is over with the first run in which its turn did not come. The scenario must end by
 * itself, however its calls fail. With fault_walk_teardown a failed test says where it was.
 */
#ifndef PRISM_TESTS_FAULT_WALK_H
#define PRISM_TESTS_FAULT_WALK_H

#include "task_test.h"

#define FAULT_WALK_TASKS      8
#define FAULT_WALK_TEST(name) cmocka_unit_test_teardown(name, fault_walk_teardown)

struct fault_walk {
    const char *name;
    const char *tasks[FAULT_WALK_TASKS];
    void (*run)(void *arg) PARKS;
    void (*judge)(void *arg) PARKS;
    void *arg;
};

/* Each returns how many things went wrong: one a run. */

/* The 1st, 2nd, ... thing from outside that a task waits for (a message sent or received, a reply,
 * bytes of an answer) breaks off: its peer may have seen all of it, part of it or nothing. */
size_t fault_walk_fail(const struct fault_walk *walk) PARKS;

/* It comes to its end, but the task does not learn of that: a reply is lost on its way. Not for
 * tasks that receive streams, which would wait for the end of a stream nobody reads. */
size_t fault_walk_lose(const struct fault_walk *walk) PARKS;

/* The task is cancelled in its 1st, 2nd, ... wait. */
size_t fault_walk_cancel(const struct fault_walk *walk) PARKS;

/* In the 1st, 2nd, ... wait, strike is called; on the waiting task's stack, so it must not park. */
size_t fault_walk_strike(const struct fault_walk *walk, void (*strike)(void *arg)) PARKS;

int fault_walk_teardown(void **state);

#endif
