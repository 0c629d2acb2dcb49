#include "simulator/reader.h"

#include "base/check.h"

#define WORDS_LEAST 5 /* of a sentence that is quoted */

enum concern {
#define CONCERN(name, concern, title, advice) name,
#define TERM(phrase, concern, weight)
#include "simulator/risks.def"
};

static const struct {
    const char *concern;
    const char *title;
    const char *advice;
} concerns[] = {
#define CONCERN(name, concern, title, advice) {concern, title, advice},
#define TERM(phrase, concern, weight)
#include "simulator/risks.def"
};

static const struct {
    const char *phrase;
    enum concern concern;
    uint32_t weight;
} terms[] = {
#define CONCERN(name, concern, title, advice)
#define TERM(phrase, concern, weight) {phrase, concern, weight},
#include "simulator/risks.def"
};

/* Each takes half of a weight away, two at most are heeded. */
static const char *const remedies[] = {
    "mitigat",  "prevent", "protects", "must not",   "shall not",  "no longer",   "patched",
    "resolved", "fixed",   "rejects",  "refuses",    "blocked",    "is required", "are required",
    "enforced", "detects", "encrypts", "should not", "is limited", "are limited", "resistan",
};

/* In front of a phrase they turn its meaning. */
static const char *const denials[] = {"no", "not", "never", "without", "against", "avoid", "non"};

static const struct {
    uint32_t score;
    const char *level;
} levels[] = {
    {116, "Critical"}, {84, "High"},       {56, "Medium-High"},
    {32, "Medium"},    {12, "Medium-Low"}, {0, "Low"},
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Where a phrase stands at a word's beginning. */
static bool find_phrase(struct span text, const char *phrase, struct span *out)
{
    size_t at = 0;
    struct span wanted = span_str(phrase);
    for (;;) {
        size_t found = span_find_nocase(span_from(text, at), wanted);
        if (found == SPAN_MISSING) {
            return false;
        }
        at += found;
        if (at == 0 || !is_word(text.at[at - 1])) {
            *out = span_of(text.at + at, wanted.len);
            return true;
        }
        at++;
    }
}

static bool ends_line(struct span text, size_t at)
{
    /* A blank line, or a line that begins a list item, heading, table row or quote. */
    size_t next = at + 1;
    while (next < text.len && (text.at[next] == ' ' || text.at[next] == '\t')) {
        next++;
    }
    if (next >= text.len || text.at[next] == '\n' || text.at[next] == '\r') {
        return true;
    }
    if (strchr("#*-+|>", text.at[next]) != NULL) {
        return true;
    }
    size_t digits = next;
    while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9') {
        digits++;
    }
    return digits > next && digits < text.len && (text.at[digits] == '.' || text.at[digits] == ')');
}

static bool ends_sentence(struct span text, size_t at)
{
    if (text.at[at] == '\n') {
        size_t line = at;
        while (line > 0 && text.at[line - 1] != '\n') {
            line--;
        }
        return text.at[line] == '#' || text.at[line] == '|' || ends_line(text, at);
    }
    bool mark = text.at[at] == '.' || text.at[at] == '!' || text.at[at] == '?';
    bool abbreviates = at >= 2 && text.at[at - 2] == '.'; /* "e.g. this" */
    return mark && (at + 1 == text.len || (is_blank(text.at[at + 1]) && !abbreviates));
}

/* Takes the next sentence off *rest, without the marks of a list, heading or table. */
static bool next_sentence(struct span *rest, struct span *out)
{
    while (rest->len > 0) {
        size_t at = 0;
        while (at < rest->len && !ends_sentence(*rest, at)) {
            at++;
        }
        struct span sentence = span_first(*rest, at < rest->len ? at + 1 : at);
        *rest = span_from(*rest, sentence.len);
        sentence = span_trim(sentence);
        while (sentence.len > 0 && strchr("#*-+|> \t", sentence.at[0]) != NULL) {
            sentence = span_from(sentence, 1);
        }
        if (sentence.len >= 3) {
            *out = sentence;
            return true;
        }
    }
    return false;
}

static size_t words_of(struct span text)
{
    size_t words = 0;
    for (size_t i = 0; i < text.len; i++) {
        words += is_word(text.at[i]) && (i == 0 || is_blank(text.at[i - 1]));
    }
    return words;
}

/* A sentence longer than a quote may be is quoted by the clause around the phrase; empty when that
 * is too long as well, or when it is a mere heading. */
static struct span quote_of(struct span sentence, struct span phrase)
{
    if (words_of(sentence) < WORDS_LEAST) {
        return SPAN_NONE;
    }
    if (sentence.len <= READER_QUOTE_MAX) {
        return sentence;
    }
    size_t from = (size_t)(phrase.at - sentence.at);
    size_t to = from + phrase.len;
    while (from > 0 && strchr(",;:()", sentence.at[from - 1]) == NULL) {
        from--;
    }
    while (to < sentence.len && strchr(",;:()", sentence.at[to]) == NULL) {
        to++;
    }
    struct span clause = span_trim(span_of(sentence.at + from, to - from));
    bool fits = clause.len <= READER_QUOTE_MAX && words_of(clause) >= WORDS_LEAST;
    return fits ? clause : SPAN_NONE;
}

/* The word before at, empty at the beginning. */
static struct span word_before(struct span sentence, size_t at)
{
    while (at > 0 && !is_word(sentence.at[at - 1])) {
        at--;
    }
    size_t end = at;
    while (at > 0 && is_word(sentence.at[at - 1])) {
        at--;
    }
    return span_of(sentence.at + at, end - at);
}

static uint32_t lowered(struct span sentence, struct span phrase, uint32_t weight,
                        struct span *remedy)
{
    struct span before = word_before(sentence, (size_t)(phrase.at - sentence.at));
    for (size_t i = 0; i < ARRAY_LEN(denials); i++) {
        if (span_eq_nocase(before, span_str(denials[i]))) {
            *remedy = before;
            weight = (weight + 3) / 4;
            break;
        }
    }
    size_t heeded = 0;
    struct span found;
    for (size_t i = 0; i < ARRAY_LEN(remedies) && heeded < 2; i++) {
        if (find_phrase(sentence, remedies[i], &found)) {
            *remedy = found;
            weight = (weight + 1) / 2;
            heeded++;
        }
    }
    return weight;
}

static const char *severity_of(uint32_t weight)
{
    return weight >= 9 ? "Critical" : weight >= 6 ? "High" : weight >= 3 ? "Medium" : "Low";
}

static void weigh(struct span sentence, struct span phrase, size_t term, uint32_t *heaviest,
                  struct reader_mark *out)
{
    struct span remedy = SPAN_NONE;
    uint32_t weight = lowered(sentence, phrase, terms[term].weight, &remedy);
    if (weight <= *heaviest) {
        return;
    }
    *heaviest = weight;
    *out = (struct reader_mark){
        .quote = quote_of(sentence, phrase),
        .phrase = phrase,
        .remedy = remedy,
        .weight = weight,
        .concern = concerns[terms[term].concern].concern,
        .title = concerns[terms[term].concern].title,
        .advice = concerns[terms[term].concern].advice,
        .severity = severity_of(weight),
    };
}

/* The heaviest weakness a sentence names; false: none. Most words begin like few phrases, so the
 * first letter is looked at before anything else. */
static bool judge(struct span sentence, struct reader_mark *out)
{
    uint32_t heaviest = 0;
    for (size_t at = 0; at < sentence.len; at++) {
        char first = sentence.at[at] | 0x20;
        if (at > 0 && is_word(sentence.at[at - 1])) {
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(terms); i++) {
            if (terms[i].phrase[0] != first || terms[i].weight <= heaviest) {
                continue;
            }
            struct span phrase = span_str(terms[i].phrase);
            struct span here = span_first(span_from(sentence, at), phrase.len);
            if (span_eq_nocase(here, phrase)) {
                weigh(sentence, here, i, &heaviest, out);
            }
        }
    }
    return heaviest > 0;
}

/* Strongest first, earlier ones before later ones of the same weight, no quote twice. */
static void choose(struct reader_report *report, const struct reader_mark *mark)
{
    size_t at = report->n_findings;
    if (mark->quote.len == 0) {
        return;
    }
    for (size_t i = 0; i < report->n_findings; i++) {
        if (span_eq(report->findings[i]->quote, mark->quote)) {
            return;
        }
    }
    while (at > 0 && report->findings[at - 1]->weight < mark->weight) {
        at--;
    }
    if (at == READER_FINDINGS) {
        return;
    }
    size_t last = report->n_findings < READER_FINDINGS ? report->n_findings++ : READER_FINDINGS - 1;
    for (size_t i = last; i > at; i--) {
        report->findings[i] = report->findings[i - 1];
    }
    report->findings[at] = mark;
}

static void conclude(struct reader_report *report)
{
    for (size_t i = 0; i < report->n_findings; i++) {
        report->score += report->findings[i]->weight * (i == 0 ? 6 : 3);
    }
    size_t i = 0;
    while (report->score < levels[i].score) {
        i++;
    }
    report->risk_level = levels[i].level;
    uint32_t seen = (uint32_t)(report->flagged < 6 ? report->flagged : 6);
    report->confidence = 55 + 4 * seen + (report->sentences >= 8 ? 10 : 0);
}

void reader_read(struct span text, struct arena *arena, struct reader_report *out)
{
    struct reader_report report = {0};
    struct reader_mark *marks = ARENA_ARRAY(arena, struct reader_mark, READER_MARKS);
    struct span sentence;
    while (next_sentence(&text, &sentence)) {
        struct reader_mark mark;
        report.sentences++;
        if (!judge(sentence, &mark)) {
            continue;
        }
        report.flagged++;
        mark.sentence = report.sentences;
        if (report.n_marks < READER_MARKS) {
            marks[report.n_marks] = mark;
            choose(&report, &marks[report.n_marks++]);
        }
    }
    report.marks = marks;
    conclude(&report);
    *out = report;
}

bool reader_data(struct span message, struct span *out)
{
    struct span opening = SPAN("<untrusted-");
    bool found = false;
    for (;;) {
        size_t at = span_find(message, opening);
        if (at == SPAN_MISSING) {
            return found;
        }
        struct span rest = span_from(message, at + opening.len);
        size_t hex = 0;
        while (hex < rest.len && hex < 64 &&
               strchr("0123456789abcdefABCDEF", rest.at[hex]) != NULL && rest.at[hex] != '\0') {
            hex++;
        }
        message = rest;
        if (hex == 0 || hex == rest.len || rest.at[hex] != '>') {
            continue;
        }
        char closing[96];
        int n = snprintf(closing, sizeof(closing), "</untrusted-%.*s>", (int)hex, rest.at);
        struct span data = span_from(rest, hex + 1);
        size_t end = span_find(data, span_of(closing, (size_t)n));
        if (end != SPAN_MISSING) {
            *out = span_first(data, end);
            found = true;
            message = span_from(data, end + (size_t)n);
        }
    }
}
