/* How long models take: the file, what is drawn by it, and answers that take that time. */
#include <stdlib.h>

#include "base/clock.h"
#include "harness.h"
#include "sim_world.h"
#include "simulator/latency.h"

#define SONNET "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
#define HAIKU  "us.anthropic.claude-haiku-4-5-20251001-v1:0"
#define DRAWS  40000
#define BODY   SIM_BODY_OF(2000, "Say something about locks and keys, please.")

static struct latency_plan *plan_of(const char *text, uint64_t seed)
{
    struct yaml_error error = {0};
    struct latency_plan *plan = latency_plan_new(span_str(text), seed, &error);
    if (plan == NULL) {
        print_error("line %zu: %s\n", error.line, error.text);
    }
    assert_non_null(plan);
    return plan;
}

static void slips_are_refused_with_their_line(void **state)
{
    (void)state;
#define SHAPES "ttft wants constant(X), uniform(LEAST, MOST) or lognormal(MEDIAN, P95)"
    static const struct {
        const char *yaml;
        size_t line;
        const char *text;
    } rows[] = {
        {"latency: {}\n", 1, "latency is a list"},
        {"latency:\n  - model: gpt\n    ttft: constant(1s)\n", 2, "there is no model \"gpt\""},
        {"latency:\n  - model: \"*\"\n", 2, "latency needs ttft or token_rate"},
        {"latency:\n  - model: \"*\"\n    ttft: 800ms\n", 3, SHAPES},
        {"latency:\n  - ttft: gauss(1s, 2s)\n", 2, SHAPES},
        {"latency:\n  - ttft: constant(1s\n", 2, SHAPES},
        {"latency:\n  - ttft: constant()\n", 2,
         "ttft wants a duration such as 800ms or 2s, at most 1h"},
        {"latency:\n  - ttft: constant(1s, 2s)\n", 2, SHAPES},
        {"latency:\n  - ttft: uniform(1s)\n", 2, SHAPES},
        {"latency:\n  - ttft: uniform(1s, 2s, 3s)\n", 2, SHAPES},
        {"latency:\n  - ttft: constant(1s)x\n", 2, SHAPES},
        {"latency:\n  - ttft: constant(1)\n", 2,
         "ttft wants a duration such as 800ms or 2s, at most 1h"},
        {"latency:\n  - ttft: constant(2h)\n", 2,
         "ttft wants a duration such as 800ms or 2s, at most 1h"},
        {"latency:\n  - token_rate: constant(0)\n", 2,
         "token_rate wants a number of tokens from 0.1 to 100000"},
        {"latency:\n  - token_rate: constant(nan)\n", 2,
         "token_rate wants a number of tokens from 0.1 to 100000"},
        {"latency:\n  - ttft: uniform(2s, 1s)\n", 2,
         "ttft wants its first value to be positive and not above the second"},
        {"latency:\n  - ttft: lognormal(0ms, 1s)\n", 2,
         "ttft wants its first value to be positive and not above the second"},
        {"latency:\n  - tfft: constant(1s)\n", 2, "there is no key \"tfft\", did you mean ttft"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct yaml_error error = {0};
        assert_null(latency_plan_new(span_str(rows[i].yaml), 1, &error));
        assert_int_equal(error.line, rows[i].line);
        assert_string_equal(error.text, rows[i].text);
    }
}

static int ascending(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

/* What DRAWS calls of a model get, from the least to the most. */
static void draw_all(struct latency_plan *plan, const char *model, double *ttft, double *rate)
{
    for (size_t i = 0; i < DRAWS; i++) {
        struct answer answer = {.first_ms = 77, .token_ms = 11};
        latency_plan_apply(plan, span_str(model), &answer);
        ttft[i] = (double)answer.first_ms;
        rate[i] = 1000 / answer.token_ms;
    }
    qsort(ttft, DRAWS, sizeof(*ttft), ascending);
    qsort(rate, DRAWS, sizeof(*rate), ascending);
}

static void assert_near(double got, double want, double percent)
{
    if (got < want * (1 - percent / 100) || got > want * (1 + percent / 100)) {
        fail_msg("%g is not %g", got, want);
    }
}

static void draws_have_their_shape(void **state)
{
    (void)state;
    static const struct {
        const char *ttft;
        const char *rate;
        double ttft_at[3]; /* the 5th, 50th and 95th percentile */
        double rate_at[3];
    } rows[] = {
        {"constant(500ms)", "constant(80)", {500, 500, 500}, {80, 80, 80}},
        {"uniform(1s, 3s)", "uniform(20, 120)", {1100, 2000, 2900}, {25, 70, 115}},
        {"lognormal(800ms, 3200ms)", "lognormal(50, 75)", {200, 800, 3200}, {33.33, 50, 75}},
        {"lognormal( 800ms , 800ms )", "uniform(7, 7)", {800, 800, 800}, {7, 7, 7}},
        {"constant(0ms)", "constant(100%)", {0, 0, 0}, {1, 1, 1}},
    };
    static double ttft[DRAWS], rate[DRAWS];
    static const size_t ranks[] = {DRAWS / 20, DRAWS / 2, DRAWS - DRAWS / 20};
    struct arena *arena = arena_new(1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct latency_plan *plan =
            plan_of(arena_printf(arena, "latency:\n- ttft: %s\n  token_rate: %s\n", rows[i].ttft,
                                 rows[i].rate),
                    3);
        draw_all(plan, SONNET, ttft, rate);
        for (size_t k = 0; k < ARRAY_LEN(ranks); k++) {
            assert_near(ttft[ranks[k]], rows[i].ttft_at[k], 6);
            assert_near(rate[ranks[k]], rows[i].rate_at[k], 6);
        }
        latency_plan_free(plan);
    }
    arena_free(arena);
}

static void draws_stay_in_bounds(void **state)
{
    (void)state;
    static double ttft[DRAWS], rate[DRAWS];
    struct latency_plan *plan =
        plan_of("latency: [{ttft: 'lognormal(1ms, 1h)', token_rate: 'lognormal(0.1, 100000)'}]", 9);
    draw_all(plan, SONNET, ttft, rate);
    assert_true(ttft[0] >= 0 && ttft[DRAWS - 1] == 3600000);
    assert_true(rate[0] > 0.099 && rate[DRAWS - 1] < 100001);
    latency_plan_free(plan);
    plan = plan_of("latency: [{ttft: 'uniform(10ms, 20ms)'}]", 9);
    draw_all(plan, SONNET, ttft, rate);
    assert_true(ttft[0] >= 10 && ttft[DRAWS - 1] <= 20);
    latency_plan_free(plan);
}

static void the_first_rule_that_fits_counts(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        uint64_t first_ms;
        double token_ms;
    } rows[] = {
        {HAIKU, 5, 11},
        {SONNET, 77, 20},
        {"us.anthropic.claude-sonnet-4-6", 9, 10},
    };
    struct latency_plan *plan = plan_of("latency:\n"
                                        "- {model: " HAIKU ", ttft: constant(5ms)}\n"
                                        "- {model: " SONNET ", token_rate: constant(50)}\n"
                                        "- {ttft: constant(9ms), token_rate: constant(100)}\n",
                                        1);
    assert_int_equal(latency_plan_count(plan), 3);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct answer answer = {.first_ms = 77, .token_ms = 11};
        latency_plan_apply(plan, span_str(rows[i].model), &answer);
        assert_int_equal(answer.first_ms, rows[i].first_ms);
        assert_near(answer.token_ms, rows[i].token_ms, 0.001);
    }
    latency_plan_free(plan);
}

static void the_same_seed_draws_the_same(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {1, 1, 2};
    uint64_t drawn[3][20];
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        struct latency_plan *plan = plan_of("latency: [{ttft: 'uniform(0ms, 1h)'}]", seeds[i]);
        for (size_t k = 0; k < 20; k++) {
            struct answer answer = {0};
            latency_plan_apply(plan, SPAN(SONNET), &answer);
            drawn[i][k] = answer.first_ms;
            assert_true(k == 0 || drawn[i][k] != drawn[i][k - 1]);
        }
        latency_plan_free(plan);
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof(drawn[0]));
    assert_memory_not_equal(drawn[0], drawn[2], sizeof(drawn[0]));
}

/* How long the headers and the whole of a stream took. */
static void time_stream(struct sim_world *w, uint64_t *first_ms, uint64_t *whole_ms) PARKS
{
    struct http *http = NULL;
    struct span chunk;
    uint64_t began_ms = clock_mono_ms();
    assert_status_ok(sim_open(w, SIM_STREAM, BODY, &http));
    *first_ms = clock_mono_ms() - began_ms;
    do {
        assert_status_ok(http_read(http, &chunk));
    } while (chunk.len > 0);
    *whole_ms = clock_mono_ms() - began_ms;
    http_close(&http);
}

task_test_real(answers_take_the_time_that_was_drawn)
{
    struct sim_world w;
    uint64_t first_ms, whole_ms;
    sim_world_open(&w, &(struct sim_options){.ttft_ms = 60000, .token_rate = 1});
    struct sim_reply reply =
        sim_ask(&w, "PUT", "/simulator/latency",
                "latency:\n- {ttft: constant(300ms), token_rate: constant(100000)}\n", NULL);
    assert_span(reply.body, SPAN("{\"latency\":1}\n"));
    time_stream(&w, &first_ms, &whole_ms);
    assert_in_range(first_ms, 290, 6000);
    assert_in_range(whole_ms, first_ms, 10000);

    reply = sim_ask(&w, "PUT", "/simulator/latency",
                    "latency:\n- {ttft: constant(1ms), token_rate: constant(200)}\n", NULL);
    assert_int_equal(reply.code, 200);
    time_stream(&w, &first_ms, &whole_ms);
    assert_in_range(first_ms, 0, 250);
    assert_in_range(whole_ms, 300, 60000); /* for a hundred tokens or so */

    reply = sim_ask(&w, "PUT", "/simulator/latency", "latency:\n- {}\n", NULL);
    assert_int_equal(reply.code, 400);
    assert_true(span_starts(sim_ask(&w, "GET", "/simulator/latency", "", NULL).body,
                            SPAN("latency:\n- {ttft: constant(1ms)")));
    sim_world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slips_are_refused_with_their_line),
    cmocka_unit_test(draws_have_their_shape),
    cmocka_unit_test(draws_stay_in_bounds),
    cmocka_unit_test(the_first_rule_that_fits_counts),
    cmocka_unit_test(the_same_seed_draws_the_same),
    cmocka_unit_test(answers_take_the_time_that_was_drawn),
};
HARNESS_MAIN(tests)
