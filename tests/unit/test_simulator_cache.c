/* Prompt caching: which prefixes are written, read and forgotten, and what answers and log say. */
#include "codec/json.h"
#include "harness.h"
#include "sim_world.h"
#include "simulator/cache.h"

#define SONNET "us.anthropic.claude-sonnet-4-6"
#define HAIKU  "us.anthropic.claude-haiku-4-5-20251001-v1:0"
#define MINUTE UINT64_C(60000000)

/* A text of so many words, each a token, that begins with `first`. */
static const char *words(struct arena *arena, const char *first, size_t n)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 1u << 20);
    buf_add_str(&text, first);
    for (size_t i = 1; i < n; i++) {
        buf_add_str(&text, " word");
    }
    return arena_string(arena, buf_span(&text));
}

#define MARK ",\"cache_control\":{\"type\":\"ephemeral\"}"

static const char *block(struct arena *arena, const char *text, bool marked)
{
    return arena_printf(arena, "{\"type\":\"text\",\"text\":\"%s\"%s}", text, marked ? MARK : "");
}

/* system: one block; messages: those of one user turn. */
static const char *body_of(struct arena *arena, const char *system, const char *messages)
{
    return arena_printf(arena,
                        "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":100,"
                        "\"system\":[%s],\"messages\":[{\"role\":\"user\",\"content\":[%s]}]}",
                        system, messages);
}

struct bench {
    struct arena *arena;
    struct cache *cache;
    const char *model;
    uint64_t total; /* input tokens of the last request */
};

static struct cache_use look(struct bench *b, const char *body, uint64_t now_us)
{
    bool profile;
    struct request request;
    struct cache_use use;
    CLEANUP(json_drop) struct json *json = json_parse(span_str(body), NULL);
    struct refusal refusal =
        request_read(json, model_find(span_str(b->model), &profile), b->arena, &request);
    assert_int_equal(refusal.code, 0);
    cache_look(b->cache, json, &request, now_us, &use);
    b->total = request.input_tokens;
    return use;
}

static struct cache_use call(struct bench *b, const char *body, uint64_t now_us)
{
    struct cache_use use = look(b, body, now_us);
    cache_keep(b->cache, &use, now_us);
    return use;
}

static struct bench bench_open(double speed)
{
    return (struct bench){
        .arena = arena_new(64u << 20), .cache = cache_new(speed), .model = SONNET};
}

static void bench_close(struct bench *b)
{
    cache_free(b->cache);
    arena_free(b->arena);
}

static void a_prefix_is_written_read_and_forgotten(void **state)
{
    (void)state;
    struct bench b = bench_open(1);
    const char *system = block(b.arena, words(b.arena, "rules", 2000), true);
    const char *first = body_of(b.arena, system, block(b.arena, "one", false));
    const char *other = body_of(b.arena, system, block(b.arena, "two more words", false));
    struct cache_use use = call(&b, first, 0);
    assert_int_equal(use.read, 0);
    assert_in_range(use.write, 2000, 2010);
    uint64_t prefix = use.write;
    assert_true(b.total > prefix);
    use = call(&b, other, 4 * MINUTE);
    assert_int_equal(use.read, prefix);
    assert_int_equal(use.write, 0);
    use = call(&b, first, 9 * MINUTE - 1); /* reading has renewed it */
    assert_int_equal(use.read, prefix);
    use = call(&b, first, 14 * MINUTE - 1);
    assert_int_equal(use.read, 0);
    assert_int_equal(use.write, prefix);
    bench_close(&b);
}

static void life_is_scaled(void **state)
{
    (void)state;
    struct bench b = bench_open(300);
    const char *body = body_of(b.arena, block(b.arena, words(b.arena, "rules", 2000), true),
                               block(b.arena, "one", false));
    call(&b, body, 0);
    assert_true(look(&b, body, 999999).read > 0);
    assert_int_equal(look(&b, body, 2 * 999999 + 1).read, 0);
    bench_close(&b);
}

static void an_answer_that_never_began_writes_nothing(void **state)
{
    (void)state;
    struct bench b = bench_open(1);
    const char *body = body_of(b.arena, block(b.arena, words(b.arena, "rules", 2000), true),
                               block(b.arena, "one", false));
    assert_true(look(&b, body, 0).write > 0);
    assert_int_equal(look(&b, body, 1).read, 0);
    bench_close(&b);
}

static void what_differs_is_not_shared(void **state)
{
    (void)state;
    struct bench b = bench_open(1);
    const char *long_text = words(b.arena, "rules", 5000);
    const char *marked = block(b.arena, long_text, true);
    const char *plain = block(b.arena, long_text, false);
    const char *question = block(b.arena, "one", false);
    const char *body = body_of(b.arena, marked, question);
    struct cache_use use = call(&b, body, 0);
    uint64_t prefix = use.write;

    /* Another model, another text, another place of the same text; nothing marked. */
    b.model = HAIKU;
    assert_int_equal(look(&b, body, 1).read, 0);
    assert_int_equal(look(&b, body, 1).write, prefix);
    b.model = SONNET;
    const char *rules = block(b.arena, words(b.arena, "Rules", 5000), true);
    assert_int_equal(look(&b, body_of(b.arena, rules, question), 1).read, 0);
    assert_int_equal(look(&b, body_of(b.arena, question, marked), 1).read, 0);
    use = look(&b, body_of(b.arena, plain, question), 1);
    assert_int_equal(use.read + use.write, 0);

    /* The mark has moved on: what was marked before is read, the rest written. */
    use = look(&b, body_of(b.arena, plain, block(b.arena, words(b.arena, "on", 300), true)), 1);
    assert_int_equal(use.read, prefix);
    assert_in_range(use.write, 300, 310);
    bench_close(&b);
}

static void short_prefixes_are_ignored(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        size_t n;
        bool kept;
    } rows[] = {
        {SONNET, 900, false},
        {SONNET, 1100, true},
        {HAIKU, 1100, false},
        {HAIKU, 4200, true},
        {"us.anthropic.claude-opus-5", 450, true}, /* which counts more tokens in a text */
    };
    struct bench b = bench_open(1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        b.model = rows[i].model;
        const char *body =
            body_of(b.arena, block(b.arena, words(b.arena, "rules", rows[i].n), true),
                    block(b.arena, "one", false));
        assert_int_equal(call(&b, body, 0).write > 0, rows[i].kept);
        assert_int_equal(look(&b, body, 1).read > 0, rows[i].kept);
    }
    bench_close(&b);
}

static void the_longest_of_several_prefixes_is_read(void **state)
{
    (void)state;
    struct bench b = bench_open(1);
    const char *system = block(b.arena, words(b.arena, "rules", 1500), true);
    const char *examples = block(b.arena, words(b.arena, "examples", 500), true);
    const char *question = block(b.arena, "one", false);
    const char *both = arena_printf(b.arena, "%s,%s", examples, question);
    struct cache_use use = call(&b, body_of(b.arena, system, both), 0);
    assert_int_equal(use.n, 2);
    uint64_t whole = use.write, part = use.kept[0].tokens;
    assert_true(part >= 1500 && whole >= part + 500);
    assert_int_equal(look(&b, body_of(b.arena, system, both), 1).read, whole);
    assert_int_equal(look(&b, body_of(b.arena, system, question), 1).read, part);
    bench_close(&b);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    struct bench b = bench_open(1);
    struct cache_use use = {.n = 1, .kept = {{.tokens = 2000}}};
    for (size_t i = 0; i < CACHE_MOST + 500; i++) {
        memcpy(use.kept[0].digest, &i, sizeof(i));
        cache_keep(b.cache, &use, i < 500 ? 0 : 6 * MINUTE);
    }
    /* Those that were over have gone, and all others stayed. */
    const char *body = body_of(b.arena, block(b.arena, words(b.arena, "rules", 2000), true),
                               block(b.arena, "one", false));
    call(&b, body, 6 * MINUTE); /* one of them makes room for it */
    assert_true(look(&b, body, 6 * MINUTE).read > 0);
    bench_close(&b);
}

task_test_real(answers_and_log_tell_of_it)
{
    struct sim_world w;
    struct sim_told told;
    struct yaml_error error;
    sim_world_open(&w, &(struct sim_options){.instant = true, .cache = true});
    assert_true(sim_set_quotas(w.sim, SPAN("quotas: [{tokens_per_minute: 10000}]"), &error));
    const char *body = body_of(w.arena, block(w.arena, words(w.arena, "rules", 2000), true),
                               block(w.arena, "one", false));
    sim_listen(&told, sim_post(&w, SIM_STREAM, body).body, w.arena);
    int64_t prefix = told.cache_write;
    int64_t rest = told.usage_input;
    assert_in_range(prefix, 2000, 2010);
    assert_in_range(rest, 1, 20);
    assert_int_equal(told.cache_read, 0);
    sim_forget(&told);
    sim_listen(&told, sim_post(&w, SIM_STREAM, body).body, w.arena);
    assert_int_equal(told.cache_write, 0);
    assert_int_equal(told.cache_read, prefix);
    assert_int_equal(told.usage_input, rest);
    sim_forget(&told);
    uint64_t counted = 0;
    assert_true(span_parse_u64(sim_post(&w, SIM_INVOKE, body).cache_read_tokens, &counted));
    assert_int_equal(counted, prefix);

    struct span log = sim_ask(&w, "GET", "/simulator/arrivals", "", NULL).body;
    for (size_t call_number = 0; call_number < 2; call_number++) {
        CLEANUP(json_drop) struct json *start = sim_arrival(log, 2 * call_number);
        CLEANUP(json_drop) struct json *end = sim_arrival(log, 2 * call_number + 1);
        int64_t written = call_number == 0 ? prefix : 0;
        assert_int_equal(json_integer(json_get(start, "input_tokens"), -1), rest);
        assert_int_equal(json_integer(json_get(start, "cache_write_tokens"), -1), written);
        assert_int_equal(json_integer(json_get(start, "cache_read_tokens"), -1), prefix - written);
        assert_int_equal(json_integer(json_get(start, "reserved"), -1), rest + prefix + 100);
        assert_int_equal(json_integer(json_get(end, "settled"), -1),
                         rest + written + 5 * json_integer(json_get(end, "output_tokens"), -1));
    }
    sim_world_close(&w);
}

task_test_real(it_is_off_unless_asked_for)
{
    struct sim_world w;
    sim_world_open(&w, &(struct sim_options){.instant = true});
    const char *body = body_of(w.arena, block(w.arena, words(w.arena, "rules", 2000), true),
                               block(w.arena, "one", false));
    struct span first = sim_post(&w, SIM_INVOKE, body).body;
    assert_span(sim_post(&w, SIM_INVOKE, body).body, first);
    struct span log = sim_ask(&w, "GET", "/simulator/arrivals", "", NULL).body;
    CLEANUP(json_drop) struct json *start = sim_arrival(log, 0);
    assert_null(json_get(start, "cache_read_tokens"));
    sim_world_close(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_prefix_is_written_read_and_forgotten),
    cmocka_unit_test(life_is_scaled),
    cmocka_unit_test(an_answer_that_never_began_writes_nothing),
    cmocka_unit_test(what_differs_is_not_shared),
    cmocka_unit_test(short_prefixes_are_ignored),
    cmocka_unit_test(the_longest_of_several_prefixes_is_read),
    cmocka_unit_test(memory_is_bounded),
    cmocka_unit_test(answers_and_log_tell_of_it),
    cmocka_unit_test(it_is_off_unless_asked_for),
};
HARNESS_MAIN(tests)
