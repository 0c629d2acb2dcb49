#include "prismctl/view.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/map.h"
#include "prismctl/names.h"

#define THINKING_MOST (4u << 20) /* of one section, not yet shown */
#define SECTIONS_MOST 10000
#define TITLE_COLUMNS 28
#define TEXT_COLUMNS  160  /* of what others wrote, within a line */
#define PATIENCE_MS   1000 /* how long a line about others waits for the end of a paragraph */
#define QUEUE_MS      100  /* shorter waits are not worth a word */
#define NO_INDEX      UINT32_MAX
#define PREFIX        "   │ "

enum phase {
    PHASE_IDLE,
    PHASE_THINKING,
    PHASE_PAST, /* has thought */
};

struct section {
    uint32_t index; /* place in the document, or NO_INDEX */
    char *label;
    enum phase phase;
    uint32_t run;
    struct buf thinking; /* not yet shown */
    char *waits;         /* the last line about waiting: the next may say the same */
};

struct view {
    const struct render *render;
    const char *title;
    bool thinking;
    struct map *sections; /* by id */
    size_t total;         /* sections of the document, 0: not known */
    struct section *shown;
    struct flow flow;  /* the reasoning of the one shown */
    struct buf later;  /* lines that wait for its end */
    uint64_t later_ms; /* since then */
    uint64_t now_ms;   /* of the event at hand */
};

static void say_later(struct view *view, struct buf *out)
{
    buf_add_span(out, buf_span(&view->later));
    buf_reset(&view->later);
}

static bool is_urgent(const struct view *view)
{
    return view->later.len > 0 && view->now_ms - view->later_ms > PATIENCE_MS;
}

/* Others get their say at the end of a paragraph, or of a line when they have waited. */
static void line_ended(void *arg, struct buf *out, bool whole)
{
    struct view *view = arg;
    if (whole || is_urgent(view)) {
        say_later(view, out);
    }
}

struct view *view_new(const struct render *render, const char *title, bool thinking)
{
    struct view *view = ALLOC(struct view);
    view->render = render;
    view->title = title;
    view->thinking = thinking;
    view->sections = map_new();
    flow_init(&view->flow, render, STYLE_DIM, PREFIX);
    view->flow.ended = line_ended;
    view->flow.arg = view;
    buf_init(&view->later, RENDER_TEXT_MOST);
    return view;
}

static void section_free(struct section *section)
{
    buf_clear(&section->thinking);
    free(section->label);
    free(section->waits);
    free(section);
}

void view_free(struct view *view)
{
    if (view == NULL) {
        return;
    }
    for (struct map_entry *e = map_first(view->sections); e != NULL; e = map_next(e)) {
        section_free(map_value(e));
    }
    map_free(view->sections);
    flow_clear(&view->flow);
    buf_clear(&view->later);
    free(view);
}

/* --- sections --------------------------------------------------------------------------------- */

/* " 3/15 Title"; what is no section of the document has no number. */
static void add_label(const struct view *view, struct buf *label, uint32_t index, struct span title)
{
    CLEANUP(buf_clear) struct buf total;
    buf_init(&total, 64);
    buf_addf(&total, "%zu", view->total);
    if (index != NO_INDEX && view->total > 0) {
        buf_addf(label, "%*u/%s ", (int)total.len, index + 1, buf_cstr(&total));
    } else if (view->total > 0) {
        buf_addf(label, "%*s", 2 * (int)total.len + 2, "");
    }
    size_t start = label->len;
    render_add_line(label, title, TITLE_COLUMNS);
    size_t columns = render_columns(span_from(buf_span(label), start));
    buf_addf(label, "%*s", (int)(TITLE_COLUMNS - columns), "");
}

/* NULL when there are too many. */
static struct section *section_add(struct view *view, const char *id, uint32_t index,
                                   const char *title)
{
    if (map_count(view->sections) >= SECTIONS_MOST) {
        return NULL;
    }
    CLEANUP(buf_clear) struct buf label;
    buf_init(&label, RENDER_TEXT_MOST);
    add_label(view, &label, index, span_str(title));
    struct section *section = ALLOC(struct section);
    section->index = index;
    section->label = buf_take(&label);
    buf_init(&section->thinking, THINKING_MOST);
    map_set(view->sections, span_str(id), section);
    return section;
}

void view_sections(struct view *view, const Analyzer__Task *task)
{
    view->total = task->n_sections;
    for (size_t i = 0; i < task->n_sections; i++) {
        const Analyzer__SectionProgress *progress = task->sections[i];
        if (map_get(view->sections, span_str(progress->section_id)) == NULL) {
            const char *title = progress->title[0] != '\0' ? progress->title : view->title;
            section_add(view, progress->section_id, progress->index, title);
        }
    }
}

static struct section *section_of(struct view *view, const char *id)
{
    struct section *section = map_get(view->sections, span_str(id));
    if (section != NULL) {
        return section;
    }
    bool alone = id[0] == '\0' || view->total == 0;
    return section_add(view, id, NO_INDEX, alone ? view->title : id);
}

/* --- lines ------------------------------------------------------------------------------------ */

void view_break(struct view *view, struct buf *out)
{
    flow_break(&view->flow, out);
    say_later(view, out);
}

/* A line about a section: at once, or when the reasoning of another reaches the end of a line. */
static void say(struct view *view, const struct section *section, struct buf *text, struct buf *out)
{
    bool waits = view->flow.column > 0;
    if (waits && view->later.len == 0) {
        view->later_ms = view->now_ms;
    }
    struct buf *to = waits ? &view->later : out;
    buf_add_str(to, section->label);
    buf_add_str(to, "  ");
    buf_add_span(to, buf_span(text));
    buf_add_char(to, '\n');
}

static void say_text(struct view *view, const struct section *section, const char *words,
                     struct buf *out)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    buf_add_str(&text, words);
    say(view, section, &text, out);
}

/* --- reasoning -------------------------------------------------------------------------------- */

/* The foremost section that is thinking, NULL when none is. */
static struct section *foremost(const struct view *view)
{
    struct section *best = NULL;
    for (struct map_entry *e = map_first(view->sections); e != NULL; e = map_next(e)) {
        struct section *section = map_value(e);
        if (section->phase == PHASE_THINKING && (best == NULL || section->index < best->index)) {
            best = section;
        }
    }
    return best;
}

/* When no reasoning is shown, the foremost is, from its beginning. */
static void show_next(struct view *view, struct buf *out)
{
    struct section *next = view->shown == NULL && view->thinking ? foremost(view) : NULL;
    if (next == NULL) {
        return;
    }
    say_text(view, next, "thinking:", out);
    flow_add(&view->flow, out, buf_span(&next->thinking));
    buf_clear(&next->thinking);
    view->shown = next;
}

/* The section thinks no more, or from the beginning again. */
static void stop_thinking(struct view *view, struct section *section, enum phase phase,
                          struct buf *out)
{
    section->phase = phase;
    buf_clear(&section->thinking);
    if (view->shown == section) {
        view->shown = NULL;
        view_break(view, out);
    }
}

static void on_thinking(struct view *view, struct section *section,
                        const Router__ThinkingDelta *delta, struct buf *out)
{
    struct span text = delta->text_bytes.len > 0
                           ? span_of(delta->text_bytes.data, delta->text_bytes.len)
                           : span_str(delta->text);
    if (view->shown == section) {
        flow_add(&view->flow, out, text);
        return;
    }
    if (section->phase != PHASE_THINKING && (view->shown != NULL || !view->thinking)) {
        say_text(view, section, "thinking", out);
    }
    section->phase = PHASE_THINKING;
    buf_add_span(&section->thinking, view->thinking ? text : SPAN_NONE);
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_queued(struct view *view, struct section *section, const Router__Queued *queued,
                      struct buf *out)
{
    /* That a section waits for a worker goes without saying. */
    if (strcmp(queued->reason, "WORKER") == 0 && section->index != NO_INDEX) {
        return;
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    buf_add_str(&text, "waits: ");
    render_add_line(&text, span_str(queued->reason), TEXT_COLUMNS);
    if (queued->resource[0] != '\0') {
        buf_add_str(&text, " of ");
        render_add_line(&text, short_model(queued->resource), TEXT_COLUMNS);
    }
    if (section->waits != NULL && strcmp(section->waits, buf_cstr(&text)) == 0) {
        return;
    }
    free(section->waits);
    section->waits = alloc_string(buf_span(&text));
    if (queued->position > 0) {
        buf_addf(&text, ", place %u", queued->position);
    }
    if (queued->eta_ms > 0) {
        buf_add_str(&text, queued->exact ? ", " : ", about ");
        render_add_time(&text, queued->eta_ms);
    }
    say(view, section, &text, out);
}

static void add_skipped(struct buf *text, const Router__SkippedModel *skipped)
{
    buf_add_str(text, "; passed over ");
    render_add_line(text, short_model(skipped->model), TEXT_COLUMNS);
    if (skipped->region[0] != '\0') {
        buf_add_str(text, " in ");
        render_add_line(text, span_str(skipped->region), TEXT_COLUMNS);
    }
    for (size_t i = 0; i < skipped->n_reasons; i++) {
        buf_add_str(text, i == 0 ? ": " : ", ");
        render_add_line(text, span_str(skipped->reasons[i]), TEXT_COLUMNS);
    }
}

static void on_admitted(struct view *view, struct section *section,
                        const Router__Admitted *admitted, struct buf *out)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    stop_thinking(view, section, PHASE_IDLE, out);
    free(section->waits);
    section->waits = NULL;
    buf_addf(&text, "tier %u: ", admitted->tier);
    render_add_line(&text, short_model(admitted->model), TEXT_COLUMNS);
    buf_add_str(&text, " in ");
    render_add_line(&text, span_str(admitted->region), TEXT_COLUMNS);
    if (admitted->attempt > 1) {
        buf_addf(&text, ", attempt %u", admitted->attempt);
    }
    if (admitted->queue_ms >= QUEUE_MS) {
        buf_add_str(&text, ", after ");
        render_add_time(&text, admitted->queue_ms);
    }
    for (size_t i = 0; i < admitted->n_skipped; i++) {
        add_skipped(&text, admitted->skipped[i]);
    }
    say(view, section, &text, out);
}

static void on_restarted(struct view *view, struct section *section,
                         const Router__Restarted *restarted, struct buf *out)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    stop_thinking(view, section, PHASE_IDLE, out);
    render_add_line(&text, short_model(restarted->model), TEXT_COLUMNS);
    buf_add_str(&text, " broke off (");
    render_add_line(&text, span_str(restarted->reason), TEXT_COLUMNS);
    buf_addf(&text, "): attempt %u begins anew", restarted->attempt);
    say(view, section, &text, out);
}

static void add_findings(struct buf *text, const Analyzer__SectionResult *result)
{
    size_t unverified = 0;
    for (size_t i = 0; i < result->n_findings; i++) {
        unverified += !result->findings[i]->verified;
    }
    buf_add_str(text, ", ");
    render_add_plural(text, result->n_findings, "finding");
    if (unverified > 0) {
        buf_addf(text, " (%zu unverified)", unverified);
    }
}

static void add_account(struct buf *text, const Analyzer__AnalysisMetadata *metadata)
{
    buf_add_str(text, ", ");
    const Router__TokenUsage *usage = metadata->usage;
    uint64_t tokens = usage == NULL ? 0
                                    : usage->input_tokens + usage->output_tokens +
                                          usage->cache_read_tokens + usage->cache_write_tokens;
    render_add_plural(text, tokens, "token");
    buf_add_str(text, ", ");
    render_add_usd(text, metadata->cost_micro_usd);
    buf_add_str(text, ", ");
    render_add_time(text, metadata->total_ms);
}

static void on_result(struct view *view, struct section *section,
                      const Analyzer__SectionResult *result, struct buf *out)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    stop_thinking(view, section, PHASE_PAST, out);
    if (outcome_is_good(result->outcome)) {
        buf_addf(&text, "%s: ", name_of_outcome(result->outcome));
        render_add(&text, view->render, style_of_level(result->risk_level),
                   name_of_level(result->risk_level));
        add_findings(&text, result);
    } else {
        render_add(&text, view->render, STYLE_RED, name_of_outcome(result->outcome));
        if (result->error != NULL) {
            buf_add_str(&text, ": ");
            render_add_line(&text, span_str(result->error->message), TEXT_COLUMNS);
        }
    }
    if (result->metadata != NULL) {
        add_account(&text, result->metadata);
    }
    say(view, section, &text, out);
}

/* States of sections show in what else is said about them; the end of the task does not. */
static void on_state(struct view *view, struct section *section,
                     const Analyzer__StateChange *change, struct buf *out)
{
    bool ended_badly = change->state == ANALYZER__TASK__STATE__STATE_FAILED ||
                       change->state == ANALYZER__TASK__STATE__STATE_CANCELLED;
    if (section->index != NO_INDEX || !ended_badly) {
        return;
    }
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    render_add(&text, view->render, STYLE_RED, name_of_state(change->state));
    if (change->reason[0] != '\0') {
        buf_add_str(&text, ": ");
        render_add_line(&text, span_str(change->reason), TEXT_COLUMNS);
    }
    say(view, section, &text, out);
}

static void on_run(struct view *view, struct section *section, uint32_t run, struct buf *out)
{
    if (section->run > 0 && run > section->run) {
        CLEANUP(buf_clear) struct buf text;
        buf_init(&text, RENDER_TEXT_MOST);
        stop_thinking(view, section, PHASE_IDLE, out);
        buf_addf(&text, "taken up again (run %u): what was said before is void", run);
        say(view, section, &text, out);
    }
    section->run = run > section->run ? run : section->run;
}

void view_event(struct view *view, const Analyzer__AnalysisEvent *event, uint64_t now_ms,
                struct buf *out)
{
    view->now_ms = now_ms;
    struct section *section = section_of(view, event->section_id);
    if (section == NULL) {
        return;
    }
    on_run(view, section, event->run, out);
    switch (event->event_case) {
    case ANALYZER__ANALYSIS_EVENT__EVENT_QUEUED:
        on_queued(view, section, event->queued, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_ADMITTED:
        on_admitted(view, section, event->admitted, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_RESTARTED:
        on_restarted(view, section, event->restarted, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_THINKING_DELTA:
        on_thinking(view, section, event->thinking_delta, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_TEXT_DELTA:
        if (section->phase == PHASE_THINKING) {
            stop_thinking(view, section, PHASE_PAST, out);
        }
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_STATE_CHANGE:
        on_state(view, section, event->state_change, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_SECTION_RESULT:
        on_result(view, section, event->section_result, out);
        break;
    case ANALYZER__ANALYSIS_EVENT__EVENT_DOCUMENT_RESULT:
    case ANALYZER__ANALYSIS_EVENT__EVENT_CHAT_REPLY:
    case ANALYZER__ANALYSIS_EVENT__EVENT_KEEP_ALIVE:
    case ANALYZER__ANALYSIS_EVENT__EVENT_BLOCK_START:
    case ANALYZER__ANALYSIS_EVENT__EVENT_SIGNATURE_DELTA:
    case ANALYZER__ANALYSIS_EVENT__EVENT_REDACTED_THINKING:
    case ANALYZER__ANALYSIS_EVENT__EVENT_RAW_BLOCK:
    case ANALYZER__ANALYSIS_EVENT__EVENT_BLOCK_STOP:
    case ANALYZER__ANALYSIS_EVENT__EVENT__NOT_SET:
    case _ANALYZER__ANALYSIS_EVENT__EVENT__CASE_IS_INT_SIZE:
        break;
    }
    show_next(view, out);
}
