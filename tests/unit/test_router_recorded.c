/* Recorded streams of the Messages API, as chunks of Bedrock's, through the router. */
#include <string.h>

#include "codec/json.h"
#include "codec/text.h"
#include "router_fixture.h"

#define RECORDED_MOST 256

/* The events of a recorded stream of server-sent events. */
static const char *const *recorded_events(struct arena *arena, const char *path)
{
    const char **events = ARENA_ARRAY(arena, const char *, RECORDED_MOST);
    struct span rest = harness_read(arena, path), line;
    for (size_t n = 0; span_cut(&rest, '\n', &line);) {
        if (span_starts(line, SPAN("data:"))) {
            assert_true(n < RECORDED_MOST - 1);
            events[n++] = arena_string(arena, span_trim(span_from(line, 5)));
        }
    }
    return events;
}

/* What a recorded stream says, taken from its events by other means than the router's. */
struct recorded {
    struct buf content; /* in the words of the log */
    struct buf text;    /* of the open block */
    struct buf signature;
    struct buf input;
    struct span start; /* of the open block */
    int64_t output_tokens;
    int64_t input_tokens;
};

static void end_block(struct recorded *r)
{
    CLEANUP(json_drop) struct json *block = json_parse(r->start, NULL);
    struct span type = json_string(json_get(block, "type"));
    if (span_eq(type, SPAN("text"))) {
        buf_add_str(&r->content, "says ");
        text_add_printable(&r->content, buf_span(&r->text));
    } else if (span_eq(type, SPAN("thinking"))) {
        buf_add_str(&r->content, "thinks ");
        text_add_printable(&r->content, buf_span(&r->text));
        buf_addf(&r->content, "\nsigns %s", buf_cstr(&r->signature));
    } else if (span_eq(type, SPAN("redacted_thinking"))) {
        buf_add_str(&r->content, "hides ");
        buf_add_span(&r->content, json_string(json_get(block, "data")));
    } else {
        size_t at = r->input.len > 0 ? span_find(r->start, SPAN("\"input\":{}")) : SPAN_MISSING;
        size_t cut = at != SPAN_MISSING ? at + strlen("\"input\":") : r->start.len;
        buf_add_str(&r->content, "raw ");
        buf_add_span(&r->content, span_first(r->start, cut));
        buf_add_span(&r->content, buf_span(&r->input));
        buf_add_span(&r->content, span_from(r->start, cut + (at != SPAN_MISSING ? 2 : 0)));
    }
    buf_add_char(&r->content, '\n');
    buf_reset(&r->text);
    buf_reset(&r->signature);
    buf_reset(&r->input);
}

static void take_recorded(struct recorded *r, const char *text, struct arena *arena)
{
    CLEANUP(json_drop) struct json *event = json_parse(span_str(text), NULL);
    struct span type = json_string(json_get(event, "type"));
    const struct json *delta = json_get(event, "delta");
    const struct json *usage = json_get(event, "usage");
    if (usage == NULL) {
        usage = json_get(json_get(event, "message"), "usage");
    }
    r->output_tokens = json_integer(json_get(usage, "output_tokens"), r->output_tokens);
    r->input_tokens = json_integer(json_get(usage, "input_tokens"), r->input_tokens);
    buf_add_span(&r->text, json_string(json_get(delta, "text")));
    buf_add_span(&r->text, json_string(json_get(delta, "thinking")));
    buf_add_span(&r->signature, json_string(json_get(delta, "signature")));
    buf_add_span(&r->input, json_string(json_get(delta, "partial_json")));
    if (span_eq(type, SPAN("content_block_start"))) {
        CLEANUP(buf_clear) struct buf start;
        buf_init(&start, 1u << 20);
        json_add(&start, json_get(event, "content_block"));
        r->start = arena_copy(arena, buf_span(&start));
    } else if (span_eq(type, SPAN("content_block_stop"))) {
        end_block(r);
    }
}

static size_t check_recorded(struct router_fixture *f, const char *path)
{
    CLEANUP(buf_clear) struct buf got;
    struct recorded r = {0};
    struct buf *const bufs[] = {&r.content, &r.text, &r.signature, &r.input, &got};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        buf_init(bufs[i], 1u << 20);
    }
    const char *const *events = recorded_events(f->arena, path);
    size_t n = 0;
    for (; events[n] != NULL; n++) {
        take_recorded(&r, events[n], f->arena);
    }
    const struct fake_reply reply = {.events = events};
    f->bedrock.replies = &reply;
    f->bedrock.n_replies = 1;
    Router__GenerateOnceResponse *response;
    assert_status_ok(router_fixture_generate_once(f, &response));
    router_fixture_add_content(&got, response);
    assert_string_equal(buf_cstr(&got), buf_cstr(&r.content));
    assert_string_equal(response->completed->stop_detail, "end_turn");
    assert_int_equal(response->completed->metadata->usage->output_tokens, r.output_tokens);
    assert_int_equal(response->completed->metadata->usage->input_tokens, r.input_tokens);
    for (size_t i = 0; i < ARRAY_LEN(bufs) - 1; i++) {
        buf_clear(bufs[i]);
    }
    return n;
}

task_test_real(recorded_streams_come_through_whole)
{
    static const char *const names[] = {
        "openllmetry__test_thinking--test_anthropic_thinking_streaming_legacy__0",
        "pydantic-ai__test_anthropic_code_execution_tool_stream__0",
        "pydantic-ai__test_anthropic_model_thinking_part_redacted_stream__0",
        "pydantic-ai__test_anthropic_model_thinking_part_stream__0",
        "pydantic-ai__test_request_stream_fallback_for_high_max_tokens__0",
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    const char *folder = harness_vectors(arena, "llm-http/anthropic/stream", ARRAY_LEN(names));
    struct router_fixture f;
    size_t events = 0;
    router_fixture_start(&f);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        events += check_recorded(&f, arena_printf(f.arena, "%s/%s/response.sse", folder, names[i]));
    }
    harness_ran("recorded streams", ARRAY_LEN(names), 5);
    harness_ran("events of recorded streams", events, 214);
    router_fixture_stop(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(recorded_streams_come_through_whole),
};

HARNESS_MAIN(tests)
