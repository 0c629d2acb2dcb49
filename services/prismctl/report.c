#include "prismctl/report.h"

#include "prismctl/names.h"

#define TITLE_COLUMNS 30
#define MODEL_COLUMNS 20
#define LABEL_COLUMNS 13 /* of the totals */

static uint64_t tokens_of(const Router__TokenUsage *usage)
{
    return usage == NULL ? 0
                         : usage->input_tokens + usage->output_tokens + usage->cache_read_tokens +
                               usage->cache_write_tokens;
}

/* --- sections --------------------------------------------------------------------------------- */

static const struct table_column section_columns[] = {
    {"#", true, 0},        {"Section", false, TITLE_COLUMNS},
    {"Risk", false, 0},    {"Confidence", true, 0},
    {"Findings", true, 0}, {"Model", false, MODEL_COLUMNS},
    {"Tokens", true, 0},   {"Cost", true, 0},
};

/* The model that gave the last answer. */
static struct span model_of(const Analyzer__SectionResult *section)
{
    const Analyzer__AnalysisMetadata *metadata = section->metadata;
    for (size_t i = metadata != NULL ? metadata->n_calls : 0; i-- > 0;) {
        if (metadata->calls[i]->model[0] != '\0') {
            return short_model(metadata->calls[i]->model);
        }
    }
    return SPAN("-");
}

static void cell(struct table *table, struct buf *text)
{
    table_cell(table, STYLE_PLAIN, buf_span(text));
    buf_reset(text);
}

static void add_row(struct table *table, const Analyzer__SectionResult *section)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    bool good = outcome_is_good(section->outcome);
    buf_addf(&text, "%u", section->index + 1);
    cell(table, &text);
    table_cell(table, STYLE_PLAIN, span_str(section->title));
    table_cell(
        table, good ? style_of_level(section->risk_level) : STYLE_RED,
        span_str(good ? name_of_level(section->risk_level) : name_of_outcome(section->outcome)));
    if (good) {
        buf_addf(&text, "%.0f %%", section->confidence * 100);
    }
    cell(table, &text);
    if (good) {
        render_add_count(&text, section->n_findings);
    }
    cell(table, &text);
    table_cell(table, STYLE_PLAIN, model_of(section));
    render_add_count(&text, tokens_of(section->metadata != NULL ? section->metadata->usage : NULL));
    cell(table, &text);
    render_add_usd(&text, section->metadata != NULL ? section->metadata->cost_micro_usd : 0);
    cell(table, &text);
}

static void add_sections(const Analyzer__DocumentResult *result, const struct render *render,
                         struct arena *arena, struct buf *out)
{
    struct table *table = table_new(arena, section_columns, ARRAY_LEN(section_columns));
    for (size_t i = 0; i < result->n_sections; i++) {
        add_row(table, result->sections[i]);
    }
    table_add(table, out, render);
}

/* What went wrong or was remarkable, section by section. */
static void add_remarks(const Analyzer__SectionResult *section, const struct render *render,
                        struct buf *out)
{
    struct flow flow;
    flow_init(&flow, render, STYLE_YELLOW, "  ");
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, RENDER_TEXT_MOST);
    if (section->error != NULL) {
        buf_addf(&text, "Section %u: %s\n", section->index + 1, section->error->message);
    }
    for (size_t i = 0; i < section->n_notices; i++) {
        const Analyzer__InputNotice *notice = section->notices[i];
        buf_addf(&text, "Section %u: %s", section->index + 1, notice->kind);
        if (notice->count > 0) {
            buf_addf(&text, " (%llu)", (unsigned long long)notice->count);
        }
        buf_addf(&text, "%s%s\n", notice->detail[0] != '\0' ? ": " : "", notice->detail);
    }
    flow_add(&flow, out, buf_span(&text));
    flow_clear(&flow);
}

/* --- findings --------------------------------------------------------------------------------- */

static const Analyzer__SectionResult *section_by_id(const Analyzer__DocumentResult *result,
                                                    const char *id)
{
    for (size_t i = 0; i < result->n_sections; i++) {
        if (strcmp(result->sections[i]->section_id, id) == 0) {
            return result->sections[i];
        }
    }
    return NULL;
}

/* Anybody's text between our own, its lines run together. */
static void add_paragraph(struct buf *out, const struct render *render, enum style style,
                          const char *before, const char *text, const char *after)
{
    struct flow flow;
    CLEANUP(buf_clear) struct buf line;
    buf_init(&line, RENDER_TEXT_MOST);
    buf_add_str(&line, before);
    render_add_line(&line, span_str(text), SIZE_MAX);
    buf_add_str(&line, after);
    flow_init(&flow, render, style, "    ");
    flow_add(&flow, out, buf_span(&line));
    flow_break(&flow, out);
    flow_clear(&flow);
}

static void add_finding(const Analyzer__Finding *finding, const Analyzer__SectionResult *section,
                        const struct render *render, struct buf *out)
{
    buf_add_str(out, "  ");
    render_add(out, render, style_of_level(finding->severity), name_of_level(finding->severity));
    buf_add_str(out, "  ");
    render_begin(out, render, STYLE_BOLD);
    render_add_line(out, span_str(finding->title), render->width);
    render_end(out, render, STYLE_BOLD);
    if (section != NULL && section->title[0] != '\0') {
        buf_addf(out, "  (section %u, ", section->index + 1);
        render_add_line(out, span_str(section->title), TITLE_COLUMNS);
        buf_add_char(out, ')');
    }
    buf_add_char(out, '\n');
    if (finding->evidence[0] != '\0') {
        add_paragraph(out, render, finding->verified ? STYLE_PLAIN : STYLE_YELLOW, "“",
                      finding->evidence,
                      finding->verified ? "” ✓ verified" : "” ✗ not in the document: distrust it");
    }
    if (finding->recommendation[0] != '\0') {
        add_paragraph(out, render, STYLE_PLAIN, "→ ", finding->recommendation, "");
    }
}

static void add_findings(const Analyzer__DocumentResult *result, const struct render *render,
                         struct buf *out)
{
    if (result->n_top_findings == 0) {
        return;
    }
    buf_add_char(out, '\n');
    render_add(out, render, STYLE_BOLD, "Top findings\n");
    for (size_t i = 0; i < result->n_top_findings; i++) {
        const Analyzer__LocatedFinding *located = result->top_findings[i];
        if (located->finding != NULL) {
            add_finding(located->finding, section_by_id(result, located->section_id), render, out);
        }
    }
}

/* --- totals ----------------------------------------------------------------------------------- */

static void add_label(struct buf *out, const char *label)
{
    buf_addf(out, "  %-*s", LABEL_COLUMNS, label);
}

static void add_tokens(const Router__TokenUsage *usage, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t count;
    } classes[] = {
        {"input", usage->input_tokens},
        {"output", usage->output_tokens},
        {"cache read", usage->cache_read_tokens},
        {"cache write", usage->cache_write_tokens},
    };
    add_label(out, "Tokens");
    render_add_count(out, tokens_of(usage));
    const char *before = ": ";
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        if (classes[i].count > 0) {
            buf_add_str(out, before);
            render_add_count(out, classes[i].count);
            buf_addf(out, " %s", classes[i].name);
            before = ", ";
        }
    }
    buf_add_char(out, '\n');
}

/* saved of what version 1.0 took, both in one unit. */
static void add_share(struct buf *out, double saved, double of)
{
    if (of > 0) {
        buf_addf(out, " (%+.1f %%)", -100 * saved / of);
    }
}

static void add_savings(const Analyzer__DocumentTotals *totals, struct buf *out)
{
    int64_t saved = totals->saved_micro_usd;
    add_label(out, "Against 1.0");
    render_add_usd(out, saved < 0 ? -saved : saved);
    buf_add_str(out, saved < 0 ? " more than version 1.0 cost" : " less than version 1.0 cost");
    add_share(out, (double)saved, (double)saved + (double)totals->cost_micro_usd);
    buf_add_char(out, '\n');
    if (totals->baseline_tokens > 0) {
        add_label(out, "");
        render_add_count(out, totals->prompt_tokens);
        buf_add_str(out, " prompt tokens instead of ");
        render_add_count(out, totals->baseline_tokens);
        add_share(out, (double)totals->baseline_tokens - (double)totals->prompt_tokens,
                  (double)totals->baseline_tokens);
        buf_add_char(out, '\n');
    }
}

static void add_totals(const Analyzer__DocumentTotals *totals, const struct render *render,
                       struct buf *out)
{
    buf_add_char(out, '\n');
    render_add(out, render, STYLE_BOLD, "Totals\n");
    add_label(out, "Findings");
    buf_addf(out, "%u, of which %u verified\n", totals->findings, totals->findings_verified);
    add_label(out, "Calls");
    render_add_plural(out, totals->calls, "call");
    buf_add_str(out, ", ");
    render_add_plural(out, totals->attempts, "attempt");
    buf_add_char(out, '\n');
    if (totals->usage != NULL) {
        add_tokens(totals->usage, out);
    }
    add_label(out, "Cost");
    render_add_usd(out, totals->cost_micro_usd);
    buf_add_char(out, '\n');
    add_savings(totals, out);
    add_label(out, "Time");
    render_add_time(out, totals->total_ms);
    buf_add_char(out, '\n');
}

/* --- all -------------------------------------------------------------------------------------- */

static void add_head(const Analyzer__DocumentResult *result, const char *title,
                     const struct render *render, struct buf *out)
{
    buf_add_char(out, '\n');
    render_begin(out, render, STYLE_BOLD);
    buf_add_str(out, "Report: ");
    render_add_line(out, span_str(title), render->width);
    render_end(out, render, STYLE_BOLD);
    buf_add_str(out, "\nOverall level: ");
    render_add(out, render, style_of_level(result->overall_level),
               name_of_level(result->overall_level));
    if (result->totals != NULL) {
        buf_addf(out, "  (%u of %u sections analysed)", result->totals->sections_succeeded,
                 result->totals->sections);
    }
    buf_add_char(out, '\n');
    if (result->simulated) {
        render_add(out, render, STYLE_YELLOW,
                   "The answers are simulated: prism-simulator wrote them, no model has read the "
                   "document.\n");
    }
    buf_add_char(out, '\n');
}

void report_document(const Analyzer__DocumentResult *result, const char *title,
                     const struct render *render, struct arena *arena, struct buf *out)
{
    add_head(result, title, render, out);
    add_sections(result, render, arena, out);
    for (size_t i = 0; i < result->n_sections; i++) {
        add_remarks(result->sections[i], render, out);
    }
    add_findings(result, render, out);
    if (result->totals != NULL) {
        add_totals(result->totals, render, out);
    }
}

static void total_up(const Analyzer__SectionResult *result, Analyzer__DocumentTotals *totals)
{
    const Analyzer__AnalysisMetadata *metadata = result->metadata;
    totals->sections = 1;
    totals->sections_succeeded = outcome_is_good(result->outcome);
    totals->sections_failed = !outcome_is_good(result->outcome);
    totals->findings = (uint32_t)result->n_findings;
    for (size_t i = 0; i < result->n_findings; i++) {
        totals->findings_verified += result->findings[i]->verified;
    }
    if (metadata == NULL) {
        return;
    }
    totals->calls = (uint32_t)metadata->n_calls;
    for (size_t i = 0; i < metadata->n_calls; i++) {
        totals->attempts += (uint32_t)metadata->calls[i]->n_attempts;
    }
    totals->usage = metadata->usage;
    totals->cost_micro_usd = metadata->cost_micro_usd;
    totals->saved_micro_usd = metadata->saved_micro_usd;
    totals->total_ms = metadata->total_ms;
    if (metadata->prompt != NULL) {
        totals->prompt_tokens = metadata->prompt->prompt_tokens;
        totals->baseline_tokens = metadata->prompt->baseline_tokens;
    }
}

void report_section(Analyzer__SectionResult *result, const char *title, const struct render *render,
                    struct arena *arena, struct buf *out)
{
    Analyzer__DocumentTotals totals = ANALYZER__DOCUMENT_TOTALS__INIT;
    total_up(result, &totals);
    Analyzer__LocatedFinding *located =
        ARENA_ARRAY(arena, Analyzer__LocatedFinding, result->n_findings);
    Analyzer__LocatedFinding **findings =
        ARENA_ARRAY(arena, Analyzer__LocatedFinding *, result->n_findings);
    for (size_t i = 0; i < result->n_findings; i++) {
        analyzer__located_finding__init(&located[i]);
        located[i].section_id = result->section_id;
        located[i].finding = result->findings[i];
        findings[i] = &located[i];
    }
    Analyzer__DocumentResult document = ANALYZER__DOCUMENT_RESULT__INIT;
    document.sections = &result;
    document.n_sections = 1;
    document.overall_level = result->risk_level;
    document.top_findings = findings;
    document.n_top_findings = result->n_findings;
    document.totals = &totals;
    document.simulated = result->metadata != NULL && result->metadata->simulated;
    report_document(&document, title, render, arena, out);
}
