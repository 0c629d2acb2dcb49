#include "simulator/behaviour.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "codec/hash.h"
#include "codec/json.h"
#include "simulator/messages.h"
#include "simulator/reader.h"
#include "simulator/tokens.h"

#define ANSWER_MOST     (1u << 20)
#define OPENING         "This is a simulated trace: fixed rules scan the text, no model thinks here."
#define THINKING_TARGET 4000 /* tokens of a trace whose length nobody limits */
#define THINKING_UNSEEN 3    /* tokens that usage counts and invocationMetrics does not */
#define JITTER_PERCENT  20

uint64_t behaviour_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Where all that looks random comes from, and the message's id. */
static void derive(const struct behaviour *behaviour, const struct model *model, struct span body,
                   struct answer *out)
{
    static const char digits[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    uint8_t digest[HASH_SHA256_SIZE];
    struct hash_sha256 *hash = hash_sha256_begin();
    hash_sha256_add(hash, span_of(&behaviour->seed, sizeof(behaviour->seed)));
    hash_sha256_add(hash, span_str(model->id));
    hash_sha256_add(hash, body);
    hash_sha256_end(hash, digest);
    memcpy(&out->random, digest, sizeof(out->random));
    int at = snprintf(out->id, sizeof(out->id), "msg_bdrk_01");
    for (size_t i = 8; i < HASH_SHA256_SIZE - 2; i++) {
        out->id[at++] = digits[digest[i] % (sizeof(digits) - 1)];
    }
    out->id[at] = '\0';
}

static bool mentions(struct span text)
{
    return span_find(text, SPAN("risk_level")) != SPAN_MISSING;
}

/* The prompt names the member of the result it wants; what the marked data says is no prompt. */
static bool asks_for_json(const struct request *request, struct span data, bool marked)
{
    struct span user = request->user;
    size_t before = marked ? (size_t)(data.at - user.at) : 0;
    return mentions(request->system) || (marked ? mentions(span_first(user, before)) ||
                                                      mentions(span_from(user, before + data.len))
                                                : mentions(user));
}

static void add_quoted(struct buf *out, struct span text, size_t most)
{
    struct span shown = utf8_first(text, most);
    buf_add_char(out, '"');
    buf_add_span(out, shown);
    buf_add_str(out, shown.len < text.len ? "...\"" : "\"");
}

static void add_mark(struct buf *out, const struct reader_mark *mark)
{
    buf_addf(out, "Sentence %zu", mark->sentence);
    if (mark->quote.len > 0) {
        buf_add_str(out, " says ");
        add_quoted(out, mark->quote, 160);
    }
    buf_add_str(out, mark->quote.len > 0 ? " The words " : ". The words ");
    add_quoted(out, mark->phrase, 60);
    buf_addf(out, " stand for %s", mark->concern);
    if (mark->remedy.len > 0) {
        buf_add_str(out, ", but ");
        add_quoted(out, mark->remedy, 40);
        buf_add_str(out, " says that something is done about it");
    }
    buf_addf(out, ": weight %u of 10.\n", mark->weight);
}

static void add_thinking(struct buf *out, const struct reader_report *report, struct span data)
{
    buf_addf(out,
             OPENING "\n\nThe text has %zu bytes and %zu sentences. I go through them and look "
                     "for phrases that name a weakness.\n\n",
             data.len, report->sentences);
    size_t last = 0;
    for (size_t i = 0; i < report->n_marks; i++) {
        size_t sentence = report->marks[i].sentence;
        if (sentence == last + 2) {
            buf_addf(out, "Sentence %zu names none.\n", last + 1);
        } else if (sentence > last + 2) {
            buf_addf(out, "Sentences %zu to %zu name none.\n", last + 1, sentence - 1);
        }
        add_mark(out, &report->marks[i]);
        last = sentence;
    }
    if (report->flagged > report->n_marks) {
        buf_addf(out, "Another %zu sentences name a weakness; I stop looking at them one by one.\n",
                 report->flagged - report->n_marks);
    } else if (last < report->sentences) {
        buf_addf(out, "The rest, up to sentence %zu, names none.\n", report->sentences);
    }
    buf_addf(out, "\nTaken together: %zu of %zu sentences name a weakness. ", report->flagged,
             report->sentences);
    for (size_t i = 0; i < report->n_findings; i++) {
        buf_addf(out, "%s sentence %zu with weight %u", i == 0 ? "The strongest is" : ", then",
                 report->findings[i]->sentence, report->findings[i]->weight);
    }
    buf_addf(out, "%sThe score is %u, which the rules call %s.", report->n_findings > 0 ? ". " : "",
             report->score, report->risk_level);
}

static void add_reasoning(struct buf *out, const struct reader_report *report)
{
    buf_addf(out,
             "Produced by the rules of a simulator, not by a model. %zu of %zu sentences name a "
             "weakness",
             report->flagged, report->sentences);
    if (report->n_findings > 0) {
        buf_addf(out, "; the strongest is %s (weight %u of 10)", report->findings[0]->concern,
                 report->findings[0]->weight);
    }
    buf_addf(out, ". The score %u stands for %s.", report->score, report->risk_level);
}

static void add_json(struct buf *out, const struct reader_report *report)
{
    struct json_writer w;
    CLEANUP(buf_clear) struct buf reasoning;
    buf_init(&reasoning, 1024);
    add_reasoning(&reasoning, report);
    json_writer_init(&w, out);
    json_begin_object(&w);
    json_key(&w, "risk_level");
    json_put_string(&w, span_str(report->risk_level));
    json_key(&w, "confidence");
    json_put_number(&w, report->confidence / 100.0);
    json_key(&w, "reasoning");
    json_put_string(&w, buf_span(&reasoning));
    json_key(&w, "findings");
    json_begin_array(&w);
    for (size_t i = 0; i < report->n_findings; i++) {
        const struct reader_mark *finding = report->findings[i];
        json_begin_object(&w);
        json_key(&w, "title");
        json_put_string(&w, span_str(finding->title));
        json_key(&w, "severity");
        json_put_string(&w, span_str(finding->severity));
        json_key(&w, "evidence");
        json_put_string(&w, finding->quote);
        json_key(&w, "recommendation");
        json_put_string(&w, span_str(finding->advice));
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
}

static void add_prose(struct buf *out, const struct reader_report *report)
{
    buf_add_str(out, "This answer is simulated: rules produced it, not a model. ");
    if (report->n_findings == 0) {
        buf_addf(out, "None of the %zu sentences I was given names a weakness I know.",
                 report->sentences);
        return;
    }
    buf_addf(out, "Of %zu sentences %zu name a weakness, which I would call %s.", report->sentences,
             report->flagged, report->risk_level);
    for (size_t i = 0; i < report->n_findings && i < 3; i++) {
        buf_addf(out, "\n\n- %s (%s): ", report->findings[i]->title, report->findings[i]->severity);
        add_quoted(out, report->findings[i]->quote, READER_QUOTE_MAX);
        buf_addf(out, " %s", report->findings[i]->advice);
    }
}

/* Ends the text where the first of the request's stop sequences begins. */
static bool stop_at_sequence(const struct json *stops, struct answer *out)
{
    size_t first = SPAN_MISSING;
    for (size_t i = 0; i < json_count(stops); i++) {
        struct span stop = json_string(json_at(stops, i));
        size_t at = stop.len > 0 ? span_find(out->text, stop) : SPAN_MISSING;
        if (at < first) {
            first = at;
            out->stop_sequence = stop;
        }
    }
    out->text = span_first(out->text, first);
    return first != SPAN_MISSING;
}

/* Cuts thinking and text to max_tokens and counts them. */
static void measure(const struct request *request, struct answer *out)
{
    uint32_t percent = request->model->generation->tokens_percent;
    uint64_t left = request->max_tokens;
    uint64_t thought = 0;
    bool cut = false;
    if (request->thinks) {
        struct span whole = out->thinking;
        out->thinking = tokens_first(whole, left, percent);
        cut = out->thinking.len < whole.len;
        thought = tokens_count(out->thinking, percent) + THINKING_UNSEEN;
        thought = thought < left ? thought : left;
        left -= thought;
    }
    bool stopped = !cut && stop_at_sequence(request->stops, out);
    struct span whole = out->text;
    out->text = cut ? SPAN_NONE : tokens_first(whole, left, percent);
    cut = out->text.len < whole.len;
    out->thinking_tokens = thought;
    out->output_tokens = thought + tokens_count(out->text, percent);
    out->output_tokens += out->output_tokens == 0;
    out->metric_tokens =
        out->output_tokens - (thought > THINKING_UNSEEN ? (uint64_t)THINKING_UNSEEN : 0);
    out->stop_reason = cut ? "max_tokens" : stopped ? "stop_sequence" : "end_turn";
    if (cut) {
        out->stop_sequence = SPAN_NONE;
    }
}

static void time_it(const struct behaviour *behaviour, struct answer *out)
{
    uint64_t random = out->random;
    uint64_t percent = 100 - JITTER_PERCENT + behaviour_random(&random) % (2 * JITTER_PERCENT + 1);
    double rate = behaviour->token_rate * out->model->rate_percent / 100.0;
    out->first_ms = behaviour->ttft_ms * out->model->ttft_percent * percent / 10000;
    out->token_ms = 1000.0 / rate;
}

void behaviour_answer(const struct behaviour *behaviour, const struct request *request,
                      struct span body, struct arena *arena, struct answer *out)
{
    struct answer answer = {
        .model = request->model,
        .thinks = request->thinks,
        .input_tokens = request->input_tokens,
    };
    uint32_t percent = request->model->generation->tokens_percent;
    struct span data = request->user;
    struct reader_report report;
    CLEANUP(buf_clear) struct buf thinking;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&thinking, ANSWER_MOST);
    buf_init(&text, ANSWER_MOST);

    derive(behaviour, request->model, body, &answer);
    bool marked = reader_data(request->user, &data);
    reader_read(data, arena, &report);
    add_thinking(&thinking, &report, data);
    if (asks_for_json(request, data, marked)) {
        add_json(&text, &report);
    } else {
        add_prose(&text, &report);
    }
    answer.thinking = tokens_first(
        buf_span(&thinking), request->budget > 0 ? request->budget : THINKING_TARGET, percent);
    answer.text = buf_span(&text);
    if (span_starts(answer.text, span_trim(request->prefill))) {
        answer.text = span_from(answer.text, span_trim(request->prefill).len);
    }
    measure(request, &answer);
    time_it(behaviour, &answer);
    answer.text = arena_copy(arena, answer.text);
    answer.stop_sequence = arena_copy(arena, answer.stop_sequence);
    answer.thinking =
        request->thinks && request->shows_thinking ? arena_copy(arena, answer.thinking) : SPAN_NONE;
    answer.signature = messages_signature(request->model, answer.thinking, arena);
    *out = answer;
}
