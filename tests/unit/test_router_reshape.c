/* One request as each kind of model will take it: the rules, and the body byte for byte. */
#include "codec/json.h"
#include "harness.h"
#include "router/router.h"

#define ARENA_SIZE (8u << 20)

#define NONE     CATALOGUE_THINKING_NONE
#define BUDGET   CATALOGUE_THINKING_BUDGET
#define ADAPTIVE CATALOGUE_THINKING_ADAPTIVE
#define YES      CATALOGUE_TEMPERATURE_YES
#define ONLY_1   CATALOGUE_TEMPERATURE_ONLY_1
#define NEVER    CATALOGUE_TEMPERATURE_NEVER

static const struct router_config config = {.max_content_tokens = 6192};
static const struct router router = {.config = &config};

static struct catalogue_model model_of(enum catalogue_thinking thinking,
                                       enum catalogue_temperature temperature, uint64_t max_output)
{
    return (struct catalogue_model){
        .name = "mine",
        .thinking = thinking,
        .temperature = temperature,
        .max_output = max_output,
        .context_window = 200000,
        .tokenizer_per_mille = 1000,
    };
}

/* --- building requests ------------------------------------------------------------------------ */

static Router__ContentBlock *text_block(struct arena *arena, const char *text)
{
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT;
    block->text = (char *)text;
    return block;
}

static Router__ContentBlock *thinking_block(struct arena *arena, const char *text,
                                            const char *signature, const char *model)
{
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_THINKING;
    block->thinking = ARENA_NEW(arena, Router__ThinkingBlock);
    router__thinking_block__init(block->thinking);
    block->thinking->text = (char *)text;
    block->thinking->signature = (ProtobufCBinaryData){strlen(signature), (uint8_t *)signature};
    block->thinking->model = (char *)model;
    return block;
}

static Router__ContentBlock *redacted_block(struct arena *arena, const char *data,
                                            const char *model)
{
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING;
    block->redacted_thinking = ARENA_NEW(arena, Router__RedactedThinkingBlock);
    router__redacted_thinking_block__init(block->redacted_thinking);
    block->redacted_thinking->data = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
    block->redacted_thinking->model = (char *)model;
    return block;
}

static Router__ContentBlock *raw_block(struct arena *arena, const char *json)
{
    Router__ContentBlock *block = ARENA_NEW(arena, Router__ContentBlock);
    router__content_block__init(block);
    block->block_case = ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON;
    block->raw_json = (ProtobufCBinaryData){strlen(json), (uint8_t *)json};
    return block;
}

static void add_block(struct arena *arena, Router__Generation *g, Router__Role role,
                      Router__ContentBlock *block)
{
    Router__Message *last = g->n_messages > 0 ? g->messages[g->n_messages - 1] : NULL;
    if (last == NULL || last->role != role) {
        last = ARENA_NEW(arena, Router__Message);
        router__message__init(last);
        last->role = role;
        last->content = ARENA_ARRAY(arena, Router__ContentBlock *, 8);
        g->messages[g->n_messages++] = last;
    }
    last->content[last->n_content++] = block;
}

#define USER      ROUTER__ROLE__ROLE_USER
#define ASSISTANT ROUTER__ROLE__ROLE_ASSISTANT

static Router__Generation *new_generation(struct arena *arena)
{
    Router__Generation *g = ARENA_NEW(arena, Router__Generation);
    router__generation__init(g);
    g->messages = ARENA_ARRAY(arena, Router__Message *, 8);
    return g;
}

static Router__Generation *question(struct arena *arena)
{
    Router__Generation *g = new_generation(arena);
    add_block(arena, g, USER, text_block(arena, "hi"));
    return g;
}

static void set_temperature(Router__Generation *g, double temperature)
{
    g->_temperature_case = ROUTER__GENERATION___TEMPERATURE_TEMPERATURE;
    g->temperature = temperature;
}

/* The body, which is JSON whatever is in it; and what was changed: "parameter:asked>sent|...". */
struct shaped {
    struct candidate candidate;
    struct span body;
    struct span notes;
};

static struct shaped shape(const Router__Generation *g, const struct catalogue_model *model,
                           struct arena *arena)
{
    struct shaped out;
    CLEANUP(buf_clear) struct buf body, notes;
    buf_init(&body, 1u << 20);
    buf_init(&notes, 4096);
    reshape(&router, g, model, arena, &out.candidate);
    reshape_add_body(&body, g, &out.candidate);
    CLEANUP(json_drop) struct json *parsed = json_parse(buf_span(&body), NULL);
    assert_int_equal(json_type(parsed), JSON_OBJECT);
    for (size_t i = 0; i < out.candidate.n_reshapes; i++) {
        const Router__Reshape *row = out.candidate.reshapes[i];
        buf_addf(&notes, "%s%s:%s>%s", i > 0 ? "|" : "", row->parameter, row->asked, row->sent);
        assert_true(strlen(row->why) > 10);
    }
    out.body = arena_copy(arena, buf_span(&body));
    out.notes = arena_copy(arena, buf_span(&notes));
    return out;
}

/* --- rules ------------------------------------------------------------------------------------ */

#define THINKING(n) ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":" #n "}"
#define DECIDES     ",\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"}"
#define WARM(t)     ",\"temperature\":" #t
#define COLD        -1 /* no temperature is asked for */

static void test_each_model_gets_what_it_takes(void **state)
{
    (void)state;
    static const struct {
        enum catalogue_thinking thinking;
        enum catalogue_temperature temperature;
        uint64_t max_output;
        uint32_t content, budget;
        double warmth;
        uint64_t max_tokens;
        const char *members; /* behind messages */
        const char *notes;
    } cases[] = {
        /* the seed's figures: 6,192 of answer and 2,000 of thinking are 8,192 */
        {BUDGET, YES, 64000, 6192, 2000, COLD, 8192, THINKING(2000), ""},
        {BUDGET, YES, 64000, 0, 2000, COLD, 8192, THINKING(2000), ""},
        {BUDGET, YES, 64000, 0, 0, COLD, 6192, "", ""},
        {NONE, YES, 64000, 0, 0, 0.7, 6192, WARM(0.7), ""},

        /* temperature and thinking exclude each other */
        {BUDGET, YES, 64000, 0, 2000, 0.7, 8192, THINKING(2000), "temperature:0.7>"},
        {BUDGET, YES, 64000, 0, 0, 0.7, 6192, WARM(0.7), ""},
        {BUDGET, YES, 64000, 0, 0, 0, 6192, WARM(0), ""},
        {ADAPTIVE, YES, 64000, 0, 2000, 0.7, 8192, DECIDES,
         "thinking:budget 2000>adaptive|temperature:0.7>"},
        {ADAPTIVE, NEVER, 64000, 0, 0, 0.7, 6192, "", "temperature:0.7>"},
        {ADAPTIVE, NEVER, 64000, 0, 0, 1, 6192, "", "temperature:1>"},
        {NONE, NEVER, 64000, 0, 0, COLD, 6192, "", ""},
        {NONE, ONLY_1, 64000, 0, 0, 0.7, 6192, "", "temperature:0.7>"},
        {NONE, ONLY_1, 64000, 0, 0, 1, 6192, WARM(1), ""},

        /* a model that cannot think: the temperature is allowed again */
        {NONE, YES, 8192, 0, 2000, 0.7, 6192, WARM(0.7), "thinking:budget 2000>"},

        /* one that decides by itself gets the room that was asked for */
        {ADAPTIVE, NEVER, 128000, 6192, 2000, COLD, 8192, DECIDES, "thinking:budget 2000>adaptive"},
        {ADAPTIVE, NEVER, 7000, 6192, 2000, COLD, 7000, DECIDES, "thinking:budget 2000>adaptive"},

        /* the longest answer, thinking included */
        {NONE, YES, 4096, 6192, 0, COLD, 4096, "", "max_tokens:6192>4096"},
        {BUDGET, YES, 8192, 6192, 2000, COLD, 8192, THINKING(2000), ""},
        {BUDGET, YES, 8191, 6192, 2000, COLD, 8191, THINKING(1999),
         "thinking:budget 2000>budget 1999"},
        {BUDGET, YES, 7216, 6192, 2000, COLD, 7216, THINKING(1024),
         "thinking:budget 2000>budget 1024"},
        {BUDGET, YES, 7215, 6192, 2000, 0.5, 6192, WARM(0.5), "thinking:budget 2000>"},
        {BUDGET, YES, 4096, 6192, 2000, COLD, 4096, "",
         "max_tokens:6192>4096|thinking:budget 2000>"},
        {BUDGET, YES, 64000, 128000, 128000, COLD, 64000, "",
         "max_tokens:128000>64000|thinking:budget 128000>"},
        {BUDGET, YES, 64000, 1, 1024, COLD, 1025, THINKING(1024), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        struct catalogue_model model =
            model_of(cases[i].thinking, cases[i].temperature, cases[i].max_output);
        Router__Generation *g = question(arena);
        g->max_content_tokens = cases[i].content;
        g->thinking_budget_tokens = cases[i].budget;
        if (cases[i].warmth >= 0) {
            set_temperature(g, cases[i].warmth);
        }
        struct shaped s = shape(g, &model, arena);
        const char *want =
            arena_printf(arena,
                         "{\"anthropic_version\":\"bedrock-2023-05-31\",\"max_tokens\":%lu,"
                         "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                         "\"text\":\"hi\"}]}]%s}",
                         cases[i].max_tokens, cases[i].members);
        assert_span(s.body, span_str(want));
        assert_span(s.notes, span_str(cases[i].notes));
        assert_int_equal(s.candidate.tokens.max_output, cases[i].max_tokens);
        bool thinks = strstr(cases[i].members, "thinking") != NULL;
        assert_int_equal(s.candidate.tokens.input, 1 + ESTIMATE_PER_MESSAGE + (thinks ? 29 : 0));
    }
}

/* --- history ---------------------------------------------------------------------------------- */

#define HEAD "{'anthropic_version':'bedrock-2023-05-31','max_tokens':6192"
#define HI   "{'role':'user','content':[{'type':'text','text':'hi'}]}"

/* rest: what stands behind max_tokens; ' stands for ". */
static void assert_body(const struct shaped *s, const char *rest)
{
    CLEANUP(buf_clear) struct buf want;
    buf_init(&want, 65536);
    buf_addf(&want, HEAD "%s", rest);
    for (char *at = want.at; (at = strchr(at, '\'')) != NULL;) {
        *at = '"';
    }
    assert_span(s->body, buf_span(&want));
}

/* Signatures and redacted data must come back as they were, to the model that made them. */
static void test_thinking_goes_back_to_its_own_model_only(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct catalogue_model model = model_of(BUDGET, YES, 64000);
    Router__Generation *g = question(arena);
    add_block(arena, g, ASSISTANT, thinking_block(arena, "of another", "sig0", "models/other"));
    add_block(arena, g, ASSISTANT, thinking_block(arena, "mi\"ne\n", "EqQB+/w==", "models/mine"));
    add_block(arena, g, ASSISTANT, thinking_block(arena, "mine too", "sig2", "mine"));
    add_block(arena, g, ASSISTANT, thinking_block(arena, "", "sig3", ""));
    add_block(arena, g, ASSISTANT, redacted_block(arena, "b3RoZXI=", "models/other"));
    add_block(arena, g, ASSISTANT, redacted_block(arena, "Eo8B/+a=", "models/mine"));
    add_block(arena, g, ASSISTANT, text_block(arena, "answer"));
    add_block(arena, g, USER, text_block(arena, "and?"));
    struct shaped s = shape(g, &model, arena);
    assert_body(&s, ",'messages':[" HI ",{'role':'assistant','content':["
                    "{'type':'thinking','thinking':'mi\\\"ne\\n','signature':'EqQB+/w=='},"
                    "{'type':'thinking','thinking':'mine too','signature':'sig2'},"
                    "{'type':'thinking','thinking':'','signature':'sig3'},"
                    "{'type':'redacted_thinking','data':'Eo8B/+a='},"
                    "{'type':'text','text':'answer'}]},"
                    "{'role':'user','content':[{'type':'text','text':'and?'}]}]}");
    assert_span(s.notes, SPAN("thinking_blocks:2>"));
}

static void test_a_message_of_foreign_thinking_alone_is_left_out(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct catalogue_model model = model_of(BUDGET, YES, 64000);
    Router__Generation *g = question(arena);
    add_block(arena, g, ASSISTANT, thinking_block(arena, "cut off", "sig", "models/other"));
    add_block(arena, g, USER, text_block(arena, "go on"));
    struct shaped s = shape(g, &model, arena);
    assert_body(&s,
                ",'messages':[" HI ",{'role':'user','content':[{'type':'text','text':'go on'}]}]}");
    assert_int_equal(s.candidate.tokens.input, 1 + 2 + 3 * ESTIMATE_PER_MESSAGE);
}

static void test_thinking_with_u0000_is_kept(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct catalogue_model model = model_of(BUDGET, YES, 64000);
    Router__Generation *g = question(arena);
    Router__ContentBlock *thinking = thinking_block(arena, "", "sig", "models/mine");
    Router__ContentBlock *text = text_block(arena, "");
    thinking->thinking->text_bytes = (ProtobufCBinaryData){3, (uint8_t *)"a\0b"};
    text->block_case = ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES;
    text->text_bytes = (ProtobufCBinaryData){3, (uint8_t *)"c\0d"};
    add_block(arena, g, ASSISTANT, thinking);
    add_block(arena, g, USER, text);
    struct shaped s = shape(g, &model, arena);
    assert_body(&s, ",'messages':[" HI ",{'role':'assistant','content':["
                    "{'type':'thinking','thinking':'a\\u0000b','signature':'sig'}]},"
                    "{'role':'user','content':[{'type':'text','text':'c\\u0000d'}]}]}");
}

/* Whoever begins the answer gets it without thinking: both together are refused. */
static void test_an_answer_that_was_begun_is_not_thought_about(void **state)
{
    (void)state;
    static const enum catalogue_thinking kinds[] = {NONE, BUDGET, ADAPTIVE};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        struct catalogue_model model = model_of(kinds[i], YES, 64000);
        Router__Generation *g = question(arena);
        g->thinking_budget_tokens = 2000;
        set_temperature(g, 0.5);
        add_block(arena, g, ASSISTANT, text_block(arena, "{"));
        struct shaped s = shape(g, &model, arena);
        assert_body(&s, ",'messages':[" HI ",{'role':'assistant','content':["
                        "{'type':'text','text':'{'}]}],'temperature':0.5}");
        assert_span(s.notes, SPAN("thinking:budget 2000>"));
    }
}

/* --- the rest of the body --------------------------------------------------------------------- */

static void test_system_cache_points_raw_blocks_and_stop_sequences(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct catalogue_model model = model_of(NONE, YES, 64000);
    Router__Generation *g = new_generation(arena);
    Router__ContentBlock *system[] = {text_block(arena, "be brief"), text_block(arena, "rules")};
    Router__ContentBlock *prompt = text_block(arena, "long");
    char *stops[] = {"\n\nHuman:", "\"END\""};
    system[0]->cache_point = ROUTER__CACHE_POINT__CACHE_POINT_ONE_HOUR;
    prompt->cache_point = ROUTER__CACHE_POINT__CACHE_POINT_FIVE_MINUTES;
    g->system = system;
    g->n_system = 2;
    g->stop_sequences = stops;
    g->n_stop_sequences = 2;
    add_block(arena, g, USER, prompt);
    add_block(arena, g, ASSISTANT,
              raw_block(arena, "{\"type\": \"tool_use\", \"id\":\"t1\",\n \"x\":1.50}"));
    add_block(arena, g, USER,
              raw_block(arena, "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\"}"));
    struct shaped s = shape(g, &model, arena);
    assert_body(&s, ",'system':[{'type':'text','text':'be brief',"
                    "'cache_control':{'type':'ephemeral','ttl':'1h'}},"
                    "{'type':'text','text':'rules'}],"
                    "'messages':[{'role':'user','content':[{'type':'text','text':'long',"
                    "'cache_control':{'type':'ephemeral'}}]},"
                    "{'role':'assistant','content':[{'type': 'tool_use', 'id':'t1',\n 'x':1.50}]},"
                    "{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1'}]}],"
                    "'stop_sequences':['\\n\\nHuman:','\\\"END\\\"']}");
    assert_span(s.notes, SPAN(""));
}

static void test_input_tokens_count_all_that_is_sent(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct catalogue_model model = model_of(BUDGET, YES, 64000);
    Router__Generation *g = new_generation(arena);
    Router__ContentBlock *system[] = {text_block(arena, "one two three")};
    Router__ContentBlock *bytes = thinking_block(arena, "", "sig", "models/mine");
    bytes->thinking->text_bytes = (ProtobufCBinaryData){13, (uint8_t *)"one two three"};
    g->system = system;
    g->n_system = 1;
    add_block(arena, g, USER, text_block(arena, "one two"));
    add_block(arena, g, ASSISTANT, thinking_block(arena, "one", "sig", "models/mine"));
    add_block(arena, g, ASSISTANT, thinking_block(arena, "one two three", "sig", "models/other"));
    add_block(arena, g, ASSISTANT, bytes);
    add_block(arena, g, USER, raw_block(arena, "one"));
    assert_int_equal(reshape_input_tokens(g, &model),
                     ESTIMATE_SYSTEM + 3 + 3 * ESTIMATE_PER_MESSAGE + 2 + 1 + 3 + 1);
    model.tokenizer_per_mille = 2000;
    assert_int_equal(reshape_input_tokens(g, &model),
                     ESTIMATE_SYSTEM + 6 + 3 * ESTIMATE_PER_MESSAGE + 4 + 2 + 6 + 2);
}

static void test_a_body_that_is_too_large_shows_as_overflow(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf body;
    struct catalogue_model model = model_of(NONE, YES, 64000);
    struct candidate candidate;
    Router__Generation *g = question(arena);
    reshape(&router, g, &model, arena, &candidate);
    buf_init(&body, 50);
    reshape_add_body(&body, g, &candidate);
    assert_false(buf_ok(&body));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_each_model_gets_what_it_takes),
    cmocka_unit_test(test_thinking_goes_back_to_its_own_model_only),
    cmocka_unit_test(test_a_message_of_foreign_thinking_alone_is_left_out),
    cmocka_unit_test(test_thinking_with_u0000_is_kept),
    cmocka_unit_test(test_an_answer_that_was_begun_is_not_thought_about),
    cmocka_unit_test(test_system_cache_points_raw_blocks_and_stop_sequences),
    cmocka_unit_test(test_input_tokens_count_all_that_is_sent),
    cmocka_unit_test(test_a_body_that_is_too_large_shows_as_overflow),
};

HARNESS_MAIN(tests)
