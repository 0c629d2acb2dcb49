/* The limiter's resources and records as bytes. */
#include "limiter/pack.h"
#include "limiter_bench.h"

#define ROUNDS 200000

static struct engine_resource resource, other;

static void fill(void *at, size_t len, uint32_t *seed)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)at)[i] = (uint8_t)harness_random(seed);
    }
}

/* As full as one can be. */
static void fill_resource(enum engine_window_kind kind)
{
    uint32_t seed = 7;
    const struct engine_rules rules = {.guard_ms = 500};
    const struct engine_limits limits = {
        .version = 3,
        .requests = kind == ENGINE_WINDOW_LOG ? 64 : 1000,
        .tokens = 1000000000000,
        .window_ms = 86400000,
        .concurrency = ENGINE_LEASES_MOST,
        .pacer_burst = 1000000,
        .pacer_interval_ms = 86400000,
        .cooldown_ms = 3600000,
    };
    char name[ENGINE_NAME_MOST];
    memset(name, 'n', sizeof(name));
    engine_resource_init(&resource, span_of(name, sizeof(name)), 12345, ENGINE_MODEL, &limits,
                         &rules);
    resource.header = (struct engine_header){UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 2};
    resource.last_now_ms = 1234567890123;
    resource.window.shape = UINT32_MAX;
    resource.window.tat_ms = 99;
    if (kind == ENGINE_WINDOW_LOG) {
        for (uint32_t i = 0; i < ENGINE_LOG_MOST; i++) {
            resource.window.log[i] = (struct engine_entry){i + 1, 1000 + i / 2, i * 3};
        }
        for (uint32_t i = 0; i < ENGINE_DEBITS_MOST; i++) {
            resource.window.debits[i] = (struct engine_entry){i % 7, 1000 + i / 2, i};
        }
        resource.window.n_log = ENGINE_LOG_MOST;
        resource.window.n_debits = ENGINE_DEBITS_MOST;
        resource.window.last_no = ENGINE_LOG_MOST;
    } else {
        for (uint32_t i = 0; i < ENGINE_RING_SLOTS; i++) {
            resource.window.ring[i] =
                (struct engine_slot){i + ENGINE_RING_SLOTS * (i % 3), i, 2 * i};
        }
    }
    resource.n_leases = ENGINE_LEASES_MOST;
    fill(resource.leases, sizeof(resource.leases), &seed);
    resource.health.level = ENGINE_LEVELS - 1;
    resource.health.gone = true;
    resource.health.breaker = ENGINE_BREAKER_HALF_OPEN;
    resource.health.probe_expires_ms = 77;
    resource.health.n_outcomes = ENGINE_OUTCOMES_MOST;
    for (uint32_t i = 0; i < ENGINE_OUTCOMES_MOST; i++) {
        resource.health.outcomes[i].at_ms = i;
        resource.health.outcomes[i].failed = i % 2 == 0;
    }
    resource.closed = true;
    memset(resource.note, 'x', ENGINE_NOTE_MOST);
    resource.loss = ENGINE_LOSS_AMNESIA;
    resource.closed_until_ms = 88;
    resource.fence = 66;
}

static void test_what_is_full_comes_back_as_it_was(void **state)
{
    (void)state;
    for (int kind = ENGINE_WINDOW_LOG; kind <= ENGINE_WINDOW_RING; kind++) {
        uint8_t bytes[PACK_RESOURCE_MOST];
        fill_resource((enum engine_window_kind)kind);
        size_t len = pack_resource(&resource, bytes);
        print_message("# the largest resource takes %zu bytes\n", len);
        assert_true(unpack_resource(span_of(bytes, len), &other));
        uint8_t again[PACK_RESOURCE_MOST];
        assert_int_equal(pack_resource(&other, again), len);
        assert_memory_equal(bytes, again, len);
        assert_memory_equal(&resource.window, &other.window, sizeof(other.window));
        assert_memory_equal(resource.leases, other.leases, sizeof(other.leases));
        assert_memory_equal(&resource.limits, &other.limits, sizeof(other.limits));
        assert_string_equal(resource.name, other.name);
        assert_string_equal(resource.note, other.note);
        assert_int_equal(other.fence, 66);
        assert_memory_equal(bytes, &resource.header, 24); /* first, as stores compare it */
    }
}

static void test_the_date_is_not_kept(void **state)
{
    (void)state;
    uint8_t bytes[PACK_RESOURCE_MOST];
    fill_resource(ENGINE_WINDOW_LOG);
    resource.health.retired = true;
    assert_true(unpack_resource(span_of(bytes, pack_resource(&resource, bytes)), &other));
    assert_false(other.health.retired);
    assert_true(other.health.gone);
}

static struct engine_record full_record(void)
{
    struct engine_record record;
    uint32_t seed = 3;
    memset(&record, 0, sizeof(record));
    fill(&record.header, sizeof(record.header), &seed);
    fill(&record.id, sizeof(record.id), &seed);
    fill(&record.session, sizeof(record.session), &seed);
    record.state = ENGINE_CANCELLED;
    record.candidate = ENGINE_CANDIDATES_MOST - 1;
    record.probe = true;
    record.generation = 1;
    record.fence = 2;
    record.granted_ms = 3;
    record.expires_ms = 4;
    record.digest = 5;
    record.n_held = ENGINE_HELD_MOST;
    for (uint64_t i = 0; i < ENGINE_HELD_MOST; i++) {
        struct engine_held *held = &record.held[i];
        held->hash = i;
        held->no = i + 10;
        held->charge = i + 20;
        held->prompt = i + 30;
        held->overrun = i + 40;
        held->leased = i > 0;
    }
    return record;
}

static void test_records_come_back_as_they_were(void **state)
{
    (void)state;
    struct engine_record record = full_record(), back;
    uint8_t bytes[PACK_RECORD_MOST];
    size_t len = pack_record(&record, bytes);
    print_message("# the largest record takes %zu bytes\n", len);
    assert_true(unpack_record(span_of(bytes, len), &back));
    assert_memory_equal(&record, &back, sizeof(record));
}

static void test_what_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[PACK_RESOURCE_MOST + 1] = {0};
    fill_resource(ENGINE_WINDOW_LOG);
    size_t len = pack_resource(&resource, bytes);
    for (size_t cut = 0; cut <= len + 1; cut++) {
        assert_int_equal(unpack_resource(span_of(bytes, cut), &other), cut == len);
    }
    struct engine_record record = full_record(), back;
    uint8_t small[PACK_RECORD_MOST + 1] = {0};
    len = pack_record(&record, small);
    for (size_t cut = 0; cut <= len + 1; cut++) {
        assert_int_equal(unpack_record(span_of(small, cut), &back), cut == len);
    }
}

static void test_an_older_form_knows_no_writers_and_no_waiters(void **state)
{
    (void)state;
    uint8_t bytes[PACK_RESOURCE_MOST];
    fill_resource(ENGINE_WINDOW_LOG);
    resource.kind = ENGINE_POOL;
    resource.began_ms = 55;
    resource.n_writers = ENGINE_WRITERS_MOST;
    for (uint32_t i = 0; i < ENGINE_WRITERS_MOST; i++) {
        resource.writers[i] = (struct engine_writer){i + 1, 2 * i, 3 * i, 4 * i};
    }
    resource.virtual_now = 44;
    resource.n_tags = ENGINE_TAGS_MOST;
    for (uint32_t i = 0; i < ENGINE_TAGS_MOST; i++) {
        resource.tags[i] = (struct engine_tag){i + 1, 5 * i};
    }
    resource.n_heads = ENGINE_HEADS_MOST;
    for (uint32_t i = 0; i < ENGINE_HEADS_MOST; i++) {
        resource.heads[i] =
            (struct engine_head){i + 1, i % 4, 2 * i, 3 * i, 4 * i, 5 * i, 6 * i, i, 7 * i};
    }
    size_t len = pack_resource(&resource, bytes);
    print_message("# the largest pool takes %zu bytes\n", len);
    assert_true(unpack_resource(span_of(bytes, len), &other));
    assert_int_equal(other.virtual_now, 44);
    assert_memory_equal(other.tags, resource.tags, sizeof(other.tags));
    assert_memory_equal(other.heads, resource.heads, sizeof(other.heads));
    assert_int_equal(other.began_ms, 55);
    assert_int_equal(other.n_writers, ENGINE_WRITERS_MOST);
    assert_memory_equal(other.writers, resource.writers, sizeof(other.writers));
    bytes[24] = 2;
    len -= 8 + 1 + ENGINE_TAGS_MOST * 16 + 1 + ENGINE_HEADS_MOST * 54;
    assert_true(unpack_resource(span_of(bytes, len), &other));
    assert_int_equal(other.n_writers, ENGINE_WRITERS_MOST);
    assert_int_equal(other.n_heads, 0);
    bytes[24] = 1;
    len -= 8 + 1 + ENGINE_WRITERS_MOST * 24;
    assert_true(unpack_resource(span_of(bytes, len), &other));
    assert_int_equal(other.fence, 66);
    assert_int_equal(other.n_writers, 0);
}

static void test_another_form_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[PACK_RESOURCE_MOST];
    fill_resource(ENGINE_WINDOW_RING);
    size_t len = pack_resource(&resource, bytes);
    for (unsigned form = 0; form < 256; form++) {
        bytes[24] = (uint8_t)form;
        size_t older = form < 3; /* it had no ramp */
        assert_int_equal(unpack_resource(span_of(bytes, len - older), &other),
                         form >= 1 && form <= 3);
    }
}

/* A request for what was read, under every reading that is taken for one. */
static void use(struct bench *b)
{
    struct ask ask = {.id = 1};
    b->records[1] = (struct engine_record){0};
    b->models[0] = other;
    struct engine_acquire acquire = bench_acquire(b, &ask);
    bench_step(b, (struct engine_event){.acquire = &acquire});
    bench_end(b, (struct end){.id = 1, .tokens = 5});
    struct engine_order *order = test_calloc(1, sizeof(*order));
    order->kind = ENGINE_LIMIT;
    order->resource = &b->models[0];
    order->suite = &b->suite;
    order->limits = (struct engine_limits){
        .version = UINT64_MAX, .requests = 5, .window_ms = 1000, .concurrency = 3};
    bench_step(b, (struct engine_event){.order = order});
    order->limits.requests = 500;
    bench_step(b, (struct engine_event){.order = order});
    test_free(order);
}

static void test_whatever_is_read_can_be_used(void **state)
{
    (void)state;
    uint8_t bytes[PACK_RESOURCE_MOST], broken[PACK_RESOURCE_MOST];
    uint32_t seed = 20260101, taken = 0;
    for (int kind = ENGINE_WINDOW_LOG; kind <= ENGINE_WINDOW_RING; kind++) {
        fill_resource((enum engine_window_kind)kind);
        size_t len = pack_resource(&resource, bytes);
        for (uint32_t i = 0; i < ROUNDS / 2; i++) {
            memcpy(broken, bytes, len);
            for (uint32_t n = 1 + harness_random(&seed) % 3; n > 0; n--) {
                broken[harness_random(&seed) % len] ^= (uint8_t)(1u << harness_random(&seed) % 8);
            }
            if (unpack_resource(span_of(broken, len), &other)) {
                taken++;
                if (taken % 16 == 0) {
                    use(bench_new());
                }
            }
        }
    }
    print_message("# %d blobs with flipped bits, %u of them could be read\n", ROUNDS, taken);
    assert_true(taken > 1000 && taken < ROUNDS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_what_is_full_comes_back_as_it_was),
    cmocka_unit_test(test_the_date_is_not_kept),
    cmocka_unit_test(test_records_come_back_as_they_were),
    cmocka_unit_test(test_what_is_cut_or_longer_is_refused),
    cmocka_unit_test(test_an_older_form_knows_no_writers_and_no_waiters),
    cmocka_unit_test(test_another_form_is_refused),
    cmocka_unit_test(test_whatever_is_read_can_be_used),
};

HARNESS_MAIN(tests)
