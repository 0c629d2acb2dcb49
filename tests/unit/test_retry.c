/* Waiting before another try. */
#include "codec/retry.h"
#include "harness.h"

static void test_backoff_doubles_up_to_the_cap(void **state)
{
    (void)state;
    static const uint64_t limits[] = {5000, 10000, 20000, 40000, 40000, 40000};
    for (unsigned n = 0; n < ARRAY_LEN(limits); n++) {
        assert_int_equal(retry_backoff_ms(n, 5000, 40000, 0), 0);
        assert_int_equal(retry_backoff_ms(n, 5000, 40000, 1u << 31), limits[n] / 2);
        assert_int_equal(retry_backoff_ms(n, 5000, 40000, UINT32_MAX), limits[n] - 1);
    }
}

static void test_backoff_is_spread_evenly(void **state)
{
    (void)state;
    uint32_t random = 7;
    size_t quarters[4] = {0};
    for (int i = 0; i < 4000; i++) {
        uint32_t high = harness_random(&random) << 16;
        quarters[retry_backoff_ms(2, 5000, 40000, high | harness_random(&random) % 65536) / 5000]++;
    }
    for (size_t i = 0; i < ARRAY_LEN(quarters); i++) {
        assert_in_range(quarters[i], 850, 1150);
    }
}

static void test_backoff_at_the_edges(void **state)
{
    (void)state;
    assert_int_equal(retry_backoff_ms(UINT32_MAX, 5000, 40000, UINT32_MAX), 39999);
    assert_int_equal(retry_backoff_ms(63, 1, UINT64_MAX, 1u << 31), UINT64_C(1) << 62);
    assert_int_equal(retry_backoff_ms(64, 1, UINT64_MAX, 1u << 31), UINT64_MAX / 2);
    assert_int_equal(retry_backoff_ms(0, 5000, 100, UINT32_MAX), 99);
    assert_int_equal(retry_backoff_ms(3, 0, 40000, UINT32_MAX), 0);
    assert_int_equal(retry_backoff_ms(3, 5000, 0, UINT32_MAX), 0);
}

static void test_headers_that_ask_for_time(void **state)
{
    (void)state;
    static const struct {
        const char *seconds, *amz_ms;
        uint32_t want;
    } cases[] = {
        {NULL, NULL, 0},
        {"2", NULL, 2000},
        {" 2 ", "", 2000},
        {NULL, "1500", 1500},
        {"2", "1500", 1500},
        {"2", "soon", 2000},
        {"2", "0", 0},
        {"0", NULL, 0},
        {"-1", NULL, 0},
        {"1.5", NULL, 0},
        {"Fri, 31 Dec 1999 23:59:59 GMT", NULL, 0},
        {"4294967", NULL, 4294967000},
        {"4294968", NULL, UINT32_MAX},
        {"18446744073709551615", NULL, UINT32_MAX},
        {"18446744073709551616", NULL, 0},
        {NULL, "4294967296", UINT32_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(retry_asked_ms(span_str(cases[i].seconds), span_str(cases[i].amz_ms)),
                         cases[i].want);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_backoff_doubles_up_to_the_cap),
    cmocka_unit_test(test_backoff_is_spread_evenly),
    cmocka_unit_test(test_backoff_at_the_edges),
    cmocka_unit_test(test_headers_that_ask_for_time),
};

HARNESS_MAIN(tests)
