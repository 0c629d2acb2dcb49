/* What the simulator refuses in a Messages body, row by row, and how it counts tokens. */
#include "codec/json.h"
#include "codec/text.h"
#include "harness.h"
#include "simulator/messages.h"
#include "simulator/models.h"
#include "simulator/request.h"

#define V        "\"anthropic_version\":\"bedrock-2023-05-31\","
#define HI       "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define THINK(n) "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":" #n "}"
#define ADAPTIVE "\"thinking\":{\"type\":\"adaptive\"}"
#define REPORTED "The model returned the following errors: "

#define V1       "anthropic.claude-3-5-sonnet-20240620-v1:0"
#define V2       "anthropic.claude-3-5-sonnet-20241022-v2:0"
#define SONNET37 "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
#define SONNET4  "us.anthropic.claude-sonnet-4-20250514-v1:0"
#define SONNET45 "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
#define SONNET46 "us.anthropic.claude-sonnet-4-6"
#define SONNET5  "us.anthropic.claude-sonnet-5"
#define SONNET55 "us.anthropic.claude-sonnet-5-5"

static struct refusal judge(struct arena *arena, const char *model_id, const char *body,
                            struct request *out)
{
    bool profile;
    const struct model *model = model_find(span_str(model_id), &profile);
    assert_non_null(model);
    struct json *json = json_parse(span_str(body), NULL);
    struct refusal refusal = request_read(json, model, arena, out);
    json_free(json);
    return refusal;
}

static const struct {
    const char *model;
    const char *body;
    const char *message; /* NULL: accepted */
} rows[] = {
    /* The body's members. */
    {SONNET45, "{" V "\"max_tokens\":16," HI "}", NULL},
    {SONNET45, "nonsense", "Malformed input request, please reformat your input and try again."},
    {SONNET45, "[]", "Malformed input request, please reformat your input and try again."},
    {SONNET45, "{\"max_tokens\":16," HI "}", "anthropic_version: Field required"},
    {SONNET45, "{\"anthropic_version\":\"2026-10-21\",\"max_tokens\":16," HI "}",
     "anthropic_version: Input should be 'bedrock-2023-05-31'"},
    {SONNET45, "{" V HI "}", "max_tokens: Field required"},
    {SONNET45, "{" V "\"max_tokens\":\"16\"," HI "}",
     "max_tokens: Input should be a valid integer"},
    {SONNET45, "{" V "\"max_tokens\":0," HI "}",
     "max_tokens: Input should be greater than or equal to 1"},
    {SONNET45, "{" V "\"max_tokens\":16,\"model\":\"x\"," HI "}",
     "model: Extra inputs are not permitted"},
    {SONNET45, "{" V "\"max_tokens\":16,\"stream\":true," HI "}",
     "stream: Extra inputs are not permitted"},
    {SONNET45, "{" V "\"max_tokens\":16,\"metadata\":{\"user_id\":\"u\"}," HI "}", NULL},
    {SONNET45, "{" V "\"max_tokens\":16,\"tools\":{}," HI "}",
     "tools: Input should be a valid list"},

    /* max_tokens against the model. */
    {V1, "{" V "\"max_tokens\":4096," HI "}", NULL},
    {V1, "{" V "\"max_tokens\":6192," HI "}",
     "The maximum tokens you requested exceed the model limit of 4096. Try again with a maximum "
     "tokens value that is lower than 4096."},
    {V2, "{" V "\"max_tokens\":8193," HI "}",
     "max_tokens: 8193 > 8192, which is the maximum allowed number of output tokens for "
     "claude-3-5-sonnet-20241022"},
    {SONNET5, "{" V "\"max_tokens\":128000," HI "}", NULL},

    /* Messages. */
    {SONNET45, "{" V "\"max_tokens\":16,\"messages\":[]}",
     "messages: at least one message is required"},
    {SONNET45, "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}",
     "messages: first message must use the \"user\" role"},
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
     "\"user\",\"content\":\"b\"}]}",
     "messages: roles must alternate between \"user\" and \"assistant\", but found multiple "
     "\"user\" roles in a row"},
    {SONNET45, "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}",
     "messages.0.role: Input should be 'user' or 'assistant'"},
    {SONNET45, "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\" \"}]}",
     "messages: text content blocks must be non-empty"},
    {SONNET45, "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":7}]}",
     "messages.0.content: Input should be a valid list"},
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"n\"}]}",
     "messages.0.name: Extra inputs are not permitted"},
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
     "\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}}]}]}",
     NULL},
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
     "\"text\":\"a\",\"extra\":1}]}]}",
     "messages.0.content.0.text.extra: Extra inputs are not permitted"},
    {SONNET45,
     "{" V
     "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
     "messages.0.content.0.text.text: Field required"},
    {SONNET45,
     "{" V
     "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"sound\"}]}]}",
     "messages.0.content.0: Input tag 'sound' found using 'type' does not match any of the "
     "expected tags"},
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\","
     "\"source\":{\"type\":\"url\",\"url\":\"https://example.com\"}}]}]}",
     "messages.0.content.0.image.source.base64.data: URL sources are not supported"},
    {SONNET45,
     "{" V "\"max_tokens\":2000," THINK(
         1024) ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
               "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"t\","
               "\"signature\":\"forged\"}]},{\"role\":\"user\",\"content\":\"b\"}]}",
     "messages.1.content.0: Invalid `signature` in `thinking` block"},

    /* Thinking by a budget. */
    {SONNET37, "{" V "\"max_tokens\":8192," THINK(2000) "," HI "}", NULL},
    {SONNET46, "{" V "\"max_tokens\":8192," THINK(2000) "," HI "}", NULL},
    {SONNET45, "{" V "\"max_tokens\":8192," THINK(1023) "," HI "}",
     "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"},
    {SONNET45, "{" V "\"max_tokens\":2000," THINK(2000) "," HI "}",
     "`max_tokens` must be greater than `thinking.budget_tokens`"},
    {SONNET45,
     "{" V "\"max_tokens\":2000,\"anthropic_beta\":[\"interleaved-thinking-2025-05-14\"]," THINK(
         2000) "," HI "}",
     NULL},
    {SONNET45, "{" V "\"max_tokens\":8192,\"thinking\":{\"type\":\"enabled\"}," HI "}",
     "thinking.enabled.budget_tokens: Field required"},
    {SONNET45, "{" V "\"max_tokens\":8192,\"thinking\":{\"type\":\"maybe\"}," HI "}",
     "thinking: Input tag does not match any of the expected tags: 'adaptive', 'disabled', "
     "'enabled'"},
    {SONNET45,
     "{" V "\"max_tokens\":8192,\"thinking\":{\"type\":\"disabled\",\"budget_tokens\":1}," HI "}",
     "thinking.disabled.budget_tokens: Extra inputs are not permitted"},
    {V2, "{" V "\"max_tokens\":8192," THINK(2000) "," HI "}",
     "thinking: Extra inputs are not permitted"},
    {SONNET5, "{" V "\"max_tokens\":8192," THINK(2000) "," HI "}",
     "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" "
     "and \"output_config.effort\" to control thinking behavior."},

    /* Adaptive thinking. */
    {SONNET5,
     "{" V "\"max_tokens\":8192," ADAPTIVE ",\"output_config\":{\"effort\":\"high\"}," HI "}",
     NULL},
    {SONNET46, "{" V "\"max_tokens\":8192," ADAPTIVE "," HI "}", NULL},
    {SONNET45, "{" V "\"max_tokens\":8192," ADAPTIVE "," HI "}",
     "adaptive thinking is not supported on this model"},
    {SONNET55, "{" V "\"max_tokens\":8192,\"thinking\":{\"type\":\"disabled\"}," HI "}",
     "\"thinking.type.disabled\" is not supported for this model."},
    {SONNET55, "{" V "\"max_tokens\":8192,\"tool_choice\":{\"type\":\"any\"}," HI "}",
     "Thinking may not be enabled when tool_choice forces tool use."},

    /* Temperature and its kin. */
    {SONNET45, "{" V "\"max_tokens\":16,\"temperature\":0.7," HI "}", NULL},
    {SONNET45, "{" V "\"max_tokens\":16,\"temperature\":1.5," HI "}", "temperature: range: 0..1"},
    {SONNET45, "{" V "\"max_tokens\":8192,\"temperature\":0.7," THINK(2000) "," HI "}",
     REPORTED "`temperature` may only be set to 1 when thinking is enabled."},
    {SONNET45, "{" V "\"max_tokens\":8192,\"temperature\":1," THINK(2000) "," HI "}", NULL},
    {SONNET46, "{" V "\"max_tokens\":8192,\"temperature\":0.7," ADAPTIVE "," HI "}",
     REPORTED "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."},
    {SONNET37, "{" V "\"max_tokens\":8192,\"top_k\":5," THINK(2000) "," HI "}",
     REPORTED "`top_k` must be unset when thinking is enabled."},
    {SONNET37, "{" V "\"max_tokens\":8192,\"top_p\":0.9," THINK(2000) "," HI "}",
     REPORTED "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."},
    {SONNET4, "{" V "\"max_tokens\":16,\"temperature\":0.7,\"top_p\":0.9," HI "}", NULL},
    {SONNET45, "{" V "\"max_tokens\":16,\"temperature\":0.7,\"top_p\":0.9," HI "}",
     REPORTED "`temperature` and `top_p` cannot both be specified for this model. Please use only "
              "one."},
    {SONNET5, "{" V "\"max_tokens\":16,\"temperature\":1," HI "}",
     REPORTED "`temperature` is deprecated for this model."},
    {SONNET5, "{" V "\"max_tokens\":16,\"top_p\":1," HI "}",
     REPORTED "`top_p` is deprecated for this model."},

    /* An answer begun by the caller. */
    {SONNET45,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
     "\"assistant\",\"content\":\"{\"}]}",
     NULL},
    {SONNET46,
     "{" V "\"max_tokens\":16,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
     "\"assistant\",\"content\":\"{\"}]}",
     "This model does not support assistant message prefill. The conversation must end with a "
     "user message."},
};

static void bodies_are_judged_by_these_rules(void **state)
{
    (void)state;
    struct arena *arena = arena_new(8u << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct request request;
        struct refusal refusal = judge(arena, rows[i].model, rows[i].body, &request);
        if (rows[i].message == NULL && refusal.code != 0) {
            print_error("%s %s: %s\n", rows[i].model, rows[i].body, refusal.message);
        }
        assert_int_equal(refusal.code, rows[i].message == NULL ? 0 : 400);
        assert_span(span_str(refusal.message), span_str(rows[i].message));
        assert_int_equal(refusal.late, rows[i].message != NULL &&
                                           span_starts(span_str(rows[i].message), SPAN(REPORTED)));
    }
    harness_ran("bodies judged", ARRAY_LEN(rows), 57);
    arena_free(arena);
}

static void prompts_fit_the_window(void **state)
{
    (void)state;
    struct arena *arena = arena_new(32u << 20);
    struct buf body;
    struct request request;
    buf_init(&body, 8u << 20);
    buf_add_str(&body, "{" V "\"max_tokens\":8000,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 195000; i++) {
        buf_add_str(&body, " a");
    }
    buf_add_str(&body, "\"}]}");
    struct refusal refusal = judge(arena, SONNET45, buf_cstr(&body), &request);
    assert_string_equal(refusal.message,
                        "input length and `max_tokens` exceed context limit: 195004 + 8000 > "
                        "200000, decrease input length or `max_tokens` and try again");
    assert_int_equal(judge(arena, V2, buf_cstr(&body), &request).code, 0);
    assert_int_equal(judge(arena, SONNET46, buf_cstr(&body), &request).code, 0);
    buf_truncate(&body, body.len - strlen("\"}]}"));
    for (int i = 0; i < 6000; i++) {
        buf_add_str(&body, " a");
    }
    buf_add_str(&body, "\"}]}");
    assert_string_equal(judge(arena, V2, buf_cstr(&body), &request).message,
                        "prompt is too long: 201004 tokens > 200000 maximum");
    buf_clear(&body);
    arena_free(arena);
}

static void signatures_prove_text_and_model(void **state)
{
    (void)state;
    static const struct {
        const char *signer;
        const char *text;
        const char *reader;
        bool holds;
    } cases[] = {
        {SONNET45, "as it was", SONNET45, true},  {SONNET45, "changed", SONNET45, false},
        {SONNET45, "as it was", SONNET46, true},  {SONNET55, "as it was", SONNET55, true},
        {SONNET45, "as it was", SONNET55, false},
    };
    struct arena *arena = arena_new(8u << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool profile;
        struct request request;
        struct span signature = messages_signature(model_find(span_str(cases[i].signer), &profile),
                                                   SPAN("as it was"), arena);
        const char *body = arena_printf(
            arena,
            "{" V "\"max_tokens\":2000,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
            "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"%s\","
            "\"signature\":\"%.*s\"},{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"user\","
            "\"content\":\"c\"}]}",
            cases[i].text, (int)signature.len, signature.at);
        assert_int_equal(judge(arena, cases[i].reader, body, &request).code,
                         cases[i].holds ? 0 : 400);
    }
    arena_free(arena);
}

static void ids_name_models(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        const char *name; /* NULL: invalid */
        bool profile;
    } cases[] = {
        {SONNET45, "claude-sonnet-4-5-20250929", true},
        {"global.anthropic.claude-sonnet-4-6", "claude-sonnet-4-6", true},
        {V1, "claude-3-5-sonnet-20240620", false},
        {"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1",
         "claude-opus-4-6", true},
        {"global." V1, NULL, false},
        {"eu.anthropic.claude-sonnet-4-6", NULL, false},
        {"us.us.anthropic.claude-sonnet-4-6", NULL, false},
        {"anthropic.claude-sonnet-4-60", NULL, false},
        {"amazon.titan-text", NULL, false},
        {"", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool profile = false;
        const struct model *model = model_find(span_str(cases[i].id), &profile);
        assert_int_equal(model != NULL, cases[i].name != NULL);
        assert_span(span_str(model != NULL ? model->name : NULL), span_str(cases[i].name));
        assert_int_equal(profile, cases[i].profile);
    }
}

/* Bedrock's own count of this body is 18. */
static void a_recorded_count_is_met(void **state)
{
    (void)state;
    struct arena *arena = arena_new(8u << 20);
    struct request request;
    struct buf body;
    const char *path = harness_vectors(
        arena,
        "llm-http/bedrock/unary/pydantic-ai__test_anthropic_bedrock_count_tokens_real_api__0", 1);
    struct json *json =
        json_parse(harness_read(arena, arena_printf(arena, "%s/request.json", path)), NULL);
    struct json *reply =
        json_parse(harness_read(arena, arena_printf(arena, "%s/response.json", path)), NULL);
    buf_init(&body, 65536);
    assert_true(text_decode_base64(
        &body, json_string(json_get(json_get(json_get(json, "input"), "invokeModel"), "body"))));
    assert_int_equal(judge(arena, SONNET4, buf_cstr(&body), &request).code, 0);
    assert_int_equal(request.input_tokens, json_integer(json_get(reply, "inputTokens"), 0));
    buf_clear(&body);
    json_free(json);
    json_free(reply);
    arena_free(arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bodies_are_judged_by_these_rules), cmocka_unit_test(prompts_fit_the_window),
    cmocka_unit_test(signatures_prove_text_and_model),  cmocka_unit_test(ids_name_models),
    cmocka_unit_test(a_recorded_count_is_met),
};
HARNESS_MAIN(tests)
