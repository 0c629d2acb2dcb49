/*
 * suite.h -- the whole suite as real processes: simulator, limiter, router, analyzer.
 *
 *     task_test_real(a_story) {
 *         struct suite *suite = suite_start(&(struct suite_options){.time_scale = 20});
 *         ... rpc_call(suite->router, ...) ... suite_metric(suite, SUITE_ROUTER, ...) ...
 *         suite_stop(suite);
 *     }
 *     const struct CMUnitTest tests[] = {SUITE_TEST(a_story)};
 *
 * All run on ports of their own, with their files in a folder of their own below PRISM_OUT, which
 * stays when a test fails. One suite at a time; everything but suite_teardown is called in a task.
 * What does not work as it should fails the test.
 */
#ifndef PRISM_TESTS_SUITE_H
#define PRISM_TESTS_SUITE_H

#include "judge.h"
#include "net/http.h"
#include "net/rpc_client.h"
#include "prism/limiter/v1/limiter.pb-c.h"
#include "process.h"
#include "task_test.h"

#define SUITE_TEST(name) cmocka_unit_test_teardown(name, suite_teardown)

/* Bounds of waits for what takes milliseconds, with sanitizers and a busy machine allowed for. */
#define SUITE_WAIT_MS 30000

enum suite_program {
    SUITE_SIMULATOR,
    SUITE_LIMITER,
    SUITE_ROUTER,
    SUITE_ANALYZER,
    SUITE_PROGRAMS,
};

struct suite_options {
    bool analyzer;       /* start it too */
    unsigned time_scale; /* windows, cooldowns, waits and models, but not leases, are so
                          * many times faster; 0: 1, at most 40 */
    const char *flags[SUITE_PROGRAMS]; /* more of them, separated by blanks; these win */
};

struct suite {
    struct suite_options options;
    struct arena *arena;
    const char *folder;
    struct process processes[SUITE_PROGRAMS];
    uint16_t ports[SUITE_PROGRAMS];
    uint16_t admin_ports[SUITE_PROGRAMS];
    struct http_client *http;
    struct wire *wire;
    struct rpc_channel *limiter;
    struct rpc_channel *router;
    struct rpc_channel *analyzer; /* NULL without it */
};

struct suite *suite_start(const struct suite_options *options) PARKS;

/* SIGTERM to each, callers first. Each must end with 0, which also says that it leaked nothing,
 * and have written nothing but JSON lines. */
void suite_stop(struct suite *suite) PARKS;

/* After every test: kills what a failed one has left and says where its logs are. */
int suite_teardown(void **state);

/* kill -9; start again on the same ports and files, and wait until it is ready. */
void suite_kill(struct suite *suite, enum suite_program program);
void suite_start_again(struct suite *suite, enum suite_program program) PARKS;

/* Its log so far, its state folder or another file of the suite; in the suite's arena. */
struct span suite_log(struct suite *suite, enum suite_program program);
const char *suite_path(struct suite *suite, const char *name);

/* --- HTTP --------------------------------------------------------------------------------------
 */

/* The status code, 0 when nobody answered; *body (may be NULL) in the suite's arena. */
int suite_http(struct suite *suite, const char *method, uint16_t port, const char *path,
               struct span request, struct span *body) PARKS;

/* The sum of all samples of a metric whose labels contain `labels` ("" for all), 0 without any. */
double suite_metric(struct suite *suite, enum suite_program program, const char *name,
                    const char *labels) PARKS;
void suite_await_metric(struct suite *suite, enum suite_program program, const char *name,
                        const char *labels, double value) PARKS;

/* Replaces the simulator's fault plan; "" ends all faults. */
void suite_set_faults(struct suite *suite, const char *yaml) PARKS;

/* A port of 127.0.0.1 that nobody listens on now. */
uint16_t suite_free_port(void);

/* What the limiter says of a resource ("suite", "sonnet-4.6@us-east-2"), in the suite's arena. */
const Limiter__Resource *suite_peek(struct suite *suite, const char *resource) PARKS;

/* All calls the simulator has seen, in the suite's arena. */
struct judge_log suite_arrivals(struct suite *suite) PARKS;

/* Waits until the router holds no lease, no request to the provider and no call, the limiter no
 * lease, and the simulator runs nothing; all of it judged from outside. */
void suite_await_idle(struct suite *suite) PARKS;

#endif
