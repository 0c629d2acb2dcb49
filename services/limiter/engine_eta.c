/*
 * When the k-th of those who wait will go, if they go in their order and nobody ends early.
 *
 * Requests and pacer: exact where the window is a log. Tokens: when enough charges have left the
 * window for the sum of all charges up to the k-th. Concurrency: nobody knows.
 */
#include "limiter/engine_parts.h"

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The admissions there are, then those to come, oldest first. */
struct course {
    const struct engine_window *window;
    uint32_t first; /* in the log, of those that count */
    uint64_t live;
    uint64_t span_ms;
    uint64_t to_come[ENGINE_LOG_MOST]; /* the latest of them */
};

static uint64_t leaves_at(const struct course *course, uint64_t i)
{
    uint64_t at_ms = i < course->live ? course->window->log[course->first + i].at_ms
                                      : course->to_come[(i - course->live) % ENGINE_LOG_MOST];
    return at_ms + course->span_ms;
}

static uint64_t log_eta(const struct engine_resource *resource, const struct engine_turn *turn,
                        uint64_t k)
{
    const struct engine_limits *limits = &resource->limits;
    struct course course = {.window = &resource->window,
                            .span_ms = limits->window_ms + turn->rules->guard_ms};
    uint64_t at_ms = turn->now_ms, tat_ms = resource->window.tat_ms;
    uint64_t interval_ms = limits->pacer_interval_ms;
    uint64_t tolerance_ms = limits->pacer_burst > 0 ? (limits->pacer_burst - 1) * interval_ms : 0;
    while (course.first < course.window->n_log &&
           course.window->log[course.first].at_ms + course.span_ms <= turn->now_ms) {
        course.first++;
    }
    course.live = course.window->n_log - course.first;
    for (uint64_t i = 0; i < k; i++) {
        if (course.live + i >= limits->requests) {
            at_ms = later(at_ms, leaves_at(&course, course.live + i - limits->requests));
        }
        if (interval_ms > 0) {
            at_ms = later(at_ms, tat_ms > tolerance_ms ? tat_ms - tolerance_ms : 0);
            tat_ms = later(at_ms, tat_ms) + interval_ms;
        }
        course.to_come[i % ENGINE_LOG_MOST] = at_ms;
    }
    return at_ms;
}

/* Whole windows that must pass first, and what is left of `n` then, 1 to `most`. */
static uint64_t rounds_of(uint64_t *n, uint64_t most)
{
    uint64_t rounds = *n > 0 ? (*n - 1) / most : 0;
    *n -= rounds * most;
    return rounds;
}

static uint64_t ring_eta(const struct engine_resource *resource, const struct engine_turn *turn,
                         uint64_t k)
{
    const struct engine_limits *limits = &resource->limits;
    uint64_t at_ms = turn->now_ms, tat_ms = later(resource->window.tat_ms, turn->now_ms);
    uint64_t interval_ms = limits->pacer_interval_ms;
    uint64_t tolerance_ms = limits->pacer_burst > 0 ? (limits->pacer_burst - 1) * interval_ms : 0;
    if (interval_ms > 0 && tat_ms + (k - 1) * interval_ms > tolerance_ms) {
        at_ms = later(at_ms, tat_ms + (k - 1) * interval_ms - tolerance_ms);
    }
    if (limits->requests > 0) {
        uint64_t span_ms = limits->window_ms + turn->rules->guard_ms;
        uint64_t rounds_ms = rounds_of(&k, limits->requests) * span_ms;
        at_ms = later(at_ms, rounds_ms + engine_window_matures(resource, turn, limits->requests - k,
                                                               UINT64_MAX));
    }
    return at_ms;
}

uint64_t engine_eta(const struct engine_resource *resource, const struct engine_turn *turn,
                    uint64_t k, uint64_t charge, bool *exact)
{
    const struct engine_limits *limits = &resource->limits;
    bool log = resource->window.kind == ENGINE_WINDOW_LOG;
    uint64_t at_ms = log ? log_eta(resource, turn, k) : ring_eta(resource, turn, k);
    uint32_t most = engine_leases_most(resource);
    *exact = most == 0 || engine_leases_live(resource, turn->now_ms) + k <= most;
    if (limits->tokens > 0) {
        uint64_t span_ms = limits->window_ms + turn->rules->guard_ms;
        uint64_t rounds = rounds_of(&charge, limits->tokens);
        at_ms = later(at_ms, rounds * span_ms + engine_window_matures(resource, turn, UINT64_MAX,
                                                                      limits->tokens - charge));
        *exact = *exact && rounds == 0;
    }
    return at_ms;
}
