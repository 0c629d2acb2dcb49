/* The ledger in the analyzer's store: each record once, and the numbers that are missing. */
#include <stdio.h>
#include <unistd.h>

#include "analyzer/store.h"
#include "task_test.h"

#define ARENA_SIZE (64u << 20)

struct fixture {
    char folder[64];
    struct store *store;
    struct arena *arena;
};

static void start(struct fixture *f)
{
    snprintf(f->folder, sizeof(f->folder), "/tmp/prism-test-store-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->arena = arena_new(ARENA_SIZE);
    assert_status_ok(store_open(task_loop(), f->folder, &f->store));
}

static void reopen(struct fixture *f)
{
    store_close(f->store);
    assert_status_ok(store_open(task_loop(), f->folder, &f->store));
}

static void stop(struct fixture *f)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    store_close(f->store);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        unlink(arena_printf(f->arena, "%s/analyzer.sqlite%s", f->folder, suffixes[i]));
    }
    assert_int_equal(rmdir(f->folder), 0);
    arena_free(f->arena);
}

struct record_row {
    uint8_t call;
    uint64_t sequence;
    const char *task; /* what else is in it */
};

static Analyzer__RecordResponse record(struct fixture *f, uint8_t router,
                                       const struct record_row *rows, size_t n)
{
    Analyzer__RecordRequest request = ANALYZER__RECORD_REQUEST__INIT;
    Analyzer__RecordResponse response = ANALYZER__RECORD_RESPONSE__INIT;
    request.records = ARENA_ARRAY(f->arena, Analyzer__CallRecord *, n);
    for (size_t i = 0; i < n; i++) {
        Analyzer__CallRecord *r = ARENA_NEW(f->arena, Analyzer__CallRecord);
        analyzer__call_record__init(r);
        r->call_id = (ProtobufCBinaryData){16, arena_alloc(f->arena, 16)};
        r->call_id.data[0] = rows[i].call;
        r->router_instance = (ProtobufCBinaryData){16, arena_alloc(f->arena, 16)};
        r->router_instance.data[0] = router;
        r->tenant = "acme";
        r->sequence = rows[i].sequence;
        r->task_id = (char *)(rows[i].task != NULL ? rows[i].task : "");
        request.records[request.n_records++] = r;
    }
    static uint64_t now = 1000;
    assert_status_ok(store_take_records(f->store, &request, ++now, f->arena, &response));
    return response;
}

#define RECORD(f, router, ...)                                                                     \
    record(f, router, (const struct record_row[]){__VA_ARGS__},                                    \
           sizeof((struct record_row[]){__VA_ARGS__}) / sizeof(struct record_row))

static void assert_recorded(Analyzer__RecordResponse r, uint32_t stored, uint32_t duplicates,
                            size_t conflicts, size_t gaps)
{
    assert_int_equal(r.stored, stored);
    assert_int_equal(r.duplicates, duplicates);
    assert_int_equal(r.n_conflicting_call_ids, conflicts);
    assert_int_equal(r.n_gaps, gaps);
}

task_test_real(records_are_taken_once)
{
    struct fixture f;
    start(&f);
    assert_recorded(RECORD(&f, 1, {1, 1, NULL}, {2, 2, NULL}), 2, 0, 0, 0);
    assert_recorded(RECORD(&f, 1, {2, 2, NULL}, {3, 3, NULL}), 1, 1, 0, 0);
    reopen(&f);
    assert_recorded(RECORD(&f, 1, {1, 1, NULL}, {2, 2, NULL}, {3, 3, NULL}), 0, 3, 0, 0);
    stop(&f);
}

task_test_real(a_call_with_two_records_is_a_conflict)
{
    struct fixture f;
    start(&f);
    assert_recorded(RECORD(&f, 1, {1, 1, NULL}), 1, 0, 0, 0);
    Analyzer__RecordResponse r = RECORD(&f, 1, {1, 1, "another"}, {2, 2, NULL});
    assert_recorded(r, 1, 0, 1, 0);
    assert_int_equal(r.conflicting_call_ids[0].data[0], 1);
    assert_recorded(RECORD(&f, 1, {1, 3, NULL}), 0, 0, 1, 0);
    assert_recorded(RECORD(&f, 2, {1, 1, NULL}), 0, 0, 1, 0);
    assert_recorded(RECORD(&f, 1, {9, 2, NULL}), 0, 0, 1, 0); /* the number is another call's */
    assert_recorded(RECORD(&f, 1, {1, 1, NULL}), 0, 1, 0, 0); /* the first one stands */
    stop(&f);
}

task_test_real(gaps_are_seen_until_they_close)
{
    struct fixture f;
    start(&f);
    Analyzer__RecordResponse r = RECORD(&f, 1, {3, 3, NULL}, {6, 6, NULL});
    assert_recorded(r, 2, 0, 0, 2);
    assert_int_equal(r.gaps[0]->first_sequence, 1);
    assert_int_equal(r.gaps[0]->last_sequence, 2);
    assert_int_equal(r.gaps[1]->first_sequence, 4);
    assert_int_equal(r.gaps[1]->last_sequence, 5);
    assert_int_equal(r.gaps[1]->router_instance.data[0], 1);
    assert_recorded(RECORD(&f, 2, {10, 1, NULL}), 1, 0, 0, 0); /* each router has its own */
    assert_recorded(RECORD(&f, 1, {1, 1, NULL}, {2, 2, NULL}), 2, 0, 0, 1);
    assert_recorded(RECORD(&f, 1, {5, 5, NULL}, {4, 4, NULL}), 2, 0, 0, 0);
    stop(&f);
}

task_test_real(gaps_are_what_is_missing_whatever_the_order)
{
    enum {
        MOST = 32
    };
    struct fixture f;
    start(&f);
    bool there[MOST + 2] = {[0] = true};
    unsigned highest = 0;
    for (unsigned i = 0, next = 7; i < MOST; i++, next = (next + 13) % MOST) {
        unsigned number = next + 1;
        highest = number > highest ? number : highest;
        there[number] = true;
        Analyzer__RecordResponse r = RECORD(&f, 1, {(uint8_t)number, number, NULL});
        size_t gaps = 0;
        for (unsigned k = 1; k <= highest; k++) {
            if (there[k - 1] && !there[k]) {
                assert_int_equal(r.gaps[gaps]->first_sequence, k);
            }
            if (!there[k] && there[k + 1]) {
                assert_int_equal(r.gaps[gaps++]->last_sequence, k);
            }
        }
        assert_recorded(r, 1, 0, 0, gaps);
    }
    stop(&f);
}

task_test_real(a_router_that_has_made_many_calls_has_no_gap_for_it)
{
    struct fixture f;
    start(&f);
    Analyzer__RecordResponse r = RECORD(&f, 1, {1, 250000, NULL}, {2, 250001, NULL});
    assert_int_equal(r.n_gaps, 1); /* as far back as is looked */
    assert_int_equal(r.gaps[0]->first_sequence, 150002);
    assert_int_equal(r.gaps[0]->last_sequence, 249999);
    stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(records_are_taken_once),
    cmocka_unit_test(a_call_with_two_records_is_a_conflict),
    cmocka_unit_test(gaps_are_seen_until_they_close),
    cmocka_unit_test(gaps_are_what_is_missing_whatever_the_order),
    cmocka_unit_test(a_router_that_has_made_many_calls_has_no_gap_for_it),
};

HARNESS_MAIN(tests)
