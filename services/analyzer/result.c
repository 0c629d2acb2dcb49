#include "analyzer/result.h"

#include <string.h>

#include "base/utf8.h"
#include "codec/json.h"

static const struct {
    struct span word;
    Analyzer__RiskLevel level;
} levels[] = {
    {SPAN("Low"), ANALYZER__RISK_LEVEL__RISK_LEVEL_LOW},
    {SPAN("Medium-Low"), ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM_LOW},
    {SPAN("Medium"), ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM},
    {SPAN("Medium-High"), ANALYZER__RISK_LEVEL__RISK_LEVEL_MEDIUM_HIGH},
    {SPAN("High"), ANALYZER__RISK_LEVEL__RISK_LEVEL_HIGH},
    {SPAN("Critical"), ANALYZER__RISK_LEVEL__RISK_LEVEL_CRITICAL},
};

Analyzer__RiskLevel result_level(struct span word)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (span_eq_nocase(word, levels[i].word)) {
            return levels[i].level;
        }
    }
    return ANALYZER__RISK_LEVEL__RISK_LEVEL_UNSPECIFIED;
}

const char *result_level_word(Analyzer__RiskLevel level)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (level == levels[i].level) {
            return levels[i].word.at;
        }
    }
    return "";
}

/* --- evidence --------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Every run of white space as one space. */
static void add_folded(struct buf *out, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_blank(text.at[i])) {
            buf_add_char(out, text.at[i]);
        } else if (i == 0 || !is_blank(text.at[i - 1])) {
            buf_add_char(out, ' ');
        }
    }
}

/* Where the first `folded` bytes of the folded text end in the text. */
static size_t unfolded(struct span text, size_t folded)
{
    size_t at = 0;
    for (; folded > 0; folded--) {
        bool blank = is_blank(text.at[at++]);
        while (blank && at < text.len && is_blank(text.at[at])) {
            at++;
        }
    }
    return at;
}

static bool locate_folded(struct span section, struct span evidence, size_t *offset, size_t *len)
{
    CLEANUP(buf_clear) struct buf hay;
    CLEANUP(buf_clear) struct buf needle;
    buf_init(&hay, section.len);
    buf_init(&needle, evidence.len);
    add_folded(&hay, section);
    add_folded(&needle, evidence);
    size_t at = span_find(buf_span(&hay), buf_span(&needle));
    if (at == SPAN_MISSING) {
        return false;
    }
    *offset = unfolded(section, at);
    *len = unfolded(section, at + needle.len) - *offset;
    return true;
}

bool result_locate(struct span section, struct span evidence, size_t *offset, size_t *len)
{
    evidence = span_trim(evidence);
    if (evidence.len == 0) {
        return false;
    }
    size_t at = span_find(section, evidence);
    if (at == SPAN_MISSING) {
        return locate_folded(section, evidence, offset, len);
    }
    *offset = at;
    *len = evidence.len;
    return true;
}

/* Where the first `len` bytes of data end in text. */
static size_t end_in_text(struct span text, struct span data, size_t len)
{
    size_t at = 0;
    for (size_t done = 0; done < len;) {
        struct span rest = span_from(data, done), here = span_from(text, at);
        struct span next = span_first(rest, utf8_sequence(rest));
        bool same = span_starts(here, next);
        at += same ? next.len : utf8_sequence(here);
        done += same ? next.len : 0;
    }
    return at;
}

void result_move_evidence(Analyzer__SectionResult *result, struct span data, struct span text)
{
    for (size_t i = 0; i < result->n_findings; i++) {
        Analyzer__Finding *finding = result->findings[i];
        if (finding->verified) {
            size_t begin = finding->evidence_offset, end = begin + finding->evidence_length;
            size_t first = utf8_sequence(span_from(data, begin));
            finding->evidence_offset = end_in_text(text, data, begin + first) - first;
            finding->evidence_length = end_in_text(text, data, end) - finding->evidence_offset;
        }
    }
}

/* --- one answer ------------------------------------------------------------------------------- */

static bool take_text(const struct json *object, const char *key, bool required,
                      struct arena *arena, char **out, const char **why)
{
    const struct json *value = json_get(object, key);
    struct span text = json_string(value);
    if (value == NULL && !required) {
        return true;
    }
    if (json_type(value) != JSON_STRING || (required && text.len == 0) ||
        text.len > RESULT_TEXT_MOST || span_find_char(text, '\0') != SPAN_MISSING) {
        *why = arena_printf(arena, "%s is not a text of at most %d bytes", key, RESULT_TEXT_MOST);
        return false;
    }
    *out = arena_string(arena, text);
    return true;
}

static bool take_level(const struct json *object, const char *key, struct arena *arena,
                       Analyzer__RiskLevel *out, const char **why)
{
    *out = result_level(json_string(json_get(object, key)));
    if (*out == ANALYZER__RISK_LEVEL__RISK_LEVEL_UNSPECIFIED) {
        *why = arena_printf(arena, "%s is not one of the six levels", key);
        return false;
    }
    return true;
}

static bool take_finding(const struct json *object, struct span section, struct arena *arena,
                         Analyzer__Finding **out, const char **why)
{
    Analyzer__Finding *finding = ARENA_NEW(arena, Analyzer__Finding);
    analyzer__finding__init(finding);
    if (json_type(object) != JSON_OBJECT) {
        *why = "a finding is not an object";
        return false;
    }
    if (!take_text(object, "title", true, arena, &finding->title, why) ||
        !take_level(object, "severity", arena, &finding->severity, why) ||
        !take_text(object, "evidence", true, arena, &finding->evidence, why) ||
        !take_text(object, "recommendation", false, arena, &finding->recommendation, why)) {
        return false;
    }
    size_t offset, len;
    if (result_locate(section, span_str(finding->evidence), &offset, &len)) {
        finding->verified = true;
        finding->evidence_offset = offset;
        finding->evidence_length = len;
    }
    *out = finding;
    return true;
}

static bool take_answer(const struct json *root, struct span section, struct arena *arena,
                        Analyzer__SectionResult *out, const char **why)
{
    if (json_type(root) != JSON_OBJECT) {
        *why = "the answer is not a JSON object";
        return false;
    }
    double confidence = json_number(json_get(root, "confidence"), -1);
    if (!(confidence >= 0 && confidence <= 1)) {
        *why = "confidence is not a number from 0 to 1";
        return false;
    }
    const struct json *findings = json_get(root, "findings");
    size_t n = json_count(findings);
    if (json_type(findings) != JSON_ARRAY || n > RESULT_FINDINGS_MOST) {
        *why = arena_printf(arena, "findings is not an array of at most %d", RESULT_FINDINGS_MOST);
        return false;
    }
    Analyzer__RiskLevel level;
    char *reasoning = NULL;
    if (!take_level(root, "risk_level", arena, &level, why) ||
        !take_text(root, "reasoning", true, arena, &reasoning, why)) {
        return false;
    }
    Analyzer__Finding **rows = ARENA_ARRAY(arena, Analyzer__Finding *, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!take_finding(json_at(findings, i), section, arena, &rows[i], why)) {
            return false;
        }
    }
    out->risk_level = level;
    out->confidence = confidence;
    out->reasoning = reasoning;
    out->findings = rows;
    out->n_findings = n;
    return true;
}

/* From the first brace to the last: what models put around the object. */
static struct span outermost_object(struct span text)
{
    size_t begin = span_find_char(text, '{');
    size_t end = text.len;
    while (end > 0 && text.at[end - 1] != '}') {
        end--;
    }
    return begin == SPAN_MISSING || end <= begin ? SPAN_NONE
                                                 : span_of(text.at + begin, end - begin);
}

bool result_parse(struct span answer, struct span section, struct arena *arena,
                  Analyzer__SectionResult *out, const char **why)
{
    struct json_error error;
    struct span text = span_trim(answer);
    CLEANUP(json_drop) struct json *bare = json_parse(text, &error);
    if (bare != NULL && take_answer(bare, section, arena, out, why)) {
        out->outcome = ANALYZER__OUTCOME__OUTCOME_OK;
        return true;
    }
    if (bare == NULL) {
        *why = arena_printf(arena, "line %zu: %s", error.line, error.text);
        struct span object = outermost_object(text);
        CLEANUP(json_drop) struct json *repaired = object.len > 0 ? json_parse(object, NULL) : NULL;
        if (repaired != NULL && take_answer(repaired, section, arena, out, why)) {
            out->outcome = ANALYZER__OUTCOME__OUTCOME_REPAIRED;
            return true;
        }
    }
    out->outcome = ANALYZER__OUTCOME__OUTCOME_UNPARSEABLE;
    return false;
}

/* --- roll-up ---------------------------------------------------------------------------------- */

void result_bound(Analyzer__SectionResult *result)
{
    while (result->n_thinking > 0 &&
           analyzer__section_result__get_packed_size(result) > RESULT_MOST) {
        result->thinking++;
        result->n_thinking--;
    }
}

bool result_has_answer(const Analyzer__SectionResult *result)
{
    return result->outcome == ANALYZER__OUTCOME__OUTCOME_OK ||
           result->outcome == ANALYZER__OUTCOME__OUTCOME_REPAIRED;
}

static void add_usage(Router__TokenUsage *sum, const Router__TokenUsage *usage)
{
    if (usage != NULL) {
        sum->input_tokens += usage->input_tokens;
        sum->output_tokens += usage->output_tokens;
        sum->cache_read_tokens += usage->cache_read_tokens;
        sum->cache_write_tokens += usage->cache_write_tokens;
        sum->thinking_tokens += usage->thinking_tokens;
    }
}

static Analyzer__DocumentTotals *totals_of(Analyzer__SectionResult **results, size_t n,
                                           struct arena *arena)
{
    Analyzer__DocumentTotals *totals = ARENA_NEW(arena, Analyzer__DocumentTotals);
    analyzer__document_totals__init(totals);
    totals->usage = ARENA_NEW(arena, Router__TokenUsage);
    router__token_usage__init(totals->usage);
    totals->sections = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        const Analyzer__SectionResult *result = results[i];
        const Analyzer__AnalysisMetadata *metadata = result->metadata;
        totals->sections_succeeded += result_has_answer(result);
        totals->sections_failed += !result_has_answer(result);
        totals->findings += (uint32_t)result->n_findings;
        for (size_t k = 0; k < result->n_findings; k++) {
            totals->findings_verified += result->findings[k]->verified;
        }
        if (metadata == NULL) {
            continue;
        }
        totals->calls += (uint32_t)metadata->n_calls;
        for (size_t k = 0; k < metadata->n_calls; k++) {
            totals->attempts += (uint32_t)metadata->calls[k]->n_attempts;
        }
        add_usage(totals->usage, metadata->usage);
        totals->cost_micro_usd += metadata->cost_micro_usd;
        totals->saved_micro_usd += metadata->saved_micro_usd;
        if (metadata->prompt != NULL) {
            totals->prompt_tokens += metadata->prompt->prompt_tokens;
            totals->baseline_tokens += metadata->prompt->baseline_tokens;
        }
    }
    return totals;
}

static void count_levels(Analyzer__SectionResult **results, size_t n, struct arena *arena,
                         Analyzer__DocumentResult *out)
{
    out->counts = ARENA_ARRAY(arena, Analyzer__LevelCount *, ARRAY_LEN(levels));
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        Analyzer__LevelCount *count = ARENA_NEW(arena, Analyzer__LevelCount);
        analyzer__level_count__init(count);
        count->level = levels[l].level;
        for (size_t i = 0; i < n; i++) {
            count->sections +=
                result_has_answer(results[i]) && results[i]->risk_level == levels[l].level;
            for (size_t k = 0; k < results[i]->n_findings; k++) {
                count->findings += results[i]->findings[k]->severity == levels[l].level;
            }
        }
        if (count->sections + count->findings > 0) {
            out->counts[out->n_counts++] = count;
        }
    }
}

/* The gravest verified ones first, else in the order of the document. */
static void pick_top(Analyzer__SectionResult **results, size_t n, struct arena *arena,
                     Analyzer__DocumentResult *out)
{
    out->top_findings = ARENA_ARRAY(arena, Analyzer__LocatedFinding *, RESULT_TOP_MOST);
    for (size_t l = ARRAY_LEN(levels); l-- > 0;) {
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < results[i]->n_findings; k++) {
                Analyzer__Finding *finding = results[i]->findings[k];
                if (finding->severity != levels[l].level || !finding->verified ||
                    out->n_top_findings == RESULT_TOP_MOST) {
                    continue;
                }
                Analyzer__LocatedFinding *located = ARENA_NEW(arena, Analyzer__LocatedFinding);
                analyzer__located_finding__init(located);
                located->section_id = results[i]->section_id;
                located->finding = finding;
                out->top_findings[out->n_top_findings++] = located;
            }
        }
    }
}

Analyzer__DocumentResult *result_roll_up(Analyzer__SectionResult **results, size_t n,
                                         struct arena *arena)
{
    Analyzer__DocumentResult *out = ARENA_NEW(arena, Analyzer__DocumentResult);
    analyzer__document_result__init(out);
    out->sections = results;
    out->n_sections = n;
    out->totals = totals_of(results, n, arena);
    for (size_t i = 0; i < n; i++) {
        if (result_has_answer(results[i]) && results[i]->risk_level > out->overall_level) {
            out->overall_level = results[i]->risk_level;
        }
        out->simulated |= results[i]->metadata != NULL && results[i]->metadata->simulated;
    }
    count_levels(results, n, arena, out);
    pick_top(results, n, arena, out);
    return out;
}
