/* What a model answers about a section, and the section in the prompt. Up to the first NUL it is
 * the answer, behind it the section. A place of evidence is inside the section and says what was
 * quoted; no section ends the tags it stands between. */
#include "analyzer/prompt.h"
#include "analyzer/result.h"
#include "base/utf8.h"
#include "codec/hash.h"
#include "codec/text.h"
#include "fuzz.h"
#include "simulator/reader.h"

#define MEMORY (8u << 20)

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Equal but for the length and kind of white space. */
static bool same_words(struct span a, struct span b)
{
    a = span_trim(a);
    b = span_trim(b);
    size_t i = 0, k = 0;
    while (i < a.len && k < b.len) {
        if (blank(a.at[i]) != blank(b.at[k]) || (!blank(a.at[i]) && a.at[i] != b.at[k])) {
            return false;
        }
        bool gap = blank(a.at[i]);
        i++;
        k++;
        while (gap && blank(a.at[i])) {
            i++;
        }
        while (gap && blank(b.at[k])) {
            k++;
        }
    }
    return i == a.len && k == b.len;
}

static void check_findings(const Analyzer__SectionResult *result, struct span data)
{
    check(result->n_findings <= RESULT_FINDINGS_MOST);
    check(result->confidence >= 0 && result->confidence <= 1);
    check(utf8_valid(span_str(result->reasoning)));
    for (size_t i = 0; i < result->n_findings; i++) {
        const Analyzer__Finding *finding = result->findings[i];
        check(utf8_valid(span_str(finding->title)) && utf8_valid(span_str(finding->evidence)));
        check(finding->severity != ANALYZER__RISK_LEVEL__RISK_LEVEL_UNSPECIFIED);
        if (finding->verified) {
            size_t at = finding->evidence_offset, len = finding->evidence_length;
            check(len > 0 && at <= data.len && len <= data.len - at);
            check(same_words(span_of(data.at + at, len), span_str(finding->evidence)));
        }
    }
}

/* Evidence found in what the model was shown stands in the document's own text, where invisible
 * characters may be in between. */
static void check_moved(Analyzer__SectionResult *result, struct span data, struct span section)
{
    result_move_evidence(result, data, section);
    for (size_t i = 0; i < result->n_findings; i++) {
        const Analyzer__Finding *finding = result->findings[i];
        size_t at = finding->evidence_offset, len = finding->evidence_length;
        if (!finding->verified) {
            continue;
        }
        check(at <= section.len && len <= section.len - at);
        CLEANUP(buf_clear) struct buf visible;
        buf_init(&visible, section.len);
        text_add_visible(&visible, span_of(section.at + at, len));
        check(same_words(buf_span(&visible), span_str(finding->evidence)));
    }
}

static void check_prompt(const struct prompt_input *input, const struct prompt *prompt)
{
    struct span found = SPAN_NONE;
    CLEANUP(buf_clear) struct buf visible;
    buf_init(&visible, input->text.len);
    check(text_add_visible(&visible, input->text) == prompt->removed);
    check(span_eq(prompt->data, buf_span(&visible)));
    check(utf8_valid(prompt->user));
    check(reader_data(prompt->user, &found));
    check(span_eq(span_trim(found), span_trim(prompt->data)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span section = span_of(data, size), answer = SPAN_NONE;
    span_cut(&section, '\0', &answer);
    if (!utf8_valid(section) || span_find_char(section, '\0') != SPAN_MISSING) {
        section = SPAN_NONE; /* documents are split only where they are text */
    }
    CLEANUP(arena_drop) struct arena *arena = arena_new(MEMORY);
    const struct prompt_finding earlier = {"a title", "High"};
    struct prompt_input input = {
        .title = utf8_first(section, 40),
        .text = section,
        .focus = utf8_first(section, 20),
        .earlier = &earlier,
        .n_earlier = size % 2,
    };
    uint8_t hash[HASH_SHA256_SIZE]; /* what no input can know of itself */
    hash_sha256(span_of(data, size), hash);
    memcpy(input.nonce, hash, sizeof(input.nonce));
    struct prompt prompt;
    prompt_build(&input, arena, &prompt);
    check_prompt(&input, &prompt);

    Analyzer__SectionResult result;
    analyzer__section_result__init(&result);
    const char *why = NULL;
    if (!result_parse(answer, prompt.data, arena, &result, &why)) {
        check(why != NULL && !result_has_answer(&result) && result.n_findings == 0);
        return 0;
    }
    check(result_has_answer(&result));
    check_findings(&result, prompt.data);
    check_moved(&result, prompt.data, section);
    Analyzer__SectionResult *results[] = {&result};
    const Analyzer__DocumentResult *document = result_roll_up(results, 1, arena);
    check(document->overall_level == result.risk_level);
    return 0;
}
