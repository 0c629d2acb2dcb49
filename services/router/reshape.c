/*
 * The request as a model will take it. Rules: docs.anthropic.com extended thinking, and what
 * Bedrock answers when they are broken (400 and the attempt lost): max_tokens includes thinking;
 * with thinking there is no temperature and no beginning of the answer by the caller; newer models
 * refuse budgets and temperature always.
 */
#include <string.h>

#include "codec/json.h"
#include "codec/text.h"
#include "router/router.h"

#define RESHAPES_MOST     6
#define THINKING_LEAST    1024
#define ANTHROPIC_VERSION "bedrock-2023-05-31"

static void note(struct candidate *c, struct arena *arena, const char *parameter, const char *asked,
                 const char *sent, const char *why)
{
    check(c->n_reshapes < RESHAPES_MOST);
    Router__Reshape *row = ARENA_NEW(arena, Router__Reshape);
    router__reshape__init(row);
    row->parameter = arena_string(arena, span_str(parameter));
    row->asked = arena_string(arena, span_str(asked));
    row->sent = arena_string(arena, span_str(sent));
    row->why = arena_string(arena, span_str(why));
    c->reshapes[c->n_reshapes++] = row;
}

static bool begins_the_answer(const Router__Generation *g)
{
    return g->n_messages > 0 &&
           g->messages[g->n_messages - 1]->role == ROUTER__ROLE__ROLE_ASSISTANT;
}

static void reshape_thinking(const Router__Generation *g, struct arena *arena, uint64_t content,
                             struct candidate *c)
{
    uint64_t budget = g->thinking_budget_tokens;
    const char *asked = arena_printf(arena, "budget %u", g->thinking_budget_tokens);
    if (budget == 0) {
        return;
    }
    if (begins_the_answer(g)) {
        note(c, arena, "thinking", asked, "", "no model thinks when its answer is begun for it");
        return;
    }
    switch (c->model->thinking) {
    case CATALOGUE_THINKING_NONE:
        note(c, arena, "thinking", asked, "", "the model cannot think");
        return;
    case CATALOGUE_THINKING_ADAPTIVE:
        c->adaptive = true;
        note(c, arena, "thinking", asked, "adaptive",
             "the model decides by itself how much to think");
        return;
    case CATALOGUE_THINKING_BUDGET:
        break;
    }
    if (budget + content > c->model->max_output) {
        budget = c->model->max_output > content ? c->model->max_output - content : 0;
        if (budget < THINKING_LEAST) {
            note(c, arena, "thinking", asked, "",
                 "answer and thinking do not fit the model's output");
            return;
        }
        note(c, arena, "thinking", asked, arena_printf(arena, "budget %lu", budget),
             "answer and thinking must fit the model's output");
    }
    c->thinking_budget = budget;
}

static void reshape_temperature(const Router__Generation *g, struct arena *arena,
                                struct candidate *c)
{
    if (g->_temperature_case != ROUTER__GENERATION___TEMPERATURE_TEMPERATURE) {
        return;
    }
    const char *asked = arena_printf(arena, "%g", g->temperature);
    bool thinks = c->thinking_budget > 0 || c->adaptive;
    if (c->model->temperature == CATALOGUE_TEMPERATURE_NEVER) {
        note(c, arena, "temperature", asked, "", "the model takes none");
    } else if (thinks) {
        note(c, arena, "temperature", asked, "", "none is allowed while the model thinks");
    } else if (c->model->temperature == CATALOGUE_TEMPERATURE_ONLY_1 && g->temperature != 1) {
        note(c, arena, "temperature", asked, "", "the model takes only 1");
    } else {
        c->send_temperature = true;
    }
}

static bool foreign_thinking(const char *block_model, const struct catalogue_model *model)
{
    struct span name = span_str(block_model);
    if (span_starts(name, SPAN("models/"))) {
        name = span_from(name, 7);
    }
    return name.len > 0 && !span_eq(name, span_str(model->name));
}

static bool left_out(const Router__ContentBlock *block, const struct catalogue_model *model)
{
    return (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_THINKING &&
            foreign_thinking(block->thinking->model, model)) ||
           (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING &&
            foreign_thinking(block->redacted_thinking->model, model));
}

static void reshape_history(const Router__Generation *g, struct arena *arena, struct candidate *c)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_messages; i++) {
        for (size_t k = 0; k < g->messages[i]->n_content; k++) {
            n += left_out(g->messages[i]->content[k], c->model);
        }
    }
    if (n > 0) {
        note(c, arena, "thinking_blocks", arena_printf(arena, "%zu", n), "",
             "thinking of another model is not accepted");
    }
}

void reshape(const struct router *router, const Router__Generation *g,
             const struct catalogue_model *model, struct arena *arena, struct candidate *c)
{
    *c = (struct candidate){.model = model};
    c->reshapes = ARENA_ARRAY(arena, Router__Reshape *, RESHAPES_MOST);

    uint64_t content =
        g->max_content_tokens > 0 ? g->max_content_tokens : router->config->max_content_tokens;
    if (content > model->max_output) {
        note(c, arena, "max_tokens", arena_printf(arena, "%lu", content),
             arena_printf(arena, "%lu", model->max_output), "the model's longest answer");
        content = model->max_output;
    }
    reshape_thinking(g, arena, content, c);
    reshape_temperature(g, arena, c);
    reshape_history(g, arena, c);

    /* What decides by itself how much to think gets the room that was asked for. */
    uint64_t room = c->adaptive ? g->thinking_budget_tokens : c->thinking_budget;
    c->tokens.max_output = content + room < model->max_output ? content + room : model->max_output;
    c->tokens.input = reshape_input_tokens(g, model) +
                      (c->thinking_budget > 0 || c->adaptive ? ESTIMATE_THINKING : 0);
}

static struct span thinking_text(const Router__ThinkingBlock *t)
{
    return t->text_bytes.len > 0 ? span_of(t->text_bytes.data, t->text_bytes.len)
                                 : span_str(t->text);
}

static struct span block_text(const Router__ContentBlock *block)
{
    switch (block->block_case) {
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT:
        return span_str(block->text);
    case ROUTER__CONTENT_BLOCK__BLOCK_TEXT_BYTES:
        return span_of(block->text_bytes.data, block->text_bytes.len);
    case ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON:
        return span_of(block->raw_json.data, block->raw_json.len);
    case ROUTER__CONTENT_BLOCK__BLOCK_THINKING:
        return thinking_text(block->thinking);
    case ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING:
    case ROUTER__CONTENT_BLOCK__BLOCK__NOT_SET:
    case _ROUTER__CONTENT_BLOCK__BLOCK__CASE_IS_INT_SIZE:
        break;
    }
    return SPAN_NONE;
}

size_t reshape_bytes(const Router__Generation *g)
{
    size_t bytes = 0;
    for (size_t i = 0; i < g->n_system; i++) {
        bytes += block_text(g->system[i]).len;
    }
    for (size_t i = 0; i < g->n_messages; i++) {
        for (size_t k = 0; k < g->messages[i]->n_content; k++) {
            bytes += block_text(g->messages[i]->content[k]).len;
        }
    }
    return bytes;
}

uint64_t reshape_input_tokens(const Router__Generation *g, const struct catalogue_model *model)
{
    uint64_t tokens = g->n_system > 0 ? ESTIMATE_SYSTEM : 0;
    for (size_t i = 0; i < g->n_system; i++) {
        tokens += estimate_text(block_text(g->system[i]), model->tokenizer_per_mille);
    }
    for (size_t i = 0; i < g->n_messages; i++) {
        tokens += ESTIMATE_PER_MESSAGE;
        for (size_t k = 0; k < g->messages[i]->n_content; k++) {
            const Router__ContentBlock *block = g->messages[i]->content[k];
            if (!left_out(block, model)) {
                tokens += estimate_text(block_text(block), model->tokenizer_per_mille);
            }
        }
    }
    return tokens;
}

/* --- the body --------------------------------------------------------------------------------- */

static void put_cache_point(struct json_writer *w, Router__CachePoint point)
{
    if (point == ROUTER__CACHE_POINT__CACHE_POINT_UNSPECIFIED) {
        return;
    }
    json_key(w, "cache_control");
    json_begin_object(w);
    json_key(w, "type");
    json_put_string(w, SPAN("ephemeral"));
    if (point == ROUTER__CACHE_POINT__CACHE_POINT_ONE_HOUR) {
        json_key(w, "ttl");
        json_put_string(w, SPAN("1h"));
    }
    json_end_object(w);
}

static void put_member(struct json_writer *w, const char *key, struct span value)
{
    json_key(w, key);
    json_put_string(w, value);
}

static void put_thinking(struct json_writer *w, const Router__ThinkingBlock *t)
{
    put_member(w, "type", SPAN("thinking"));
    put_member(w, "thinking", thinking_text(t));
    put_member(w, "signature", span_of(t->signature.data, t->signature.len));
}

static void put_block(struct json_writer *w, const Router__ContentBlock *block)
{
    if (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_RAW_JSON) {
        json_put_raw(w, block_text(block));
        return;
    }
    json_begin_object(w);
    if (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_THINKING) {
        put_thinking(w, block->thinking);
    } else if (block->block_case == ROUTER__CONTENT_BLOCK__BLOCK_REDACTED_THINKING) {
        put_member(w, "type", SPAN("redacted_thinking"));
        put_member(
            w, "data",
            span_of(block->redacted_thinking->data.data, block->redacted_thinking->data.len));
    } else {
        put_member(w, "type", SPAN("text"));
        put_member(w, "text", block_text(block));
        put_cache_point(w, block->cache_point);
    }
    json_end_object(w);
}

static void put_message(struct json_writer *w, const Router__Message *m,
                        const struct catalogue_model *model)
{
    json_begin_object(w);
    put_member(w, "role",
               m->role == ROUTER__ROLE__ROLE_ASSISTANT ? SPAN("assistant") : SPAN("user"));
    json_key(w, "content");
    json_begin_array(w);
    for (size_t k = 0; k < m->n_content; k++) {
        if (!left_out(m->content[k], model)) {
            put_block(w, m->content[k]);
        }
    }
    json_end_array(w);
    json_end_object(w);
}

/* A message without content is refused; turns of one role in a row are not. */
static bool has_content(const Router__Message *m, const struct catalogue_model *model)
{
    for (size_t k = 0; k < m->n_content; k++) {
        if (!left_out(m->content[k], model)) {
            return true;
        }
    }
    return false;
}

static void put_messages(struct json_writer *w, const Router__Generation *g,
                         const struct catalogue_model *model)
{
    json_key(w, "messages");
    json_begin_array(w);
    for (size_t i = 0; i < g->n_messages; i++) {
        if (has_content(g->messages[i], model)) {
            put_message(w, g->messages[i], model);
        }
    }
    json_end_array(w);
}

static void put_thinking_mode(struct json_writer *w, const struct candidate *c)
{
    if (!c->adaptive && c->thinking_budget == 0) {
        return;
    }
    json_key(w, "thinking");
    json_begin_object(w);
    put_member(w, "type", c->adaptive ? SPAN("adaptive") : SPAN("enabled"));
    if (c->thinking_budget > 0) {
        json_key(w, "budget_tokens");
        json_put_integer(w, (int64_t)c->thinking_budget);
    } else {
        /* What hides its thinking unless asked would leave the caller without a trace. */
        put_member(w, "display", SPAN("summarized"));
    }
    json_end_object(w);
}

void reshape_add_body(struct buf *out, const Router__Generation *g, const struct candidate *c)
{
    struct json_writer w;
    json_writer_init(&w, out);
    json_begin_object(&w);
    put_member(&w, "anthropic_version", SPAN(ANTHROPIC_VERSION));
    json_key(&w, "max_tokens");
    json_put_integer(&w, (int64_t)c->tokens.max_output);
    if (g->n_system > 0) {
        json_key(&w, "system");
        json_begin_array(&w);
        for (size_t i = 0; i < g->n_system; i++) {
            put_block(&w, g->system[i]);
        }
        json_end_array(&w);
    }
    put_messages(&w, g, c->model);
    put_thinking_mode(&w, c);
    if (c->send_temperature) {
        json_key(&w, "temperature");
        json_put_number(&w, g->temperature);
    }
    if (g->n_stop_sequences > 0) {
        json_key(&w, "stop_sequences");
        json_begin_array(&w);
        for (size_t i = 0; i < g->n_stop_sequences; i++) {
            json_put_string(&w, span_str(g->stop_sequences[i]));
        }
        json_end_array(&w);
    }
    json_end_object(&w);
}
