/* The candidates of a call, what follows a failed attempt, and the account of it all. */
#include <string.h>

#include "router/router.h"
#include "targets.h"
#include "task_test.h"

#define ARENA_SIZE (8u << 20)

/* --- a catalogue ------------------------------------------------------------------------------ */

#define MODEL(its_name, its_tier, its_window, ...)                                                 \
    {                                                                                              \
        .name = its_name, .model_id = "id." its_name, .tier = its_tier,                            \
        .context_window = its_window, .max_output = 8192, .tokenizer_per_mille = 1000,             \
        .prices = {{{0, {1000000, 2000000, 3000000, 4000000}}}, 1}, __VA_ARGS__                    \
    }
#define IN_ONE .regions = {"us-east-2"}, .n_regions = 1

static const struct catalogue_model models[] = {
    MODEL("first", 1, 200000, IN_ONE),
    MODEL("retired", 2, 200000, IN_ONE, .lifecycle = CATALOGUE_GONE),
    MODEL("old", 3, 200000, IN_ONE, .lifecycle = CATALOGUE_LEGACY, .gone_from_s = 4102444800),
    MODEL("ended", 4, 200000, IN_ONE, .lifecycle = CATALOGUE_LEGACY, .gone_from_s = 1000000),
    MODEL("narrow", 5, 6300, IN_ONE),
    MODEL("last", 6, 200000, IN_ONE),
    MODEL("extra", 0, 200000, IN_ONE),
};

struct fixture {
    struct router router;
    struct router_config config;
    struct catalogue catalogue;
    struct arena *arena;
    Router__Generation *generation;
    struct plan *plan;
};

static void start(struct fixture *f)
{
    *f = (struct fixture){
        .config = {.bedrock_region = "",
                   .max_attempts = 10,
                   .max_content_tokens = 6192,
                   .replay = "next",
                   .backoff = 5000,
                   .backoff_most = 40000},
        .arena = arena_new(ARENA_SIZE),
    };
    f->catalogue = targets_catalogue(models, ARRAY_LEN(models), f->arena);
    f->router =
        (struct router){.config = &f->config, .catalogue = &f->catalogue, .loop = task_loop()};
    f->generation = ARENA_NEW(f->arena, Router__Generation);
    router__generation__init(f->generation);
    f->plan = ARENA_NEW(f->arena, struct plan);
}

static void stop(struct fixture *f)
{
    plan_drop(&f->plan);
    assert_int_equal(f->catalogue.references, 1);
    arena_free(f->arena);
}

static struct status make(struct fixture *f)
{
    return plan_make(&f->router, f->generation, "acme", f->arena, f->plan);
}

/* --- candidates ------------------------------------------------------------------------------- */

static const char *candidates_of(struct fixture *f)
{
    const char *names = "";
    for (size_t i = 0; i < f->plan->n_candidates; i++) {
        names = arena_printf(f->arena, "%s%s%s", names, i > 0 ? " " : "",
                             f->plan->candidates[i].model->name);
    }
    return names;
}

static const char *skipped_of(struct fixture *f)
{
    const char *rows = "";
    for (size_t i = 0; i < f->plan->n_skipped; i++) {
        const Router__SkippedModel *row = f->plan->skipped[i];
        rows = arena_printf(f->arena, "%s%s%s:%u:%s", rows, i > 0 ? " " : "", row->model, row->tier,
                            row->reasons[0]);
    }
    return rows;
}

#define GONE   "models/retired:2:TIER_GONE models/ended:4:TIER_GONE"
#define NARROW "models/narrow:5:CONTEXT_WINDOW_EXCEEDED"

task_test(candidates_are_what_was_asked_for_and_fits)
{
    static const struct {
        const char *models[3];
        uint32_t tiers[3];
        uint32_t content;
        enum reason reason;
        const char *candidates;
        const char *skipped;
    } cases[] = {
        {{NULL}, {0}, 0, REASON_NONE, "first old narrow last", GONE},
        {{NULL}, {0}, 8000, REASON_NONE, "first old last", GONE " " NARROW},
        {{NULL}, {6, 1}, 0, REASON_NONE, "first last", ""}, /* the chain's order */
        {{NULL}, {2, 6}, 0, REASON_NONE, "last", "models/retired:2:TIER_GONE"},
        {{"models/last", "first"}, {0}, 0, REASON_NONE, "last first", ""},
        {{"extra"}, {0}, 0, REASON_NONE, "extra", ""},
        {{"ended", "narrow"}, {0}, 0, REASON_NONE, "narrow", "models/ended:4:TIER_GONE"},

        {{"narrow"}, {0}, 8000, REASON_CONTEXT_WINDOW_EXCEEDED, "", NARROW},
        {{"ended", "narrow"},
         {0},
         8000,
         REASON_CONTEXT_WINDOW_EXCEEDED,
         "",
         "models/ended:4:TIER_GONE " NARROW},
        {{"retired", "ended"}, {0}, 0, REASON_NO_TIER_AVAILABLE, "", GONE},
        {{NULL}, {2, 4}, 0, REASON_NO_TIER_AVAILABLE, "", GONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        char *names[3];
        uint32_t tiers[3];
        start(&f);
        f.generation->models = names;
        f.generation->tiers = tiers;
        f.generation->max_content_tokens = cases[i].content;
        while (f.generation->n_models < 3 && cases[i].models[f.generation->n_models] != NULL) {
            names[f.generation->n_models] = (char *)cases[i].models[f.generation->n_models];
            f.generation->n_models++;
        }
        while (f.generation->n_tiers < 3 && cases[i].tiers[f.generation->n_tiers] != 0) {
            tiers[f.generation->n_tiers] = cases[i].tiers[f.generation->n_tiers];
            f.generation->n_tiers++;
        }
        assert_status(make(&f), cases[i].reason);
        assert_string_equal(candidates_of(&f), cases[i].candidates);
        assert_string_equal(skipped_of(&f), cases[i].skipped);
        assert_int_equal(f.plan->n_unfit, f.plan->n_skipped);
        stop(&f);
    }
}

/* --- regions ---------------------------------------------------------------------------------- */

static const struct catalogue_model far_and_wide[] = {
    MODEL("a", 1, 200000, .regions = {"us-east-2", "us-west-2"}, .n_regions = 2),
    MODEL("b", 2, 200000, .regions = {"us-west-2", "us-east-2", "eu-west-1"}, .n_regions = 3),
};

static const char *resources_of(struct fixture *f)
{
    const char *names = "";
    for (size_t i = 0; i < f->plan->n_candidates; i++) {
        const struct candidate *c = &f->plan->candidates[i];
        names = arena_printf(f->arena, "%s%s%s", names, i > 0 ? " " : "", c->resource);
        assert_string_equal(c->resource,
                            arena_printf(f->arena, "%s@%s", c->model->name, c->region));
        assert_int_equal(c->tokens.max_output, 6192);
    }
    return names;
}

task_test(a_tier_is_tried_in_all_its_regions_before_the_next)
{
    static const struct {
        const char *preferred;
        const char *want;
    } cases[] = {
        {"", "a@us-east-2 a@us-west-2 b@us-west-2 b@us-east-2 b@eu-west-1"},
        {"us-east-2", "a@us-east-2 a@us-west-2 b@us-east-2 b@us-west-2 b@eu-west-1"},
        {"us-west-2", "a@us-west-2 a@us-east-2 b@us-west-2 b@us-east-2 b@eu-west-1"},
        {"eu-west-1", "a@us-east-2 a@us-west-2 b@eu-west-1 b@us-west-2 b@us-east-2"},
        {"mars-1", "a@us-east-2 a@us-west-2 b@us-west-2 b@us-east-2 b@eu-west-1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        start(&f);
        f.catalogue = targets_catalogue(far_and_wide, ARRAY_LEN(far_and_wide), f.arena);
        f.config.bedrock_region = cases[i].preferred;
        assert_status_ok(make(&f));
        assert_string_equal(resources_of(&f), cases[i].want);
        stop(&f);
    }
}

/* What a region has of its own is what is sent there, and its end is its own. */
task_test(a_region_has_its_own_terms)
{
    struct fixture f;
    start(&f);
    f.catalogue = targets_catalogue(far_and_wide, ARRAY_LEN(far_and_wide), f.arena);
    struct catalogue_target *targets = (struct catalogue_target *)f.catalogue.targets;
    targets[0].model.gone_from_s = 1000000;
    targets[1].model.model_id = "id.elsewhere";
    assert_status_ok(make(&f));
    assert_string_equal(f.plan->candidates[0].resource, "a@us-west-2");
    assert_string_equal(f.plan->candidates[0].model->model_id, "id.elsewhere");
    assert_int_equal(f.plan->n_skipped, 1);
    assert_string_equal(f.plan->skipped[0]->model, "models/a");
    assert_string_equal(f.plan->skipped[0]->region, "us-east-2");
    assert_string_equal(f.plan->skipped[0]->reasons[0], "TIER_GONE");
    stop(&f);
}

task_test(more_candidates_than_the_limiter_takes_are_left_away)
{
    static const char *const regions[] = {"r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"};
    struct catalogue_model *many;
    struct fixture f;
    start(&f);
    many = ARENA_ARRAY(f.arena, struct catalogue_model, 5);
    for (size_t i = 0; i < 5; i++) {
        many[i] = far_and_wide[0];
        many[i].name = arena_printf(f.arena, "m%zu", i);
        many[i].tier = (uint32_t)i + 1;
        many[i].n_regions = ARRAY_LEN(regions);
        memcpy(many[i].regions, regions, sizeof(regions));
    }
    f.catalogue = targets_catalogue(many, 5, f.arena);
    assert_status_ok(make(&f));
    assert_int_equal(f.plan->n_candidates, ROUTER_CANDIDATES_MOST);
    assert_string_equal(f.plan->candidates[ROUTER_CANDIDATES_MOST - 1].resource, "m3@r8");
    stop(&f);
}

task_test(a_plan_has_bounds_and_an_id)
{
    static const struct {
        uint32_t asked;
        size_t most;
    } cases[] = {{0, 10}, {3, 3}, {10, 10}, {99, 10}};
    uint8_t id[ROUTER_ID_SIZE] = "0123456789abcde";
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        start(&f);
        f.generation->max_attempts = cases[i].asked;
        assert_status_ok(make(&f));
        assert_int_equal(f.plan->attempts_most, cases[i].most);
        assert_string_equal(f.plan->tenant_pool, "tenant:acme");
        assert_memory_not_equal(f.plan->call_id, (uint8_t[ROUTER_ID_SIZE]){0}, ROUTER_ID_SIZE);
        plan_drop(&f.plan);
        f.generation->call_id = (ProtobufCBinaryData){ROUTER_ID_SIZE, id};
        assert_status_ok(make(&f));
        assert_memory_equal(f.plan->call_id, id, ROUTER_ID_SIZE);
        stop(&f);
    }
}

/* --- what follows ----------------------------------------------------------------------------- */

static struct attempt *fail_with(struct fixture *f, size_t candidate, enum reason reason)
{
    struct attempt *attempt = &f->plan->attempts[f->plan->n_attempts++];
    *attempt = (struct attempt){.candidate = &f->plan->candidates[candidate], .reason = reason};
    return attempt;
}

/* plan_goes_on in a task of its own, so that the clock can be moved meanwhile. */
struct step {
    struct fixture *f;
    struct status s;
    bool goes_on;
    bool ended;
    uint64_t ended_ms;
    struct task *task;
};

static void step_run(void *arg)
{
    struct step *step = arg;
    step->goes_on = plan_goes_on(&step->f->router, step->f->plan, &step->s);
    step->ended_ms = loop_now_ms(task_loop());
    step->ended = true;
}

static void step_begin(struct step *step, struct fixture *f, enum reason reason, uint64_t left_ms)
{
    struct task_options options = {.name = "step",
                                   .deadline_ms = loop_now_ms(task_loop()) + left_ms};
    *step = (struct step){.f = f, .s = status_of(reason, "so it went")};
    step->task = task_spawn(task_loop(), &options, step_run, step);
    task_test_advance(0);
}

task_test(the_class_of_a_reason_says_what_follows)
{
    size_t tried = 0;
    for (enum reason reason = 1; reason < REASON_COUNT; reason++) {
        struct fixture f;
        start(&f);
        assert_status_ok(make(&f));
        fail_with(&f, 1, reason);
        struct status s = status_of(reason, "so it went");
        bool goes_on = plan_goes_on(&f.router, f.plan, &s);
        enum reason_class class = reason_class(reason);
        bool next = class == CLASS_TRY_NEXT_TIER || class == CLASS_SKIP_TIER;
        bool expired = reason == REASON_GRANT_EXPIRED;
        assert_int_equal(goes_on, next || expired);
        assert_int_equal(f.plan->n_attempts, expired ? 0 : 1);
        assert_int_equal(f.plan->candidates[1].out, next ? reason : REASON_NONE);
        assert_int_equal(f.plan->candidates[1].out_for_good, class == CLASS_SKIP_TIER);
        assert_int_equal(f.plan->candidates[0].out, REASON_NONE);
        assert_status(s, reason);
        assert_string_equal(status_text(s), "so it went");
        tried += next;
        stop(&f);
    }
    assert_true(tried >= 15);
}

task_test(the_next_tier_waits_as_long_as_is_configured)
{
    struct fixture f;
    struct step step;
    start(&f);
    f.config.fallback_wait = 5000;
    assert_status_ok(make(&f));
    fail_with(&f, 0, REASON_TIER_THROTTLED);
    step_begin(&step, &f, REASON_TIER_THROTTLED, 60000);
    task_test_advance(4999);
    assert_false(step.ended);
    task_test_advance(1);
    assert_true(step.ended && step.goes_on);
    stop(&f);
}

task_test(the_next_region_of_a_tier_is_asked_at_once)
{
    struct fixture f;
    struct step step;
    start(&f);
    f.catalogue = targets_catalogue(far_and_wide, ARRAY_LEN(far_and_wide), f.arena);
    f.config.fallback_wait = 5000;
    assert_status_ok(make(&f));
    fail_with(&f, 0, REASON_TIER_THROTTLED);
    step_begin(&step, &f, REASON_TIER_THROTTLED, 60000);
    assert_true(step.ended && step.goes_on);
    fail_with(&f, 1, REASON_TIER_UNAVAILABLE);
    step_begin(&step, &f, REASON_TIER_UNAVAILABLE, 60000);
    assert_false(step.ended); /* the next tier is another matter */
    task_test_advance(5000);
    assert_true(step.ended && step.goes_on);
    assert_int_equal(f.plan->candidates[1].out, REASON_TIER_UNAVAILABLE);
    assert_int_equal(f.plan->candidates[2].out, REASON_NONE);
    stop(&f);
}

/* 5, 10, 20, 40 s at most, with full jitter; then everything that may come back does. */
task_test(a_chain_that_failed_is_tried_again_after_a_backoff)
{
    static const uint64_t most[] = {5000, 10000, 20000, 40000, 40000};
    struct fixture f;
    uint64_t waited = 0;
    start(&f);
    f.generation->models = (char *[]){"first", "last", "old"};
    f.generation->n_models = 3;
    assert_status_ok(make(&f));
    fail_with(&f, 2, REASON_TIER_GONE);
    struct status gone = status_of(REASON_TIER_GONE, NULL);
    assert_true(plan_goes_on(&f.router, f.plan, &gone));
    for (size_t round = 0; round < ARRAY_LEN(most); round++) {
        struct step step;
        f.plan->n_attempts = 0;
        fail_with(&f, 0, REASON_TIER_FAILED);
        step_begin(&step, &f, REASON_TIER_FAILED, 3600000);
        assert_true(step.ended && step.goes_on); /* the other one is left */
        fail_with(&f, 1, REASON_TIER_FAILED);
        uint64_t begin = loop_now_ms(task_loop());
        step_begin(&step, &f, REASON_TIER_FAILED, 3600000);
        while (!step.ended) {
            task_test_advance(50);
        }
        assert_true(step.goes_on);
        assert_in_range(step.ended_ms - begin, 0, most[round] + 50);
        waited += step.ended_ms - begin;
        assert_int_equal(f.plan->rounds, round + 1);
        assert_int_equal(f.plan->candidates[0].out, REASON_NONE);
        assert_int_equal(f.plan->candidates[1].out, REASON_NONE);
        assert_int_equal(f.plan->candidates[2].out, REASON_TIER_GONE);
    }
    assert_true(waited > 500); /* of 115 s at most */
    stop(&f);
}

/* What is known to the limiter is not guessed at. */
task_test(a_chain_that_was_throttled_is_asked_for_at_once)
{
    struct fixture f;
    struct step step;
    start(&f);
    f.generation->models = (char *[]){"first", "last"};
    f.generation->n_models = 2;
    assert_status_ok(make(&f));
    fail_with(&f, 0, REASON_TIER_THROTTLED);
    step_begin(&step, &f, REASON_TIER_THROTTLED, 2000);
    assert_true(step.ended && step.goes_on);
    fail_with(&f, 1, REASON_TIER_THROTTLED_DAILY);
    step_begin(&step, &f, REASON_TIER_THROTTLED_DAILY, 2000);
    task_test_advance(0);
    assert_true(step.ended && step.goes_on);
    assert_int_equal(f.plan->rounds, 0);
    assert_int_equal(f.plan->candidates[0].out, REASON_NONE);
    assert_int_equal(f.plan->candidates[1].out, REASON_NONE);
    stop(&f);
}

task_test(a_deadline_nearer_than_the_backoff_ends_the_call)
{
    struct fixture f;
    struct step step;
    start(&f);
    f.config.backoff = f.config.backoff_most = 600000;
    f.generation->models = (char *[]){"first"};
    f.generation->n_models = 1;
    assert_status_ok(make(&f));
    fail_with(&f, 0, REASON_TIER_UNAVAILABLE);
    step_begin(&step, &f, REASON_TIER_UNAVAILABLE, 1);
    assert_true(step.ended);
    assert_false(step.goes_on);
    assert_status(step.s, REASON_NO_TIER_AVAILABLE);
    assert_int_equal(step.s.code, STATUS_UNAVAILABLE);
    assert_true(step.s.retry_after_ms > 0);
    assert_non_null(strstr(step.s.detail, "so it went"));
    stop(&f);
}

task_test(attempts_are_bounded)
{
    struct fixture f;
    start(&f);
    f.config.max_attempts = 2;
    assert_status_ok(make(&f));
    struct status s = status_of(REASON_TIER_FAILED, "so it went");
    fail_with(&f, 0, REASON_TIER_FAILED);
    assert_true(plan_goes_on(&f.router, f.plan, &s));
    fail_with(&f, 1, REASON_TIER_FAILED);
    assert_false(plan_goes_on(&f.router, f.plan, &s));
    assert_status(s, REASON_ATTEMPTS_USED_UP);
    assert_string_equal(s.detail, "2 requests failed; the last one: so it went");
    stop(&f);
}

task_test(when_every_model_is_out_for_good_nothing_is_waited_for)
{
    struct fixture f;
    start(&f);
    f.generation->models = (char *[]){"first", "last"};
    f.generation->n_models = 2;
    assert_status_ok(make(&f));
    struct status s = status_of(REASON_TIER_GONE, NULL);
    fail_with(&f, 0, REASON_TIER_GONE);
    assert_true(plan_goes_on(&f.router, f.plan, &s));
    fail_with(&f, 1, REASON_TIER_REFUSED);
    s = status_of(REASON_TIER_REFUSED, NULL);
    assert_false(plan_goes_on(&f.router, f.plan, &s));
    assert_status(s, REASON_NO_TIER_AVAILABLE);
    assert_int_equal(s.retry_after_ms, 0);
    stop(&f);
}

/* However a call waits, its caller may leave; and then that is how it ended. */
task_test(a_caller_who_leaves_is_not_kept)
{
    static const struct {
        enum reason reason;
        uint64_t fallback_wait;
        size_t n_models;
        bool cancel_first;
    } cases[] = {
        {REASON_TIER_FAILED, 5000, 2, false}, /* between tiers */
        {REASON_TIER_FAILED, 0, 1, false},    /* between rounds */
        {REASON_TIER_FAILED, 0, 2, true},
        {REASON_GRANT_EXPIRED, 0, 2, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct step step = {.f = &f, .s = status_of(cases[i].reason, NULL)};
        start(&f);
        f.config.backoff = f.config.backoff_most = 600000;
        f.config.fallback_wait = cases[i].fallback_wait;
        f.generation->models = (char *[]){"first", "last"};
        f.generation->n_models = cases[i].n_models;
        assert_status_ok(make(&f));
        fail_with(&f, 0, cases[i].reason);
        step.task = task_spawn(task_loop(), NULL, step_run, &step);
        if (!cases[i].cancel_first) {
            task_test_advance(0);
            assert_false(step.ended);
        }
        task_cancel(step.task, status_of(REASON_CALL_CANCELLED, NULL));
        task_test_advance(0);
        assert_true(step.ended);
        assert_false(step.goes_on);
        assert_status(step.s, REASON_CALL_CANCELLED);
        stop(&f);
    }
}

/* --- the account ------------------------------------------------------------------------------ */

task_test(the_account_sums_attempts_and_names_the_answer)
{
    struct fixture f;
    start(&f);
    f.generation->baseline_input_tokens = 77;
    assert_status_ok(make(&f));
    struct attempt *broken = fail_with(&f, 0, REASON_TIER_STREAM_BROKEN);
    broken->number = 1;
    broken->usage = (struct price_usage){.input = 10, .output = 5};
    broken->usage_partial = true;
    struct attempt *good = fail_with(&f, 1, REASON_NONE);
    good->number = 2;
    good->usage =
        (struct price_usage){.input = 100, .output = 50, .cache_write = 20, .cache_read = 30};
    good->thinking_tokens = 7;
    good->metered_output = 48;
    good->simulated = true;
    good->http_status = 200;
    f.plan->queue_ms = 300;
    f.plan->first_token_ms = f.plan->begin_ms + 1000;
    const Router__CallMetadata *m = plan_metadata(f.plan, f.arena, f.plan->begin_ms + 2000);

    assert_string_equal(m->model, "models/old");
    assert_string_equal(m->model_id, "id.old");
    assert_int_equal(m->tier, 3);
    assert_string_equal(m->region, "us-east-2");
    assert_int_equal(m->n_attempts, 2);
    assert_string_equal(m->attempts[0]->reason, "TIER_STREAM_BROKEN");
    assert_true(m->attempts[0]->usage_partial);
    assert_string_equal(m->attempts[1]->reason, "");
    assert_int_equal(m->usage->input_tokens, 110);
    assert_int_equal(m->usage->output_tokens, 55);
    assert_int_equal(m->usage->cache_write_tokens, 20);
    assert_int_equal(m->usage->cache_read_tokens, 30);
    assert_int_equal(m->usage->thinking_tokens, 7);
    assert_int_equal(m->usage->metered_output_tokens, 48);
    assert_int_equal(m->attempts[0]->cost_micro_usd, 10 + 2 * 5);
    assert_int_equal(m->cost_micro_usd, 20 + 100 + 2 * 50 + 3 * 20 + 4 * 30);
    assert_int_equal(m->queue_ms, 300);
    assert_int_equal(m->ttft_ms, 700);
    assert_int_equal(m->total_ms, 2000);
    assert_int_equal(m->baseline_input_tokens, 77);
    assert_true(m->simulated);
    assert_int_equal(m->n_warnings, 1);
    assert_string_equal(m->warnings[0], "old is a legacy model; it ends on 2100-01-01");
    assert_int_equal(m->estimated->output_tokens, 6192);
    assert_int_equal(m->n_skipped, 2);
    stop(&f);
}

task_test(a_call_costs_what_was_in_force_when_it_began)
{
    struct fixture f;
    start(&f);
    assert_status_ok(make(&f));
    struct attempt *attempt = fail_with(&f, 0, REASON_NONE);
    struct catalogue_model model = *attempt->candidate->model;
    struct candidate candidate = *attempt->candidate;
    model.prices = (struct price_list){
        {{0, {.output = 1000000}}, {2000, {.output = 5000000}}, {3000, {.output = 7000000}}}, 3};
    candidate.model = &model;
    attempt->candidate = &candidate;
    attempt->usage.output = 10;
    static const struct {
        uint64_t begin_wall_ms, cost;
    } cases[] = {{0, 10}, {1999999, 10}, {2000000, 50}, {2999999, 50}, {3000000, 70}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f.plan->begin_wall_ms = cases[i].begin_wall_ms;
        const Router__CallMetadata *m = plan_metadata(f.plan, f.arena, f.plan->begin_ms);
        assert_int_equal(m->attempts[0]->cost_micro_usd, cases[i].cost);
        assert_int_equal(m->cost_micro_usd, cases[i].cost);
        assert_int_equal(plan_cost(f.plan, attempt), cases[i].cost);
    }
    stop(&f);
}

task_test(a_call_without_answer_names_no_model)
{
    struct fixture f;
    start(&f);
    assert_status_ok(make(&f));
    const Router__CallMetadata *m = plan_metadata(f.plan, f.arena, f.plan->begin_ms);
    assert_string_equal(m->model, "");
    assert_int_equal(m->n_attempts, 0);
    assert_null(m->estimated);
    fail_with(&f, 0, REASON_TIER_FAILED);
    m = plan_metadata(f.plan, f.arena, f.plan->begin_ms);
    assert_string_equal(m->model, "");
    assert_int_equal(m->ttft_ms, 0);
    stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(candidates_are_what_was_asked_for_and_fits),
    cmocka_unit_test(a_tier_is_tried_in_all_its_regions_before_the_next),
    cmocka_unit_test(a_region_has_its_own_terms),
    cmocka_unit_test(more_candidates_than_the_limiter_takes_are_left_away),
    cmocka_unit_test(a_plan_has_bounds_and_an_id),
    cmocka_unit_test(the_class_of_a_reason_says_what_follows),
    cmocka_unit_test(the_next_tier_waits_as_long_as_is_configured),
    cmocka_unit_test(the_next_region_of_a_tier_is_asked_at_once),
    cmocka_unit_test(a_chain_that_failed_is_tried_again_after_a_backoff),
    cmocka_unit_test(a_chain_that_was_throttled_is_asked_for_at_once),
    cmocka_unit_test(a_deadline_nearer_than_the_backoff_ends_the_call),
    cmocka_unit_test(attempts_are_bounded),
    cmocka_unit_test(when_every_model_is_out_for_good_nothing_is_waited_for),
    cmocka_unit_test(a_caller_who_leaves_is_not_kept),
    cmocka_unit_test(the_account_sums_attempts_and_names_the_answer),
    cmocka_unit_test(a_call_costs_what_was_in_force_when_it_began),
    cmocka_unit_test(a_call_without_answer_names_no_model),
};

HARNESS_MAIN(tests)
