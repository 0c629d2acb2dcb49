/* The provider's quotas: the file, and the accounting by both laws against a slow oracle. */
#include <stdlib.h>

#include "harness.h"
#include "simulator/quota.h"

#define SONNET "us.anthropic.claude-sonnet-4-6"
#define HAIKU  "us.anthropic.claude-haiku-4-5-20251001-v1:0"
#define OPUS   "us.anthropic.claude-opus-4-8"
#define EAST   "us-east-2"

#define S        UINT64_C(1000000)
#define MINUTE   (60 * S)
#define DAY      (1440 * MINUTE)
#define BEGIN_US (7 * S) /* of every plan here */

static struct quota_plan *plan_of(const char *quotas, double speed)
{
    struct yaml_error error = {0};
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 65536);
    buf_addf(&text, "quotas:\n%s\n", quotas);
    struct quota_plan *plan = quota_plan_new(
        buf_span(&text), &(struct quota_options){.speed = speed, .serial = 1, .now_us = BEGIN_US},
        &error);
    if (plan == NULL) {
        print_error("line %zu: %s\n", error.line, error.text);
    }
    assert_non_null(plan);
    return plan;
}

/* Of a call with so much input and so many tokens at most. */
static enum quota_verdict reserve_for(struct quota_plan *plan, const char *id, const char *region,
                                      uint64_t input, uint64_t max_tokens, uint64_t now_us,
                                      struct quota_charge *charge)
{
    bool profile;
    const struct model *model = model_find(span_str(id), &profile);
    assert_non_null(model);
    return quota_plan_reserve(plan, model, span_str(id), span_str(region),
                              &(struct quota_tokens){.input = input, .max_tokens = max_tokens},
                              now_us, charge);
}

static enum quota_verdict reserve(struct quota_plan *plan, uint64_t input, uint64_t max_tokens,
                                  uint64_t now_us, struct quota_charge *charge)
{
    return reserve_for(plan, SONNET, EAST, input, max_tokens, now_us, charge);
}

static struct quota_left left(struct quota_plan *plan, const struct quota_charge *charge,
                              uint64_t now_us)
{
    struct quota_left out;
    quota_plan_left(plan, charge, now_us, &out);
    return out;
}

/* --- the file -----------------------------------------------------------------------------------
 */

static void slips_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        size_t line;
        const char *text;
    } rows[] = {
        {"quotas: [", 1, NULL},
        {"- a\n", 1, "a file of quotas is a mapping with the member quotas"},
        {"quotas: 7\n", 1, "quotas is a list"},
        {"quotas:\n  - 7\n", 2, "a quota is a mapping"},
        {"quotas: []\nrules: []\n", 2, "there is no key \"rules\", only quotas"},
        {"quotas:\n  - model: \"*\"\n", 2, "a quota limits requests or tokens"},
        {"quotas:\n  - model: gpt\n    tokens_per_day: 1\n", 2, "there is no model \"gpt\""},
        {"quotas:\n  - requests_per_minute: 0\n", 2, NULL},
        {"quotas:\n  - requests_per_minute: -1\n", 2, NULL},
        {"quotas:\n  - requests_per_minute: 1.5\n", 2, NULL},
        {"quotas:\n  - requests_per_minuet: 1\n", 2,
         "there is no key \"requests_per_minuet\", did you mean requests_per_minute"},
        {"quotas:\n  - tokens_per_minute: 1\n    refill: hourly\n", 3, NULL},
        {"quotas:\n  - tokens_per_minute: 1\n    burst: 5s\n", 2,
         "burst belongs to refill: continuous"},
        {"quotas:\n  - tokens_per_minute: 1\n    refill: continuous\n    burst: 2m\n", 4, NULL},
        {"quotas:\n  - tokens_per_minute: 1\n    burndown: 0\n", 3, NULL},
        {"quotas:\n  - tokens_per_minute: [1]\n", 2, "tokens_per_minute wants one value"},
        {"quotas:\n  - tokens_per_minute: 1\n    tokens_per_minute: 2\n", 3, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct yaml_error error = {0};
        assert_null(quota_plan_new(span_str(rows[i].yaml),
                                   &(struct quota_options){.speed = 1, .serial = 1}, &error));
        assert_int_equal(error.line, rows[i].line);
        assert_true(error.text[0] != '\0');
        assert_true(rows[i].text == NULL || strcmp(error.text, rows[i].text) == 0);
    }
}

/* --- the arithmetic, by hand --------------------------------------------------------------------
 */

static void a_call_is_reserved_and_settled(void **state)
{
    (void)state;
    struct quota_charge a, b;
    struct quota_plan *plan = plan_of("- tokens_per_minute: 10000\n", 1);
    uint64_t now = BEGIN_US;
    assert_int_equal(reserve(plan, 2000, 4000, now, &a), QUOTA_ADMITTED);
    assert_int_equal(a.reserved, 6000);
    assert_int_equal(left(plan, &a, now).tokens, 4000);
    assert_int_equal(left(plan, &a, now).requests, QUOTA_NO_LIMIT);
    assert_int_equal(reserve(plan, 2000, 2001, now, &b), QUOTA_TOKENS);
    assert_int_equal(b.reserved, 0);
    assert_int_equal(left(plan, &b, now).tokens, 4000);
    quota_plan_progress(plan, &a, 100, now + S);
    assert_int_equal(left(plan, &a, now + S).tokens, 4100);
    assert_int_equal(reserve(plan, 2000, 2100, now + S, &b), QUOTA_ADMITTED);
    assert_int_equal(left(plan, &b, now + S).tokens, 0);
    /* 2000 + 5 x 300: less than it still held. */
    assert_int_equal(quota_plan_settle(plan, &a, 300, now + 2 * S), 3500);
    assert_int_equal(left(plan, &a, now + 2 * S).tokens, 2400);
    /* 2000 + 5 x 1500: more than 4100, and more than there is. */
    assert_int_equal(quota_plan_settle(plan, &b, 1500, now + 3 * S), 9500);
    assert_int_equal(left(plan, &b, now + 3 * S).tokens, 2400 - 5400);
    assert_int_equal(reserve(plan, 1, 1, now + 3 * S, &a), QUOTA_TOKENS);
    /* What was taken first comes back first. */
    assert_int_equal(left(plan, &b, now + MINUTE - 1).tokens, -3000);
    assert_int_equal(left(plan, &b, now + MINUTE).tokens, 500);
    assert_int_equal(left(plan, &b, now + MINUTE + S).tokens, 4600);
    assert_int_equal(left(plan, &b, now + MINUTE + 3 * S).tokens, 10000);
    quota_plan_free(plan);
}

static void cache_reads_are_free_in_the_end(void **state)
{
    (void)state;
    bool profile;
    struct quota_charge charge;
    struct quota_plan *plan = plan_of("- tokens_per_minute: 100000\n  burndown: 3\n", 1);
    const struct quota_tokens tokens = {100, 5000, 700, 1000};
    assert_int_equal(quota_plan_reserve(plan, model_find(SPAN(SONNET), &profile), SPAN(SONNET),
                                        SPAN(EAST), &tokens, BEGIN_US, &charge),
                     QUOTA_ADMITTED);
    assert_int_equal(charge.reserved, 6800);
    assert_int_equal(quota_plan_settle(plan, &charge, 50, BEGIN_US), 100 + 700 + 150);
    assert_int_equal(left(plan, &charge, BEGIN_US).tokens, 100000 - 950);
    quota_plan_free(plan);
}

static void models_burn_differently(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        uint64_t burndown;
    } rows[] = {
        {SONNET, 5},
        {HAIKU, 5},
        {"us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5},
        {"us.anthropic.claude-opus-4-7", 5},
        {OPUS, 15},
        {"us.anthropic.claude-sonnet-5", 10},
        {"us.anthropic.claude-opus-5-5", 10},
    };
    struct quota_plan *plan = plan_of("- tokens_per_minute: 100000\n", 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quota_charge charge;
        assert_int_equal(reserve_for(plan, rows[i].model, EAST, 10, 10, BEGIN_US, &charge),
                         QUOTA_ADMITTED);
        assert_int_equal(quota_plan_settle(plan, &charge, 7, BEGIN_US), 10 + 7 * rows[i].burndown);
    }
    quota_plan_free(plan);
}

static void accounts_are_kept_apart(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        const char *region;
        enum quota_verdict verdict;
    } rows[] = {
        {SONNET, EAST, QUOTA_ADMITTED},
        {SONNET, EAST, QUOTA_REQUESTS},
        {SONNET, "us-west-2", QUOTA_ADMITTED},
        {SONNET, "us-west-2", QUOTA_REQUESTS},
        {"global.anthropic.claude-sonnet-4-6", EAST, QUOTA_ADMITTED},
        {"global.anthropic.claude-sonnet-4-6", EAST, QUOTA_REQUESTS},
        {"arn:aws:bedrock:us-east-2:1:inference-profile/" SONNET, EAST, QUOTA_REQUESTS},
        {HAIKU, EAST, QUOTA_ADMITTED},
        {HAIKU, EAST, QUOTA_ADMITTED},
        {HAIKU, EAST, QUOTA_REQUESTS},
        {OPUS, "", QUOTA_ADMITTED},
        {OPUS, "", QUOTA_ADMITTED},
        {OPUS, EAST, QUOTA_ADMITTED},
        {OPUS, EAST, QUOTA_REQUESTS},
    };
    struct quota_plan *plan =
        plan_of("- {model: " HAIKU ", requests_per_minute: 2}\n"
                "- {model: " OPUS ", region: " EAST ", requests_per_minute: 1}\n"
                "- {model: " OPUS ", requests_per_minute: 1000000}\n"
                "- {requests_per_minute: 1}\n",
                1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quota_charge charge;
        assert_int_equal(reserve_for(plan, rows[i].model, rows[i].region, 1, 1, BEGIN_US, &charge),
                         rows[i].verdict);
    }
    quota_plan_free(plan);
}

/* Sixty a minute: how many of 100 calls at once, and of one each 100 ms for a minute after it. */
static void the_laws_differ_below_a_minute(void **state)
{
    (void)state;
    static const struct {
        const char *refill;
        size_t at_once;
        size_t later;
    } rows[] = {
        {"refill: sliding_minute", 60, 1}, /* when the minute is over, at its last call */
        {"refill: continuous", 60, 60},
        {"refill: continuous, burst: 60s", 60, 60},
        {"refill: continuous, burst: 5s", 5, 60},
        {"refill: continuous, burst: 1s", 1, 60},
        {"refill: continuous, burst: 1ms", 1, 60}, /* one always fits */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quota_charge charge;
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, 1000);
        buf_addf(&text, "- {requests_per_minute: 60, %s}\n", rows[i].refill);
        struct quota_plan *plan = plan_of(buf_cstr(&text), 1);
        size_t at_once = 0, later = 0;
        for (size_t n = 0; n < 100; n++) {
            at_once += reserve(plan, 1, 1, BEGIN_US, &charge) == QUOTA_ADMITTED;
        }
        for (uint64_t n = 1; n <= 600; n++) {
            later += reserve(plan, 1, 1, BEGIN_US + n * S / 10, &charge) == QUOTA_ADMITTED;
        }
        assert_int_equal(at_once, rows[i].at_once);
        assert_int_equal(later, rows[i].later);
        quota_plan_free(plan);
    }
}

static void a_day_ends(void **state)
{
    (void)state;
    struct quota_charge a, b;
    struct quota_plan *plan = plan_of("- tokens_per_day: 1000\n", 1);
    uint64_t midnight = BEGIN_US + DAY;
    assert_int_equal(reserve(plan, 100, 900, midnight - 2 * S, &a), QUOTA_ADMITTED);
    assert_int_equal(reserve(plan, 1, 1, midnight - S, &b), QUOTA_DAY);
    assert_int_equal(left(plan, &a, midnight - 1).day, 0);
    assert_int_equal(left(plan, &a, midnight).day, 1000);
    /* 100 + 5 x 300 - 1000 that were taken yesterday. */
    assert_int_equal(quota_plan_settle(plan, &a, 300, midnight + S), 1600);
    assert_int_equal(left(plan, &a, midnight + S).day, 400);
    /* What is given back of yesterday is lost. */
    assert_int_equal(reserve(plan, 100, 100, midnight + S, &a), QUOTA_ADMITTED);
    assert_int_equal(quota_plan_settle(plan, &a, 1, midnight + 2 * DAY), 105);
    assert_int_equal(left(plan, &a, midnight + 2 * DAY).day, 1000);
    quota_plan_free(plan);
}

static void time_is_scaled(void **state)
{
    (void)state;
    struct quota_charge charge;
    struct quota_plan *plan = plan_of("- {requests_per_minute: 1, tokens_per_day: 3}\n", 60);
    assert_int_equal(reserve(plan, 1, 1, BEGIN_US, &charge), QUOTA_ADMITTED);
    assert_int_equal(reserve(plan, 1, 1, BEGIN_US + S - 1, &charge), QUOTA_REQUESTS);
    assert_int_equal(reserve(plan, 1, 1, BEGIN_US + S, &charge), QUOTA_DAY);
    assert_int_equal(reserve(plan, 1, 1, BEGIN_US + DAY / 60 - 1, &charge), QUOTA_DAY);
    assert_int_equal(reserve(plan, 1, 1, BEGIN_US + DAY / 60, &charge), QUOTA_ADMITTED);
    quota_plan_free(plan);
}

static void what_another_plan_charged_is_forgotten(void **state)
{
    (void)state;
    struct quota_charge charge;
    struct yaml_error error;
    struct quota_plan *plan = plan_of("- tokens_per_minute: 100\n", 1);
    assert_int_equal(reserve(plan, 10, 90, BEGIN_US, &charge), QUOTA_ADMITTED);
    quota_plan_free(plan);
    plan = quota_plan_new(SPAN("quotas: [{tokens_per_minute: 100}]"),
                          &(struct quota_options){.speed = 1, .serial = 2, .now_us = BEGIN_US},
                          &error);
    quota_plan_progress(plan, &charge, 5, BEGIN_US);
    assert_int_equal(left(plan, &charge, BEGIN_US).tokens, QUOTA_NO_LIMIT);
    assert_int_equal(quota_plan_settle(plan, &charge, 90, BEGIN_US), 0);
    assert_int_equal(reserve(plan, 10, 90, BEGIN_US, &charge), QUOTA_ADMITTED);
    quota_plan_free(plan);
}

/* --- the oracle: from the whole history, again at every question
 * ----------------------------------
 */

#define CALLS    1500
#define REPORTS  4
#define TICK_US  1000
#define PER_TICK (MINUTE / TICK_US) /* a token's parts, of which `limit` flow in at every tick */

/* What is known of one admitted call. */
struct fact {
    uint64_t begun_us;
    uint64_t input;
    uint64_t max_tokens;
    struct {
        uint64_t at_us;
        uint64_t output;
    } reports[REPORTS];
    size_t n_reports;
    bool ended;
    uint64_t ended_us;
    uint64_t output;
    struct quota_charge charge;
};

/* Something taken (or given back, when negative) at a moment. */
struct move {
    uint64_t at_us;
    int64_t amount;
    uint64_t of_us; /* when what is given back was taken */
};

struct history {
    struct fact facts[CALLS];
    size_t n;
    uint64_t requests; /* limits, 0: none */
    uint64_t tokens;
    uint64_t day;
    uint64_t burst_us; /* 0: the sliding minute */
    uint64_t burndown;
};

/* The moves of one call, in their order. */
static size_t moves_of(const struct history *h, const struct fact *f, struct move out[REPORTS + 2])
{
    size_t n = 0;
    int64_t held = (int64_t)(f->input + f->max_tokens);
    out[n++] = (struct move){f->begun_us, held, f->begun_us};
    for (size_t i = 0; i < f->n_reports; i++) {
        uint64_t used = f->reports[i].output < f->max_tokens ? f->reports[i].output : f->max_tokens;
        int64_t open = (int64_t)(f->input + f->max_tokens - used);
        out[n++] = (struct move){f->reports[i].at_us, open - held, f->begun_us};
        held = open;
    }
    if (f->ended) {
        int64_t cost = (int64_t)(f->input + f->output * h->burndown);
        out[n++] = (struct move){f->ended_us, cost - held, cost > held ? f->ended_us : f->begun_us};
    }
    return n;
}

static int64_t sliding_used(const struct history *h, uint64_t now_us)
{
    int64_t used = 0;
    for (size_t i = 0; i < h->n; i++) {
        struct move moves[REPORTS + 2];
        size_t n = moves_of(h, &h->facts[i], moves);
        for (size_t k = 0; k < n; k++) {
            used += moves[k].of_us + MINUTE > now_us ? moves[k].amount : 0;
        }
    }
    return used;
}

static int64_t day_used(const struct history *h, uint64_t now_us)
{
    int64_t used = 0;
    uint64_t today = (now_us - BEGIN_US) / DAY;
    for (size_t i = 0; i < h->n; i++) {
        struct move moves[REPORTS + 2];
        size_t n = moves_of(h, &h->facts[i], moves);
        for (size_t k = 0; k < n; k++) {
            used += (moves[k].of_us - BEGIN_US) / DAY == today ? moves[k].amount : 0;
        }
    }
    return used;
}

static int64_t sliding_requests(const struct history *h, uint64_t now_us)
{
    int64_t used = 0;
    for (size_t i = 0; i < h->n; i++) {
        used += h->facts[i].begun_us + MINUTE > now_us;
    }
    return used;
}

/* A bucket that is looked at every millisecond, which is when things happen here. */
struct ticking {
    uint64_t limit;
    int64_t level; /* in parts */
    int64_t most;
    uint64_t at_us;
};

static void ticking_start(struct ticking *t, uint64_t limit, uint64_t burst_us)
{
    int64_t most = (int64_t)(limit * (burst_us / TICK_US));
    t->limit = limit;
    t->most = most > (int64_t)PER_TICK ? most : (int64_t)PER_TICK;
    t->level = t->most;
    t->at_us = BEGIN_US;
}

static void ticking_move(struct ticking *t, int64_t amount, uint64_t now_us)
{
    for (; t->at_us < now_us; t->at_us += TICK_US) {
        t->level += (int64_t)t->limit;
        t->level = t->level > t->most ? t->most : t->level;
    }
    t->level -= amount * (int64_t)PER_TICK;
    t->level = t->level > t->most ? t->most : t->level;
}

static int64_t ticking_left(struct ticking *t, uint64_t now_us)
{
    ticking_move(t, 0, now_us);
    int64_t left_over = t->level % (int64_t)PER_TICK;
    return t->level / (int64_t)PER_TICK - (left_over < 0);
}

/* --- random calls -------------------------------------------------------------------------------
 */

struct rehearsal {
    struct history *h;
    struct quota_plan *plan;
    struct ticking requests;
    struct ticking tokens;
    uint64_t now_us;
    uint32_t random;
    size_t verdicts[4];
};

static uint64_t draw(struct rehearsal *r, uint64_t most)
{
    return harness_random(&r->random) % (most + 1);
}

static struct quota_left expected(struct rehearsal *r)
{
    const struct history *h = r->h;
    struct quota_left out = {QUOTA_NO_LIMIT, QUOTA_NO_LIMIT, QUOTA_NO_LIMIT};
    if (h->requests > 0) {
        out.requests = h->burst_us > 0 ? ticking_left(&r->requests, r->now_us)
                                       : (int64_t)h->requests - sliding_requests(h, r->now_us);
    }
    if (h->tokens > 0) {
        out.tokens = h->burst_us > 0 ? ticking_left(&r->tokens, r->now_us)
                                     : (int64_t)h->tokens - sliding_used(h, r->now_us);
    }
    if (h->day > 0) {
        out.day = (int64_t)h->day - day_used(h, r->now_us);
    }
    return out;
}

static void compare(struct rehearsal *r, const struct quota_charge *charge)
{
    struct quota_left want = expected(r);
    struct quota_left got = left(r->plan, charge, r->now_us);
    assert_true(got.requests == want.requests);
    assert_true(got.tokens == want.tokens);
    assert_true(got.day == want.day);
}

static void try_call(struct rehearsal *r)
{
    struct fact *f = &r->h->facts[r->h->n];
    *f = (struct fact){
        .begun_us = r->now_us, .input = 1 + draw(r, 3000), .max_tokens = 1 + draw(r, 4000)};
    struct quota_left before = expected(r);
    int64_t wanted = (int64_t)(f->input + f->max_tokens);
    enum quota_verdict want = before.requests < 1      ? QUOTA_REQUESTS
                              : before.tokens < wanted ? QUOTA_TOKENS
                              : before.day < wanted    ? QUOTA_DAY
                                                       : QUOTA_ADMITTED;
    enum quota_verdict got = reserve(r->plan, f->input, f->max_tokens, r->now_us, &f->charge);
    assert_int_equal(got, want);
    r->verdicts[got]++;
    if (got == QUOTA_ADMITTED) {
        assert_int_equal(f->charge.reserved, wanted);
        r->h->n++;
        ticking_move(&r->requests, 1, r->now_us);
        ticking_move(&r->tokens, wanted, r->now_us);
    }
    compare(r, &f->charge);
}

/* One of the calls that run: more of its output, or its end. */
static void go_on(struct rehearsal *r)
{
    size_t runs = 0;
    size_t chosen = 0;
    for (size_t i = 0; i < r->h->n; i++) {
        runs += !r->h->facts[i].ended;
        chosen = !r->h->facts[i].ended && draw(r, runs - 1) == 0 ? i : chosen;
    }
    struct fact *f = &r->h->facts[chosen];
    if (runs == 0) {
        return;
    }
    uint64_t said = f->n_reports > 0 ? f->reports[f->n_reports - 1].output : 0;
    f->output = said + draw(r, f->max_tokens - said);
    if (f->n_reports < REPORTS && draw(r, 1) == 0) {
        f->reports[f->n_reports].at_us = r->now_us;
        f->reports[f->n_reports++].output = f->output;
        quota_plan_progress(r->plan, &f->charge, f->output, r->now_us);
    } else {
        f->ended = true;
        f->ended_us = r->now_us;
        assert_int_equal(quota_plan_settle(r->plan, &f->charge, f->output, r->now_us),
                         f->input + f->output * r->h->burndown);
    }
    struct move moves[REPORTS + 2];
    size_t n = moves_of(r->h, f, moves);
    ticking_move(&r->tokens, moves[n - 1].amount, r->now_us);
    compare(r, &f->charge);
}

static void rehearse(struct history *h, const char *quotas, uint32_t seed, uint64_t pause_ms)
{
    struct rehearsal r = {.h = h, .plan = plan_of(quotas, 1), .now_us = BEGIN_US, .random = seed};
    h->n = 0;
    ticking_start(&r.requests, h->requests, h->burst_us);
    ticking_start(&r.tokens, h->tokens, h->burst_us);
    for (size_t i = 0; i < CALLS; i++) {
        r.now_us += draw(&r, 2) == 0 ? draw(&r, pause_ms) * 1000 : 0;
        if (draw(&r, 1) == 0) {
            try_call(&r);
        } else {
            go_on(&r);
        }
    }
    print_message("# seed %u: %zu admitted, refused for requests %zu, tokens %zu, day %zu\n", seed,
                  r.verdicts[QUOTA_ADMITTED], r.verdicts[QUOTA_REQUESTS], r.verdicts[QUOTA_TOKENS],
                  r.verdicts[QUOTA_DAY]);
    /* A rehearsal in which nothing is refused, or nothing admitted, proves nothing. */
    assert_true(r.verdicts[QUOTA_ADMITTED] > 50);
    assert_true(r.verdicts[QUOTA_REQUESTS] + r.verdicts[QUOTA_TOKENS] + r.verdicts[QUOTA_DAY] > 50);
    quota_plan_free(r.plan);
}

static void random_calls_agree_with_the_oracle(void **state)
{
    (void)state;
    static const struct {
        uint64_t requests;
        uint64_t tokens;
        uint64_t day;
        uint64_t burst_ms;
        uint64_t burndown;
        uint64_t pause_ms;
    } rows[] = {
        {0, 60000, 0, 0, 5, 5000},        {30, 0, 0, 0, 1, 5000},
        {20, 60000, 0, 0, 5, 3000},       {30, 100000, 500000, 0, 15, 600000},
        {0, 60000, 0, 60000, 5, 5000},    {30, 0, 0, 60000, 1, 5000},
        {30, 100000, 0, 10000, 10, 5000}, {20, 60000, 500000, 20000, 5, 200000},
        {10, 0, 0, 1, 5, 10000},
    };
    struct history *h = calloc(1, sizeof(*h));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, 1000);
        buf_addf(&text, "- burndown: %zu\n", (size_t)rows[i].burndown);
        h->requests = rows[i].requests;
        h->tokens = rows[i].tokens;
        h->day = rows[i].day;
        h->burst_us = rows[i].burst_ms * 1000;
        h->burndown = rows[i].burndown;
        if (h->requests > 0) {
            buf_addf(&text, "  requests_per_minute: %zu\n", (size_t)h->requests);
        }
        if (h->tokens > 0) {
            buf_addf(&text, "  tokens_per_minute: %zu\n", (size_t)h->tokens);
        }
        if (h->day > 0) {
            buf_addf(&text, "  tokens_per_day: %zu\n", (size_t)h->day);
        }
        if (h->burst_us > 0) {
            buf_addf(&text, "  refill: continuous\n  burst: %zums\n", (size_t)rows[i].burst_ms);
        }
        for (uint32_t seed = 1; seed <= 3; seed++) {
            rehearse(h, buf_cstr(&text), 100 * (uint32_t)i + seed, rows[i].pause_ms);
        }
    }
    free(h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(slips_are_refused_with_their_line),
    cmocka_unit_test(a_call_is_reserved_and_settled),
    cmocka_unit_test(cache_reads_are_free_in_the_end),
    cmocka_unit_test(models_burn_differently),
    cmocka_unit_test(accounts_are_kept_apart),
    cmocka_unit_test(the_laws_differ_below_a_minute),
    cmocka_unit_test(a_day_ends),
    cmocka_unit_test(time_is_scaled),
    cmocka_unit_test(what_another_plan_charged_is_forgotten),
    cmocka_unit_test(random_calls_agree_with_the_oracle),
};
HARNESS_MAIN(tests)
