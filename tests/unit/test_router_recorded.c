/* Recorded exchanges of the Messages API through the router: what was asked arrives as it was
 * asked, the answer as it was answered, and goes back in the next turn byte for byte. */
#include <dirent.h>
#include <string.h>

#include "recorded.h"
#include "router_fixture.h"

/* In the words of the log. */
static const char *content_of(const Router__GenerateOnceResponse *response, struct arena *arena)
{
    CLEANUP(buf_clear) struct buf words;
    buf_init(&words, 4u << 20);
    router_fixture_add_content(&words, response);
    return arena_string(arena, buf_span(&words));
}

static struct status ask(struct router_fixture *f, const struct fake_reply *reply,
                         Router__GenerateOnceResponse **response) PARKS
{
    f->bedrock.replies = reply;
    f->bedrock.n_replies = 1;
    struct status s = router_fixture_generate_once(f, response);
    fake_limiter_check_settled(&f->limiter);
    f->limiter.n_granted = f->limiter.n_reports = 0;
    return s;
}

static void assert_answered(const Router__GenerateOnceResponse *response,
                            const struct recorded *wanted, struct arena *arena)
{
    const Router__TokenUsage *usage = response->completed->metadata->usage;
    assert_string_equal(content_of(response, arena), wanted->content);
    assert_string_equal(response->completed->stop_detail, wanted->stop);
    assert_int_not_equal(response->completed->stop_reason,
                         ROUTER__STOP_REASON__STOP_REASON_UNSPECIFIED);
    assert_int_not_equal(response->completed->stop_reason, ROUTER__STOP_REASON__STOP_REASON_OTHER);
    assert_int_equal(usage->input_tokens, wanted->input);
    assert_int_equal(usage->output_tokens, wanted->output);
    assert_int_equal(usage->cache_read_tokens, wanted->cache_read);
    assert_int_equal(usage->cache_write_tokens, wanted->cache_write);
}

/* --- the next turn ---------------------------------------------------------------------------- */

static bool same_bytes(struct span sent, ProtobufCBinaryData bytes)
{
    return span_eq(sent, span_of(bytes.data, bytes.len));
}

static bool same_block(const struct json *sent, const Router__ContentBlock *block)
{
    switch (block->block_case) {
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT:
        return span_eq(json_string(json_get(sent, "text")), span_str(block->text));
    case ROUTER__CONTENT_BLOCK__BLOCK_THINKING:
        return span_eq(json_string(json_get(sent, "thinking")), span_str(block->thinking->text)) &&
               same_bytes(json_string(json_get(sent, "signature")), block->thinking->signature);
    case ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING:
        return same_bytes(json_string(json_get(sent, "data")), block->redacted_thinking->data);
    case ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON: {
        CLEANUP(json_drop)
        struct json *raw = json_parse(span_of(block->raw_json.data, block->raw_json.len), NULL);
        return recorded_same(sent, raw);
    }
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES:
    case ROUTER__CONTENT_BLOCK__BLOCK__NOT_SET:
    case _ROUTER__CONTENT_BLOCK__BLOCK__CASE_IS_INT_SIZE:
        break;
    }
    return false;
}

/* "hi", the answer as it was given, "hi": what the model then sees of its own answer. */
static void assert_goes_back(struct router_fixture *f, const Router__GenerateOnceResponse *answer,
                             const struct fake_reply *reply) PARKS
{
    Router__Generation *before = f->generation, next = *before;
    Router__Message turn = ROUTER__MESSAGE__INIT;
    Router__Message *messages[] = {before->messages[0], &turn, before->messages[0]};
    Router__GenerateOnceResponse *response;
    turn.role = ROUTER__ROLE__ROLE_ASSISTANT;
    turn.n_content = answer->n_content;
    turn.content = answer->content;
    next.n_messages = ARRAY_LEN(messages);
    next.messages = messages;
    f->generation = &next;
    assert_status_ok(ask(f, reply, &response));
    f->generation = before;
    CLEANUP(json_drop) struct json *sent = json_parse(f->bedrock.body, NULL);
    const struct json *content = json_get(json_at(json_get(sent, "messages"), 1), "content");
    assert_int_equal(json_count(content), answer->n_content);
    for (size_t i = 0; i < answer->n_content; i++) {
        assert_true(same_block(json_at(content, i), answer->content[i]));
    }
}

/* --- exchanges -------------------------------------------------------------------------------- */

/* What a folder holds. */
struct exchange {
    const struct json *request;
    const struct json *answer; /* a whole one */
    const char *const *events; /* of a stream */
    struct span frames;        /* the same as Bedrock sent it */
};

static void run_exchange(struct router_fixture *f, const struct exchange *e) PARKS
{
    struct recorded wanted;
    Router__GenerateOnceResponse *response;
    const char *const *events = e->answer != NULL ? recorded_unary(e->answer, f->arena) : e->events;
    struct fake_reply reply = {.events = events};
    if (e->answer != NULL) {
        recorded_of_answer(e->answer, f->arena, &wanted);
    } else {
        recorded_of_events(events, f->arena, &wanted);
    }
    if (e->frames.len > 0) {
        reply = (struct fake_reply){.frames = e->frames};
    }
    Router__Generation *hi = f->generation;
    f->generation = recorded_request(e->request, f->arena);
    assert_status_ok(ask(f, &reply, &response));
    f->generation = hi;
    CLEANUP(json_drop) struct json *sent = json_parse(f->bedrock.body, NULL);
    recorded_assert_asked(sent, e->request);
    assert_answered(response, &wanted, f->arena);
    assert_goes_back(f, response, &reply);
}

static struct json *read_json(struct arena *arena, const char *folder, const char *file)
{
    return json_parse(harness_read(arena, arena_printf(arena, "%s/%s", folder, file)), NULL);
}

/* Bedrock's own InvokeModel, of Claude, or the Messages API itself. */
static bool is_claude(const struct json *meta)
{
    struct span uri = json_string(json_get(meta, "uri"));
    bool bedrock = span_find(uri, SPAN("anthropic.claude")) != SPAN_MISSING &&
                   span_find(uri, SPAN("/invoke")) != SPAN_MISSING;
    return bedrock || (span_find(uri, SPAN("/v1/messages")) != SPAN_MISSING &&
                       span_find(uri, SPAN("count_tokens")) == SPAN_MISSING);
}

static void run_folder(struct router_fixture *f, const char *folder, bool stream) PARKS
{
    CLEANUP(json_drop) struct json *request = read_json(f->arena, folder, "request.json");
    struct exchange e = {.request = request};
    CLEANUP(json_drop) struct json *answer = NULL;
    if (!stream) {
        e.answer = answer = read_json(f->arena, folder, "response.json");
    } else if (strstr(folder, "/anthropic/stream/") != NULL) {
        e.events = recorded_sse(
            harness_read(f->arena, arena_printf(f->arena, "%s/response.sse", folder)), f->arena);
    } else {
        e.frames =
            harness_read(f->arena, arena_printf(f->arena, "%s/response.eventstream", folder));
        e.events = recorded_frames(e.frames, f->arena);
    }
    run_exchange(f, &e);
}

static void run_all(const char *relative, bool stream, const char *what, size_t expected) PARKS
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, relative, expected);
    struct router_fixture f;
    size_t ran = 0;
    router_fixture_start(&f);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *folder = arena_printf(arena, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.') {
            continue;
        }
        CLEANUP(json_drop) struct json *meta = read_json(arena, folder, "meta.json");
        if (is_claude(meta)) {
            print_message("# %s\n", entry->d_name);
            run_folder(&f, folder, stream);
            ran++;
        }
    }
    closedir(dir);
    router_fixture_stop(&f);
    harness_ran(what, ran, expected);
}

task_test_real(recorded_answers_of_bedrock_come_through_whole)
{
    run_all("llm-http/bedrock/unary", false, "Claude invoke recordings", 6);
}

task_test_real(recorded_streams_of_bedrock_come_through_whole)
{
    run_all("llm-http/bedrock/stream", true, "Claude invoke-stream recordings", 3);
}

task_test_real(recorded_answers_of_the_messages_api_come_through_whole)
{
    run_all("llm-http/anthropic/unary", false, "Messages exchanges", 13);
}

task_test_real(recorded_streams_of_the_messages_api_come_through_whole)
{
    run_all("llm-http/anthropic/stream", true, "Messages streams", 5);
}

/* --- odd but legal sequences ------------------------------------------------------------------ */

task_test_real(odd_streams_come_through_whole)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(16u << 20);
    const char *path = harness_vectors(arena, "llm-http/vercel-ai/anthropic", 14);
    struct router_fixture f;
    size_t ran = 0;
    router_fixture_start(&f);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (!span_ends(span_str(entry->d_name), SPAN(".chunks.txt"))) {
            continue;
        }
        print_message("# %s\n", entry->d_name);
        struct span text = harness_read(arena, arena_printf(arena, "%s/%s", path, entry->d_name));
        const struct fake_reply reply = {.events = recorded_lines(text, f.arena)};
        struct recorded wanted;
        Router__GenerateOnceResponse *response;
        recorded_of_events(reply.events, f.arena, &wanted);
        assert_status_ok(ask(&f, &reply, &response));
        assert_answered(response, &wanted, f.arena);
        ran++;
    }
    closedir(dir);
    router_fixture_stop(&f);
    harness_ran("odd streams", ran, 14);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(recorded_answers_of_bedrock_come_through_whole),
    cmocka_unit_test(recorded_streams_of_bedrock_come_through_whole),
    cmocka_unit_test(recorded_answers_of_the_messages_api_come_through_whole),
    cmocka_unit_test(recorded_streams_of_the_messages_api_come_through_whole),
    cmocka_unit_test(odd_streams_come_through_whole),
};

HARNESS_MAIN(tests)
