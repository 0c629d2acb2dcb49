/* The words of floor 0: spans, bufs, arenas, maps, lists, statuses, logs, metrics. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metric.h"
#include "base/status.h"
#include "base/utf8.h"
#include "harness.h"

static void test_span_parses_only_whole_numbers(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t i = 7;
    double d = 7;
    assert_true(span_parse_u64(SPAN("18446744073709551615"), &u));
    assert_int_equal(u, UINT64_MAX);
    assert_false(span_parse_u64(SPAN("18446744073709551616"), &u));
    assert_false(span_parse_u64(SPAN(""), &u));
    assert_false(span_parse_u64(SPAN("1 "), &u));
    assert_int_equal(u, UINT64_MAX);
    assert_true(span_parse_i64(SPAN("-9223372036854775808"), &i));
    assert_int_equal(i, INT64_MIN);
    assert_false(span_parse_i64(SPAN("9223372036854775808"), &i));
    assert_false(span_parse_i64(SPAN("-"), &i));
    assert_true(span_parse_double(SPAN("0.25"), &d));
    assert_true(d == 0.25);
    assert_false(span_parse_double(SPAN("inf"), &d));
    assert_false(span_parse_double(SPAN("1e999"), &d));
    assert_false(span_parse_double(SPAN(" 1"), &d));
}

static void test_span_cuts_and_finds(void **state)
{
    (void)state;
    struct span rest = SPAN("a,,b,"), head;
    const char *want[] = {"a", "", "b", ""};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(span_cut(&rest, ',', &head));
        assert_span(head, span_str(want[i]));
    }
    assert_false(span_cut(&rest, ',', &head));
    assert_int_equal(span_find(SPAN("haystack"), SPAN("st")), 3);
    assert_int_equal(span_find(SPAN("hay"), SPAN("haystack")), SPAN_MISSING);
    assert_int_equal(span_find_nocase(SPAN("Content-TYPE"), SPAN("type")), 8);
    assert_span(span_trim(SPAN(" \t x y \r\n")), SPAN("x y"));
    assert_true(span_compare(SPAN("ab"), SPAN("abc")) < 0);
    assert_int_equal(span_from(SPAN("abc"), 9).len, 0);
}

static void test_buf_overflow_is_sticky_and_harmless(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf buf;
    buf_init(&buf, 5);
    assert_string_equal(buf_cstr(&buf), "");
    buf_add_str(&buf, "abc");
    buf_add_str(&buf, "defg");
    buf_add_str(&buf, "h");
    assert_false(buf_ok(&buf));
    assert_string_equal(buf_cstr(&buf), "abc");
    buf_reset(&buf);
    buf_addf(&buf, "%d-%s", 12, "xy");
    assert_true(buf_ok(&buf));
    assert_span(buf_span(&buf), SPAN("12-xy"));
    buf_drop(&buf, 3);
    assert_string_equal(buf_cstr(&buf), "xy");
    buf_clear(&buf);
    buf_add_i64(&buf, -42);
    assert_string_equal(buf_cstr(&buf), "-42");
    free(buf_take(&buf));
    assert_int_equal(buf.len, 0);
    buf_add_be32(&buf, 0x01020304);
    assert_memory_equal(buf.at, "\1\2\3\4", 4);
}

static void test_arena_keeps_its_budget(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(100000);
    char *zeroed = arena_alloc(arena, 33);
    for (size_t i = 0; i < 33; i++) {
        assert_int_equal(zeroed[i], 0);
    }
    assert_int_equal((uintptr_t)arena_alloc(arena, 1) % 16, 0);
    assert_string_equal(arena_printf(arena, "%s-%d", "a", 1), "a-1");
    assert_non_null(arena_try(arena, 90000));
    assert_null(arena_try(arena, 20000));
    assert_null(arena_try(arena, SIZE_MAX));
    assert_true(arena_used(arena) + arena_left(arena) == 100000);
}

static void test_map_finds_what_was_set(void **state)
{
    (void)state;
    struct map *map = map_new();
    int one = 1, two = 2;
    map_set(map, SPAN("a"), &one);
    map_set(map, SPAN("b\0c"), &two);
    map_set(map, SPAN(""), &two);
    assert_ptr_equal(map_get(map, SPAN("a")), &one);
    assert_ptr_equal(map_get(map, SPAN("b\0c")), &two);
    assert_null(map_get(map, SPAN("b")));
    assert_ptr_equal(map_get(map, SPAN("")), &two);
    map_set(map, SPAN("a"), &two);
    assert_int_equal(map_count(map), 3);
    assert_span(map_key(map_first(map)), SPAN("a"));
    assert_ptr_equal(map_remove(map, SPAN("a")), &two);
    assert_null(map_remove(map, SPAN("a")));
    map_free(map);
    map_free(NULL);
}

struct item {
    int value;
    struct list link;
};

static void test_list_survives_removal_while_walking(void **state)
{
    (void)state;
    struct list head;
    struct item items[4];
    list_init(&head);
    for (int i = 0; i < 4; i++) {
        items[i].value = i;
        list_push_back(&head, &items[i].link);
    }
    int sum = 0;
    LIST_EACH (it, &head) {
        sum += CONTAINER_OF(it, struct item, link)->value;
        list_remove(it);
    }
    assert_int_equal(sum, 6);
    assert_true(list_empty(&head));
    assert_null(list_pop_front(&head));
}

static void test_every_reason_has_a_code_and_a_class(void **state)
{
    (void)state;
    for (enum reason r = REASON_NONE + 1; r < REASON_COUNT; r++) {
        assert_true(reason_code(r) != STATUS_OK);
        assert_true(reason_class(r) != CLASS_NONE);
        assert_true(reason_text(r)[0] != '\0');
        assert_true(strlen(reason_name(r)) <= 63); /* AIP-193 */
        assert_int_equal(reason_by_name(reason_name(r)), r);
    }
    assert_int_equal(reason_by_name("NO_SUCH_REASON"), REASON_NONE);
    struct status s = status_retry(REASON_SUITE_LIMIT, 1500, NULL);
    assert_int_equal(s.code, STATUS_UNAVAILABLE);
    assert_string_equal(status_text(s), "the suite's limit is used up");
    assert_string_equal(status_code_name(s.code), "UNAVAILABLE");
}

static void test_a_status_copied_outlives_its_arena(void **state)
{
    (void)state;
    struct arena *first = arena_new(65536);
    CLEANUP(arena_drop) struct arena *second = arena_new(65536);
    struct status_violation *field = ARENA_NEW(first, struct status_violation);
    struct status_more *more = ARENA_NEW(first, struct status_more);
    *field = (struct status_violation){arena_printf(first, "name"), arena_printf(first, "missing")};
    *more = (struct status_more){.fields = field,
                                 .n_fields = 1,
                                 .resource_type = arena_printf(first, "Task"),
                                 .resource_name = arena_printf(first, "tasks/%d", 7)};
    struct status s = status_of(REASON_TASK_UNKNOWN, arena_printf(first, "no task %d", 7));
    s.more = more;
    s = status_copy(s, second);
    arena_free(first);
    assert_string_equal(s.detail, "no task 7");
    assert_int_equal(s.more->n_fields, 1);
    assert_string_equal(s.more->fields[0].subject, "name");
    assert_string_equal(s.more->fields[0].description, "missing");
    assert_int_equal(s.more->n_quotas, 0);
    assert_string_equal(s.more->resource_type, "Task");
    assert_string_equal(s.more->resource_name, "tasks/7");
    assert_true(status_ok(status_copy(STATUS_SUCCESS, second)));
}

static void test_utf8_follows_rfc_3629(void **state)
{
    (void)state;
    static const struct {
        struct span text;
        bool valid;
    } cases[] = {
        {SPAN("plain"), true},
        {SPAN("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), true},
        {SPAN("\xc0\xaf"), false},         /* overlong */
        {SPAN("\xe0\x80\xaf"), false},     /* overlong */
        {SPAN("\xed\xa0\x80"), false},     /* surrogate */
        {SPAN("\xf4\x90\x80\x80"), false}, /* beyond U+10FFFF */
        {SPAN("\xe2\x82"), false},         /* cut */
        {SPAN("\xff"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(utf8_valid(cases[i].text), cases[i].valid);
    }
    static const uint32_t points[] = {0x41, 0xe9, 0x20ac, 0x1f600, 0x10ffff};
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 8);
        utf8_add(&out, points[i]);
        assert_int_equal(utf8_sequence(buf_span(&out)), out.len);
        assert_int_equal(utf8_decode(out.at, out.len), points[i]);
    }
    assert_span(utf8_first(SPAN("a\xe2\x82\xac"), 3), SPAN("a"));
    CLEANUP(buf_clear) struct buf json;
    buf_init(&json, 100);
    utf8_add_json(&json, SPAN("a\"\\\n\x01\xff\xc3\xa9"));
    assert_string_equal(buf_cstr(&json), "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\"");
}

static char last_line[4096];

static void keep_line(struct span line)
{
    size_t len = line.len < sizeof(last_line) - 1 ? line.len : sizeof(last_line) - 1;
    memcpy(last_line, line.at, len);
    last_line[len] = '\0';
}

static void add_request_id(struct buf *line)
{
    buf_add_str(line, ",\"request_id\":\"r1\"");
}

static void test_log_lines_are_json_and_hide_secrets(void **state)
{
    (void)state;
    log_init("test", LOG_INFO);
    log_set_sink(keep_line);
    log_set_context(add_request_id);
    struct secret key = {"hush"};
    LOG(INFO, "hello", KV("n", 3), KV("u", (uint64_t)9), KV("t", (bool)true), KV("s", "a\"b"),
        KV("key", key), KV("err", status_of(REASON_TIER_GONE, NULL)));
    assert_non_null(strstr(last_line,
                           "\"level\":\"info\",\"logger\":\"test\",\"msg\":\"hello\","
                           "\"request_id\":\"r1\",\"n\":3,\"u\":9,\"t\":true,\"s\":\"a\\\"b\","
                           "\"key\":\"***\",\"code\":\"NOT_FOUND\",\"reason\":\"TIER_GONE\","
                           "\"err\":\"the model is retired\"}\n"));
    assert_null(strstr(last_line, "hush"));
    last_line[0] = '\0';
    LOG(DEBUG, "not said");
    assert_string_equal(last_line, "");
    log_set_sink(NULL);
    log_set_context(NULL);
}

static void test_metrics_render_and_bound_their_children(void **state)
{
    (void)state;
    metric_reset_all();
    struct metric *calls = metric_counter("prism_calls_total", "method,code", "Calls.");
    struct metric *open = metric_gauge("prism_open", "", "Open now.");
    struct metric *wait = metric_seconds("prism_wait_seconds", "", "Wait.");
    METRIC_ADD(calls, 2, "Get", "OK");
    METRIC_ADD(calls, 1, "Q\"\n", NULL);
    METRIC_SET(open, 2.5);
    METRIC_OBSERVE(wait, 0.3);
    assert_ptr_equal(metric_counter("prism_calls_total", "method,code", "Calls."), calls);
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 1 << 20);
    metric_render(&out);
    assert_non_null(strstr(out.at, "# TYPE prism_calls_total counter\n"
                                   "prism_calls_total{method=\"Get\",code=\"OK\"} 2\n"
                                   "prism_calls_total{method=\"Q\\\"\\n\",code=\"\"} 1\n"));
    assert_non_null(strstr(out.at, "prism_open 2.5\n"));
    assert_non_null(strstr(out.at, "prism_wait_seconds_bucket{le=\"0.25\"} 0\n"
                                   "prism_wait_seconds_bucket{le=\"0.5\"} 1\n"));
    assert_non_null(strstr(out.at, "prism_wait_seconds_count 1\n"));
    for (int i = 0; i < 2 * METRIC_CHILDREN; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        METRIC_ADD(calls, 1, name, "OK");
    }
    assert_true(metric_value(calls, (const char *const[]){"other", "other"}) >= METRIC_CHILDREN);
    metric_reset_all();
}

static void test_times_are_read_back_and_only_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t wall_ms;
    } times[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-02T03:04:05Z", 1767323045000},
        {"2024-02-29T23:59:59.678Z", 1709251199678},
        {"2024-02-29T23:59:59.6Z", 1709251199600},
        {"2024-02-29T23:59:59.678901234Z", 1709251199678},
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        uint64_t wall_ms = 1;
        assert_true(clock_parse_rfc3339(span_str(times[i].text), &wall_ms));
        assert_true(wall_ms == times[i].wall_ms);
    }
    static const char *const others[] = {"",
                                         "2026-01-02",
                                         "2026-01-02T03:04:05",
                                         "2026-01-02T03:04:05+01:00",
                                         "2026-02-29T00:00:00Z",
                                         "2026-13-01T00:00:00Z",
                                         "2026-01-02T24:00:00Z",
                                         "2026-01-02T03:60:00Z",
                                         "2026-01-02T03:04:05.6xZ",
                                         "1969-12-31T23:59:59Z",
                                         "2O26-01-02T03:04:05Z"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        uint64_t wall_ms = 7;
        assert_false(clock_parse_rfc3339(span_str(others[i]), &wall_ms));
        assert_true(wall_ms == 7);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_times_are_read_back_and_only_times),
    cmocka_unit_test(test_span_parses_only_whole_numbers),
    cmocka_unit_test(test_span_cuts_and_finds),
    cmocka_unit_test(test_buf_overflow_is_sticky_and_harmless),
    cmocka_unit_test(test_arena_keeps_its_budget),
    cmocka_unit_test(test_map_finds_what_was_set),
    cmocka_unit_test(test_list_survives_removal_while_walking),
    cmocka_unit_test(test_every_reason_has_a_code_and_a_class),
    cmocka_unit_test(test_a_status_copied_outlives_its_arena),
    cmocka_unit_test(test_utf8_follows_rfc_3629),
    cmocka_unit_test(test_log_lines_are_json_and_hide_secrets),
    cmocka_unit_test(test_metrics_render_and_bound_their_children),
};

HARNESS_MAIN(tests)
