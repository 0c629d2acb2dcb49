/* Costs: exact, rounded up, and never small by overflow. */
#include "codec/price.h"
#include "harness.h"

static void test_costs_are_exact_and_rounded_up(void **state)
{
    (void)state;
    static const struct price sonnet = {3300000, 16500000, 4125000, 330000};
    static const struct {
        struct price_usage usage;
        uint64_t want;
    } cases[] = {
        {{0, 0, 0, 0}, 0},
        {{1000000, 0, 0, 0}, 3300000},
        {{0, 1000000, 0, 0}, 16500000},
        {{0, 0, 1000000, 0}, 4125000},
        {{0, 0, 0, 1000000}, 330000},
        {{2000, 600, 0, 0}, 6600 + 9900},
        {{2000, 600, 1000, 5000}, 6600 + 9900 + 4125 + 1650},
        {{0, 0, 0, 1}, 1},          /* 0.33 */
        {{10, 0, 0, 0}, 33},        /* nothing to round */
        {{1, 1, 1, 1}, 25},         /* 24.255: rounded once, not four times */
        {{0, 0, 0, 100001}, 33001}, /* 33000.33 */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(price_cost(&sonnet, &cases[i].usage), cases[i].want);
    }
}

static void test_huge_counts_do_not_become_cheap(void **state)
{
    (void)state;
    static const struct price dear = {UINT64_MAX, 2, 0, 0};
    static const struct price_usage all = {UINT64_MAX, 0, 0, 0};
    static const struct price_usage just_fits = {1000000, 0, 0, 0};
    static const struct price_usage one_more = {1000000, 1, 0, 0};
    assert_true(price_cost(&dear, &all) == UINT64_MAX);
    assert_true(price_cost(&dear, &just_fits) == UINT64_MAX);
    assert_true(price_cost(&dear, &one_more) == UINT64_MAX);
}

static void test_a_price_holds_from_its_second_to_the_next_ones(void **state)
{
    (void)state;
    static const struct price_list list = {
        {{100, {.input = 1}}, {200, {.input = 2}}, {300, {.input = 3}}, {400, {.input = 4}}}, 3};
    static const struct {
        uint64_t wall_s, want;
    } cases[] = {{0, 1},   {100, 1}, {199, 1}, {200, 2},
                 {299, 2}, {300, 3}, {400, 3}, {UINT64_MAX, 3}}; /* the fourth row is not there */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(price_at(&list, cases[i].wall_s)->input, cases[i].want);
    }
    static const struct price_list none;
    assert_int_equal(price_at(&none, UINT64_MAX)->input, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_costs_are_exact_and_rounded_up),
    cmocka_unit_test(test_huge_counts_do_not_become_cheap),
    cmocka_unit_test(test_a_price_holds_from_its_second_to_the_next_ones),
};

HARNESS_MAIN(tests)
