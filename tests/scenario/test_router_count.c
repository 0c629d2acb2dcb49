/* CountTokens, where it is wanted: the admission rests on the provider's own count. */
#include "generation.h"
#include "small_suite.h"

#define ARENA_MOST (16u << 20)

/* What two ways of counting do not agree about. */
#define ODD                                                                                        \
    "Bundesverfassungsgerichtsentscheidungen {\"a\":[1,2,3]} 3.14159265358979 xqzvkjw "            \
    "\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c ======== ABCDEFGHIJKLMNOP"

static const Router__TokenUsage *ask(const struct small_suite *s, struct generation *g,
                                     struct small_account *account) PARKS
{
    small_suite_begin(s, account);
    *g = (struct generation){.router = s->to_router, .prompt = ODD};
    generation_run(g);
    assert_status_ok(g->status);
    assert_int_equal(g->metadata->n_attempts, 1);
    return g->metadata->estimated;
}

static size_t counts_of(const struct small_suite *s, struct arena *arena)
{
    struct judge_log log = small_suite_arrivals(s, arena);
    size_t n = 0;
    for (size_t i = 0; i < log.n; i++) {
        n += span_eq(log.calls[i].operation, SPAN("count"));
    }
    return n;
}

static bool run(const char *flag, size_t calls, size_t *counts) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_MOST);
    struct small_suite s;
    bool exact = true;
    small_suite_start(&s, &(struct small_suite_options){.flags[SUITE_ROUTER] = flag});
    for (size_t i = 0; i < calls; i++) {
        struct generation g;
        struct small_account account;
        uint64_t estimated = ask(&s, &g, &account)->input_tokens;
        exact &= estimated == g.metadata->usage->input_tokens;
        generation_clear(&g);
        small_suite_judge(&s, &account);
    }
    *counts = counts_of(&s, arena);
    small_suite_stop(&s);
    return exact;
}

task_test_real(a_prompt_is_counted_by_the_provider_where_that_is_wanted)
{
    size_t counts;
    assert_false(run("", 1, &counts));
    assert_int_equal(counts, 0);
    assert_true(run("--count-tokens=true", 3, &counts));
    assert_int_equal(counts, 3);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_prompt_is_counted_by_the_provider_where_that_is_wanted),
};

HARNESS_MAIN(tests)
