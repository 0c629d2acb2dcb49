/* What the limiter keeps beside the engine: records, resources, answers' lengths, audit rings. */
#include <string.h>

#include "harness.h"
#include "limiter/audit.h"
#include "limiter/outputs.h"
#include "limiter/store.h"

static const struct engine_rules rules = {.guard_ms = 500};

static struct engine_id id_of(uint32_t n)
{
    struct engine_id id = {{0}};
    memcpy(id.bytes, &n, sizeof(n));
    return id;
}

static void test_records_make_room_when_they_run_out(void **state)
{
    (void)state;
    struct store *store =
        store_new(&(struct store_options){.rules = &rules, .resources = 1, .records = 4});
    struct engine_record *records[4];
    for (uint32_t i = 0; i < 4; i++) {
        struct engine_id id = id_of(i);
        records[i] = store_record(store, &id, 100);
        assert_non_null(records[i]);
        assert_int_equal(records[i]->state, ENGINE_ABSENT);
        records[i]->id = id;
        records[i]->state = ENGINE_GRANTED;
        records[i]->expires_ms = 200 + i;
        store_record_keep(store, records[i]);
    }
    struct engine_id two = id_of(2), ten = id_of(10), eleven = id_of(11);
    assert_ptr_equal(store_record(store, &two, 100), records[2]);
    assert_null(store_record(store, &ten, 199));
    /* One that was asked for and left absent is not kept. */
    assert_ptr_equal(store_record(store, &ten, 200), records[0]);
    store_record_keep(store, records[0]);
    assert_int_equal(store_records(store), 3);
    assert_ptr_equal(store_record(store, &ten, 201), records[1]);
    assert_ptr_equal(store_record(store, &eleven, 201), records[0]);
    assert_ptr_equal(store_record(store, &two, 201), records[2]);
    store_free(store);
}

static void test_only_idle_tenants_make_room(void **state)
{
    (void)state;
    const struct engine_limits limits = {.requests = 1, .window_ms = 1000};
    struct store *store =
        store_new(&(struct store_options){.rules = &rules, .resources = 3, .records = 1});
    struct engine_resource *suite =
        store_resource_add(store, SPAN("suite"), ENGINE_POOL, &limits, 0, ENGINE_NEVER);
    struct engine_resource *a =
        store_resource_add(store, SPAN("tenant:a"), ENGINE_POOL, &limits, 0, 500);
    struct engine_resource *b =
        store_resource_add(store, SPAN("tenant:b"), ENGINE_POOL, &limits, 0, 500);
    suite->header.seq = a->header.seq = b->header.seq = 1;
    a->last_now_ms = 10000;
    b->last_now_ms = 9000;
    assert_null(store_resource_add(store, SPAN("tenant:c"), ENGINE_POOL, &limits, 10500, 500));
    assert_null(
        store_resource_add(store, SPAN("tenant:c"), ENGINE_POOL, &limits, 99999, ENGINE_NEVER));
    uint64_t hash = b->hash;
    assert_ptr_equal(store_resource_by_hash(store, hash), b);
    assert_ptr_equal(store_resource_add(store, SPAN("tenant:c"), ENGINE_POOL, &limits, 10501, 500),
                     b);
    assert_string_equal(b->name, "tenant:c");
    assert_int_equal(b->header.seq, 0);
    assert_null(store_resource(store, SPAN("tenant:b")));
    assert_null(store_resource_by_hash(store, hash));
    assert_ptr_equal(store_resource(store, SPAN("suite")), suite);
    store_free(store);
}

static void test_answers_are_followed_by_model_and_tenant(void **state)
{
    (void)state;
    struct outputs *outputs = outputs_new(2);
    struct span model = SPAN("m"), a = SPAN("a"), b = SPAN("b"), c = SPAN("c");
    for (uint64_t i = 1; i <= 100; i++) {
        outputs_add(outputs, model, a, i);
        assert_int_equal(outputs_q95(outputs, model, a), i < OUTPUTS_LEAST ? 0
                                                         : i < OUTPUTS_KEPT
                                                             ? (i * 95 + 99) / 100
                                                             : i - OUTPUTS_KEPT + 61);
    }
    assert_int_equal(outputs_q95(outputs, model, b), 0);
    for (uint64_t i = 0; i < OUTPUTS_LEAST; i++) {
        outputs_add(outputs, model, b, 0);
    }
    assert_int_equal(outputs_q95(outputs, model, b), 1); /* known, and not "unknown" */
    outputs_add(outputs, model, c, 7);                   /* the oldest pair goes */
    assert_int_equal(outputs_q95(outputs, model, a), 0);
    assert_int_equal(outputs_q95(outputs, model, b), 1);
    outputs_free(outputs);
}

/* In any order, with many alike: as many as there must be are not above it, and it is the least. */
static void test_the_percentile_is_of_the_latest_answers(void **state)
{
    (void)state;
    struct outputs *outputs = outputs_new(1);
    uint64_t seen[500];
    for (uint64_t i = 0; i < ARRAY_LEN(seen); i++) {
        seen[i] = 1 + (i * i * 7919) % 41;
        outputs_add(outputs, SPAN("m"), SPAN("t"), seen[i]);
        if (i + 1 < OUTPUTS_KEPT) {
            continue;
        }
        uint64_t q95 = outputs_q95(outputs, SPAN("m"), SPAN("t"));
        size_t below = 0, not_above = 0;
        for (size_t back = 0; back < OUTPUTS_KEPT; back++) {
            below += seen[i - back] < q95;
            not_above += seen[i - back] <= q95;
        }
        assert_true(below < 61 && not_above >= 61);
    }
    outputs_free(outputs);
}

static void test_audit_keeps_the_latest(void **state)
{
    (void)state;
    struct audit *audit = audit_new(2);
    for (uint64_t i = 0; i < AUDIT_KEPT + 7; i++) {
        assert_int_equal(audit_count(audit, 1), i < AUDIT_KEPT ? i : AUDIT_KEPT);
        audit_add(audit, 1, &(struct audit_entry){.now_ms = i});
        assert_int_equal(audit_at(audit, 1, 0)->now_ms, i);
    }
    assert_int_equal(audit_at(audit, 1, AUDIT_KEPT - 1)->now_ms, 7);
    assert_int_equal(audit_count(audit, 0), 0);
    audit_forget(audit, 1);
    assert_int_equal(audit_count(audit, 1), 0);
    audit_add(audit, 1, &(struct audit_entry){.now_ms = 5});
    assert_int_equal(audit_at(audit, 1, 0)->now_ms, 5);
    audit_free(audit);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_records_make_room_when_they_run_out),
    cmocka_unit_test(test_only_idle_tenants_make_room),
    cmocka_unit_test(test_answers_are_followed_by_model_and_tenant),
    cmocka_unit_test(test_the_percentile_is_of_the_latest_answers),
    cmocka_unit_test(test_audit_keeps_the_latest),
};

HARNESS_MAIN(tests)
