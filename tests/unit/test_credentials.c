/* What is done with credentials that were found: kept, renewed ahead, given out, taken back. */
#include <stdio.h>
#include <string.h>

#include "aws/source.h"
#include "task_test.h"

#define HOUR 3600000

/* A source that is scripted. */
static struct script {
    const char *key; /* NULL: `found` instead */
    enum source_found found;
    uint64_t lives_ms;
    uint64_t takes_ms;
    size_t looks;
    size_t told;
    struct credentials_news news; /* the last one */
    char said[64];
} script;

static enum source_found find(struct source *source, struct key_set *out) PARKS
{
    script.looks++;
    if (script.takes_ms > 0 && !status_ok(task_sleep_ms(script.takes_ms))) {
        return SOURCE_LATER;
    }
    if (script.key == NULL) {
        return script.found == SOURCE_NOTHING  ? source_nothing(source, "test", "not set up")
               : script.found == SOURCE_BROKEN ? source_broken(source, "test", "is broken")
                                               : source_later(source, "test", "is busy");
    }
    const struct credentials_values values = {.access_key = span_str(script.key),
                                              .secret_key = SPAN("secret")};
    key_set_fill(out, &values, script.lives_ms, "test");
    return SOURCE_KEYS;
}

static void told(void *arg, const struct credentials_news *news)
{
    assert_ptr_equal(arg, &script);
    script.told++;
    script.news = *news;
    snprintf(script.said, sizeof(script.said), "%s", status_text(news->status));
}

static struct credentials *start(const char *key, uint64_t lives_ms)
{
    script = (struct script){.key = key, .lives_ms = lives_ms};
    return credentials_found_by(task_loop(),
                                &(struct credentials_options){.told = told, .arg = &script}, find);
}

static struct status get(struct credentials *c, char out[64], uint64_t *serial) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(65536);
    struct credentials_values values;
    struct status s = credentials_get(c, arena, &values);
    if (status_ok(s)) {
        snprintf(out, 64, "%.*s", (int)values.access_key.len, values.access_key.at);
        *serial = values.serial;
    } else {
        snprintf(out, 64, "%s", status_text(s));
        s.detail = NULL;
    }
    return s;
}

static void expect_key(struct credentials *c, const char *key) PARKS
{
    char got[64];
    uint64_t serial;
    assert_status_ok(get(c, got, &serial));
    assert_string_equal(got, key);
}

static void expect_failure(struct credentials *c, enum reason reason, const char *words) PARKS
{
    char got[64];
    uint64_t serial;
    assert_status(get(c, got, &serial), reason);
    assert_string_equal(got, words);
}

task_test(keys_without_an_end_are_looked_for_once)
{
    struct credentials *c = start("a", KEYS_FOR_EVER);
    expect_key(c, "a");
    task_test_advance(1000ull * HOUR);
    expect_key(c, "a");
    assert_int_equal(script.looks, 1);
    assert_true(script.news.fresh);
    assert_string_equal(script.news.source, "test");
    credentials_free(c);
}

/* Between 15 minutes before their end and a quarter of that earlier, while the old ones serve. */
task_test(keys_are_renewed_before_their_end)
{
    struct credentials *c = start("a", HOUR);
    expect_key(c, "a");
    script.key = "b";
    script.takes_ms = 5000;
    task_test_advance(HOUR * 11 / 16 - 1000);
    assert_int_equal(script.looks, 1);
    task_test_advance(HOUR / 16 + 2000);
    assert_int_equal(script.looks, 2);
    task_test_advance(0);
    expect_key(c, "a"); /* nobody waits */
    task_test_advance(6000);
    expect_key(c, "b");
    assert_int_equal(script.told, 2);
    credentials_free(c);
}

/* The moment is spread, so that a fleet does not ask as one. */
task_test(the_moment_is_spread)
{
    size_t early = 0;
    for (size_t i = 0; i < 64; i++) {
        struct credentials *c = start("a", 16000);
        expect_key(c, "a");
        task_test_advance(16000 * 3 / 4 - 16000 / 32);
        early += script.looks == 2;
        credentials_free(c);
    }
    assert_in_range(early, 10, 54); /* half of them */
}

struct waiters {
    struct credentials *credentials;
    size_t served;
    size_t failed;
};

static void one_waiter(void *arg)
{
    struct waiters *w = arg;
    char got[64];
    uint64_t serial;
    struct status s = get(w->credentials, got, &serial);
    w->served += status_ok(s) && strcmp(got, "b") == 0;
    w->failed += !status_ok(s);
}

/* So many at once, for ten seconds at most. */
static void group_of(struct waiters *w, size_t n) PARKS
{
    struct group group;
    group_init(&group);
    for (size_t i = 0; i < n; i++) {
        group_spawn(&group, "waiter", one_waiter, w);
    }
    for (size_t i = 0; i < 100; i++) {
        task_test_advance(100);
    }
    assert_status_ok(group_wait(&group));
}

#define LIFE 1200000 /* its guard is a minute */

task_test(old_keys_serve_until_their_end)
{
    struct credentials *c = start("a", LIFE);
    expect_key(c, "a");
    script.key = NULL;
    script.found = SOURCE_LATER;
    for (size_t i = 0; i < LIFE / 1000 - 61; i++) {
        task_test_advance(1000);
        expect_key(c, "a");
    }
    assert_in_range(script.told, 5, 40);
    assert_int_equal(script.news.status.reason, REASON_CREDENTIALS_UNAVAILABLE);
    assert_string_equal(script.said, "test: is busy");
    assert_true(script.news.left_ms > 0 && script.news.left_ms < LIFE / 4);
    task_test_advance(62000);
    struct waiters w = {.credentials = c};
    group_of(&w, 1);
    assert_int_equal(w.failed, 1);
    script.key = "b";
    task_test_advance(62000);
    expect_key(c, "b");
    credentials_free(c);
}

task_test(all_wait_for_one_look)
{
    struct waiters w = {.credentials = start("b", HOUR)};
    script.takes_ms = 5000;
    group_of(&w, 100);
    assert_int_equal(w.served, 100);
    assert_int_equal(script.looks, 1);
    credentials_free(w.credentials);
}

task_test(who_waits_may_leave)
{
    struct waiters w = {.credentials = start("b", HOUR)};
    script.takes_ms = 5000;
    struct task *task = task_spawn(task_loop(), NULL, one_waiter, &w);
    task_test_advance(1000);
    task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    task_test_advance(0);
    assert_int_equal(w.failed, 1);
    task_test_advance(5000);
    expect_key(w.credentials, "b");
    credentials_free(w.credentials);
}

task_test(failed_looks_are_spaced_and_say_why)
{
    struct credentials *c = start(NULL, 0);
    script.found = SOURCE_NOTHING;
    expect_failure(c, REASON_CREDENTIALS_MISSING, "test: not set up");
    for (size_t i = 0; i < 1000; i++) {
        expect_failure(c, REASON_CREDENTIALS_MISSING, "test: not set up");
    }
    assert_int_equal(script.looks, 1); /* at once, without another look */
    script.found = SOURCE_BROKEN;
    for (size_t i = 0; i < 600; i++) {
        task_test_advance(1000);
        struct waiters w = {.credentials = c};
        one_waiter(&w);
    }
    assert_in_range(script.looks, 8, 40); /* in ten minutes, doubling up to one a minute */
    expect_failure(c, REASON_CREDENTIALS_MISSING, "test: is broken");
    script.key = "a";
    script.lives_ms = HOUR;
    task_test_advance(61000);
    expect_key(c, "a");
    credentials_free(c);
}

/* A hiccup is not told to those who wait. */
static void source_recovers(void *arg)
{
    (void)arg;
    struct status s = task_sleep_ms(600);
    (void)s;
    script.key = "b";
    script.lives_ms = HOUR;
}

task_test(a_source_is_asked_again_before_callers_are_told)
{
    struct waiters w = {.credentials = start(NULL, 0)};
    script.found = SOURCE_LATER;
    task_spawn(task_loop(), NULL, source_recovers, NULL);
    task_spawn(task_loop(), NULL, one_waiter, &w);
    for (size_t i = 0; i < 20; i++) {
        task_test_advance(100);
    }
    assert_int_equal(w.served, 1);
    assert_int_equal(script.looks, 3);
    credentials_free(w.credentials);
}

task_test(refused_keys_are_renewed_once)
{
    char got[64];
    uint64_t serial = 0;
    struct credentials *c = start("a", HOUR);
    assert_status_ok(get(c, got, &serial));
    assert_int_equal(serial, 1);

    assert_false(credentials_renew(c, serial)); /* the source has no others */
    assert_int_equal(script.looks, 2);
    assert_false(credentials_renew(c, serial)); /* nor a moment later, unasked */
    assert_int_equal(script.looks, 2);

    task_test_advance(6000);
    script.key = "b";
    assert_true(credentials_renew(c, serial));
    expect_key(c, "b");
    assert_int_equal(script.looks, 3);
    assert_true(credentials_renew(c, serial)); /* somebody else's refusal of the old ones */
    assert_int_equal(script.looks, 3);
    assert_true(credentials_renew(c, 0));
    credentials_free(c);
}

task_test(fixed_ones_stay)
{
    const struct credentials_values values = {.access_key = SPAN("k"), .secret_key = SPAN("s")};
    struct credentials *c = credentials_fixed(&values);
    expect_key(c, "k");
    assert_false(credentials_renew(c, 1));
    credentials_free(c);
    c = credentials_fixed(&(struct credentials_values){.access_key = SPAN("k")});
    expect_failure(c, REASON_CREDENTIALS_MISSING,
                   "no credentials for the model provider were found");
    credentials_free(c);
    credentials_free(NULL);
}

task_test(the_end_comes_while_somebody_looks)
{
    struct credentials *c = start("a", HOUR);
    script.takes_ms = HOUR;
    task_test_advance(10);
    credentials_free(c);
    assert_int_equal(script.told, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_without_an_end_are_looked_for_once),
    cmocka_unit_test(keys_are_renewed_before_their_end),
    cmocka_unit_test(the_moment_is_spread),
    cmocka_unit_test(old_keys_serve_until_their_end),
    cmocka_unit_test(all_wait_for_one_look),
    cmocka_unit_test(who_waits_may_leave),
    cmocka_unit_test(failed_looks_are_spaced_and_say_why),
    cmocka_unit_test(a_source_is_asked_again_before_callers_are_told),
    cmocka_unit_test(refused_keys_are_renewed_once),
    cmocka_unit_test(fixed_ones_stay),
    cmocka_unit_test(the_end_comes_while_somebody_looks),
};

HARNESS_MAIN(tests)
