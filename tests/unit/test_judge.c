/* The judge of arrival logs: it must see what the limiter must not do. */
#include "harness.h"
#include "judge.h"

#define ARENA_MOST (1u << 20)

#define START(id, t, model)                                                                        \
    "{\"event\":\"start\",\"id\":" #id ",\"t_ms\":" #t ",\"model\":\"" model                       \
    "\",\"operation\":\"stream\"}\n"
#define END(id, t, outcome)                                                                        \
    "{\"event\":\"end\",\"id\":" #id ",\"t_ms\":" #t ",\"status\":200,\"outcome\":\"" outcome      \
    "\",\"output_tokens\":7}\n"

static struct judge_log read(const char *lines, struct arena *arena)
{
    struct judge_log log;
    assert_true(judge_read(span_str(lines), arena, &log));
    return log;
}

static void calls_are_put_together_from_their_lines(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct judge_log log = read(START(1, 10.5, "a") START(2, 11, "b") END(1, 20, "ok"), arena);
    assert_int_equal(log.n, 2);
    assert_true(log.calls[0].ended && log.calls[0].end_ms == 20 && log.calls[0].begin_ms == 10.5);
    assert_span(log.calls[0].outcome, SPAN("ok"));
    assert_int_equal(log.calls[0].status, 200);
    assert_int_equal(log.calls[0].output_tokens, 7);
    assert_false(log.calls[1].ended);
    assert_int_equal(judge_running(log), 1);
    assert_int_equal(judge_of_model(log, "b", arena).n, 1);
    assert_int_equal(judge_of_model(log, "c", arena).n, 0);
    assert_int_equal(judge_after(log, 1).calls[0].id, 2);
    assert_int_equal(judge_after(log, 2).n, 0);
}

static void what_is_no_line_of_the_log_is_refused(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    static const char *const bad[] = {"nonsense\n", "{}\n", END(1, 2, "ok"),
                                      "{\"event\":\"stop\"}\n"};
    struct judge_log log;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(judge_read(span_str(bad[i]), arena, &log));
    }
    assert_int_equal(read("", arena).n, 0);
}

static void calls_that_overlap_are_counted(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    assert_int_equal(judge_most_at_once(read("", arena)), 0);
    /* The second begins in the instant the first ends: one after the other. */
    assert_int_equal(
        judge_most_at_once(read(START(1, 0, "a") END(1, 5, "ok") START(2, 5, "a"), arena)), 1);
    assert_int_equal(judge_most_at_once(read(START(1, 0, "a") START(2, 4.9, "b") END(1, 5, "ok")
                                                 START(3, 6, "a") START(4, 7, "a"),
                                             arena)),
                     3);
}

static void windows_are_half_open_and_begin_anywhere(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct judge_log log =
        read(START(1, 0, "a") START(2, 900, "a") START(3, 1000, "a") START(4, 1100, "a"), arena);
    assert_int_equal(judge_most_in_window(log, 1000),
                     3); /* those from 900 on; 0 and 1000 do not meet */
    assert_int_equal(judge_most_in_window(log, 1001), 3);
    assert_int_equal(judge_most_in_window(log, 1100), 3);
    assert_int_equal(judge_most_in_window(log, 1101), 4);
    assert_int_equal(judge_most_in_window(log, 100), 1);
    assert_int_equal(judge_most_in_window(log, 100.1), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_put_together_from_their_lines),
        cmocka_unit_test(what_is_no_line_of_the_log_is_refused),
        cmocka_unit_test(calls_that_overlap_are_counted),
        cmocka_unit_test(windows_are_half_open_and_begin_anywhere),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
