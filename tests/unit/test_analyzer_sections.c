/* Documents into sections: headings, joining, cutting, and that nothing is lost between them. */
#include "analyzer/document.h"
#include "base/utf8.h"
#include "harness.h"

#define ARENA_SIZE (64u << 20)

static const struct document_limits usual = {
    .bytes_most = 3u << 20, .sections_most = 200, .words_most = 2000, .words_least = 25};
static const struct document_limits small = {
    .bytes_most = 4096, .sections_most = 50, .words_most = 12, .words_least = 3};

static const struct document_limits roomy = {
    .bytes_most = 4096, .sections_most = 50, .words_most = 40, .words_least = 3};

/* Sections follow each other without gaps and hold words, and no more of them than allowed. */
static void check_sections(const struct document *d, struct span bytes, size_t words_most)
{
    size_t at = d->mark;
    assert_span(d->text, span_from(bytes, d->mark));
    for (size_t i = 0; i < d->n_sections; i++) {
        const struct document_section *s = &d->sections[i];
        assert_int_equal(s->offset, at);
        assert_ptr_equal(s->text.at, bytes.at + at);
        assert_int_equal(s->words, document_words(s->text));
        assert_in_range(s->words, 1, words_most);
        assert_true(utf8_valid(s->text));
        assert_true(utf8_valid(span_str(s->title)));
        assert_true(strlen(s->title) <= 200);
        at += s->text.len;
    }
    assert_int_equal(at, bytes.len);
}

static void split(struct span bytes, enum document_type type, const struct document_limits *limits,
                  struct arena *arena, struct document *out)
{
    assert_status_ok(document_split(bytes, type, limits, arena, out));
    check_sections(out, bytes, limits->words_most);
}

/* --- headings --------------------------------------------------------------------------------- */

struct heading_case {
    const char *text;
    const char *titles; /* of the sections, "level:title" with '|' between */
};

static void check_titles(const struct heading_case *c, const struct document_limits *limits)
{
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf titles;
    struct document d;
    split(span_str(c->text), DOCUMENT_MARKDOWN, limits, arena, &d);
    buf_init(&titles, 4096);
    for (size_t i = 0; i < d.n_sections; i++) {
        buf_addf(&titles, "%s%u:%s", i > 0 ? "|" : "", d.sections[i].level, d.sections[i].title);
    }
    if (strcmp(buf_cstr(&titles), c->titles) != 0) {
        print_error("%s\n  got  %s\n  want %s\n", c->text, buf_cstr(&titles), c->titles);
        fail();
    }
}

static void test_headings(void **state)
{
    (void)state;
    static const struct heading_case cases[] = {
        /* ATX */
        {"# One\na b c\n## Two\nd e f\n", "1:One|2:Two"},
        {"# One #\na b c\n##   Two  ##  \nd e f\n", "1:One|2:Two"},
        {"# One#\na b c\n# Two \\#\nd e f\n", "1:One#|1:Two \\#"},
        {"#\tOne\na b c\n# Two\t#\nd e f\n", "1:One|1:Two"},
        {"   # One\na b c\n    # code\nd e f\n", "1:One"},
        {"#One\na b c\n####### Seven\nd e f\n", "0:Beginning"},
        {"#\na b c d\n## ##\ne f g\n", "1:|2:"},
        {"# One\r\na b c\r\n# Two\r\nd e f\r\n", "1:One|1:Two"},
        /* setext */
        {"One\n===\na b c\nTwo\n---\nd e f\n", "1:One|2:Two"},
        {"One\n=\na b c\nTwo\n  -- \nd e f\n", "1:One|2:Two"},
        {"a b c d\n\n---\nd e f\n", "0:Beginning"},
        {"One\n    ===\na b c\nTwo\n= =\nd e f\n", "0:Beginning"},
        {"- item\n---\na b c\n> quote\n---\nd e f\n", "0:Beginning"},
        {"| a | b |\n---\na b c\n", "0:Beginning"},
        /* fences */
        {"# One\n```\n# no\n## no\n```\nd e f\n# Two\na b c\n", "1:One|1:Two"},
        {"# One\n~~~ md\n# no\n```\n# no\n~~~\na b c\n# Two\nd e f\n", "1:One|1:Two"},
        {"# One\n````\n# no\n```\n# no\n````\n# Two\nd e f\n", "1:One|1:Two"},
        {"# One\n```\n# no\n``` x\n# no\n```\n# Two\nd e f\n", "1:One|1:Two"},
        {"# One\n```\na b c\n# no\n# no\n", "1:One"},
        {"# One\n```code``` span\n# Two\nd e f\n", "1:One|1:Two"},
        {"# One\n    ```\na b c\n# Two\nd e f\n", "1:One|1:Two"},
        {"# One\n```\ntext\n---\n```\na b c\n", "1:One"},
        {"a b c\n```\nx\n```\n---\nd e f\n", "0:Beginning"},
        /* in front of the first heading */
        {"a b c d\n# One\ne f g\n", "0:Beginning|1:One"},
        {"\n\n# One\ne f g\n\n", "1:One"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_titles(&cases[i], &roomy);
    }
}

static void test_deeper_headings_split_only_what_grows_too_long(void **state)
{
    (void)state;
    static const struct heading_case cases[] = {
        {"# One\na b c\n### Three\nd e f\n", "1:One"},
        {"# One\na b c d e f\n### Three\ng h i j k l\n", "1:One|3:Three"},
        {"### A\na b c d\n### B\ne f g h\n### C\ni j k l\n", "3:A|3:C"},
        {"a b c d\n### Three\ne f\n", "0:Beginning"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_titles(&cases[i], &small);
    }
}

static void test_short_sections_join_what_follows(void **state)
{
    (void)state;
    struct document_limits limits = small;
    limits.words_least = 6;
    static const struct heading_case cases[] = {
        {"# Title\n## Two\na b c\n", "2:Two"},
        {"# One\na b c\n# Two\nd e\n# Three\nf g h i\n", "1:Two|1:Three"},
        {"# One\na b c d e\n# End\na\n", "1:One|1:End"},         /* nothing follows it */
        {"# One\na\n# Two\na b c d e f g h i\n", "1:One|1:Two"}, /* together too long */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_titles(&cases[i], &limits);
    }
    limits.words_least = 0;
    check_titles(&(struct heading_case){"# A\n# B\n## C\nd\n", "1:A|1:B|2:C"}, &limits);
}

static void test_plain_text_has_no_headings(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct document d;
    split(SPAN("# One\na b c\n# Two\nd e f"), DOCUMENT_TEXT, &small, arena, &d);
    assert_int_equal(d.n_sections, 1);
}

/* --- cutting ---------------------------------------------------------------------------------- */

static void test_long_sections_are_cut_between_paragraphs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *sections[4];
    } cases[] = {
        {"# T\na b c d e f\n\ng h i j k l m n\n", {"# T\na b c d e f\n\n", "g h i j k l m n\n"}},
        {"a b c d e\r\n\r\nf g h i j k l m n\r\n", {"a b c d e\r\n\r\n", "f g h i j k l m n\r\n"}},
        /* the blank line stands too early to be worth it */
        {"a\n\nb c d e f g h i j k l m n\n", {"a\n\nb c d e f g ", "h i j k l m n\n"}},
        {"a b c d e f g h i j k l m n o p q r s t u v w x y",
         {"a b c d e f g h i ", "j k l m n o p q ", "r s t u v w x y"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        struct document d;
        split(span_str(cases[i].text), DOCUMENT_MARKDOWN, &small, arena, &d);
        for (size_t k = 0; k < d.n_sections; k++) {
            assert_true(k < 4 && cases[i].sections[k] != NULL);
            assert_span(d.sections[k].text, span_str(cases[i].sections[k]));
        }
        assert_true(d.n_sections == 4 || cases[i].sections[d.n_sections] == NULL);
    }
}

static void test_parts_are_named_without_breaking_a_character(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf text;
    struct document d;
    buf_init(&text, 4096);
    buf_add_str(&text, "# x");
    for (size_t i = 0; i < 150; i++) {
        buf_add_str(&text, "\xc3\xa9");
    }
    buf_add_str(&text, "\na b c d e f g h i j k l m");
    split(buf_span(&text), DOCUMENT_MARKDOWN, &small, arena, &d);
    assert_int_equal(d.n_sections, 2);
    assert_true(span_ends(span_str(d.sections[0].title), SPAN("\xc3\xa9 (part 1)")));
    assert_true(span_ends(span_str(d.sections[1].title), SPAN("\xc3\xa9 (part 2)")));
}

/* Scripts without spaces and encoded data are no single word. */
static void test_text_without_white_space_is_cut_between_characters(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf text;
    struct document d;
    buf_init(&text, 3u << 20);
    for (size_t i = 0; i < 200000; i++) {
        buf_add_str(&text, "\xe6\xbc\xa2");
    }
    split(buf_span(&text), DOCUMENT_MARKDOWN, &usual, arena, &d);
    assert_in_range(d.n_sections, 5, 6);
    assert_int_equal(document_words(SPAN("https://example.org/a/rather/long/path?of=an&address")),
                     1);
    assert_int_equal(document_words(SPAN(" two\twords\r\n")), 2);
}

/* --- bounds ----------------------------------------------------------------------------------- */

static void test_what_is_no_document_is_refused(void **state)
{
    (void)state;
    static char large[4097];
    memset(large, 'a', sizeof(large));
    const struct {
        struct span bytes;
        enum reason reason;
    } cases[] = {
        {SPAN(""), REASON_DOCUMENT_EMPTY},
        {SPAN(" \r\n\t "), REASON_DOCUMENT_EMPTY},
        {SPAN("\xef\xbb\xbf"), REASON_DOCUMENT_EMPTY},
        {SPAN("a\0b"), REASON_BAD_ENCODING},
        {SPAN("caf\xe9"), REASON_BAD_ENCODING},
        {SPAN("\xff\xfe"
              "a\0"),
         REASON_BAD_ENCODING}, /* UTF-16 */
        {SPAN("\xed\xa0\x80"), REASON_BAD_ENCODING},
        {SPAN("cut \xe2\x82"), REASON_BAD_ENCODING},
        {span_of(large, sizeof(large)), REASON_DOCUMENT_TOO_LARGE},
        {span_of(large, sizeof(large) - 1), REASON_NONE},
        {SPAN("a"), REASON_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        struct document_limits limits = small;
        struct document d;
        limits.words_most = 100;
        assert_status(document_split(cases[i].bytes, DOCUMENT_MARKDOWN, &limits, arena, &d),
                      cases[i].reason);
        assert_status(document_whole(cases[i].bytes, SPAN("t"), &limits, arena, &d),
                      cases[i].reason);
    }
}

static void test_a_byte_order_mark_counts_in_offsets_only(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct document d;
    struct span bytes = SPAN("\xef\xbb\xbf# One\na b c\n# Two\nd e f");
    split(bytes, DOCUMENT_MARKDOWN, &small, arena, &d);
    assert_int_equal(d.mark, 3);
    assert_int_equal(d.n_sections, 2);
    assert_string_equal(d.sections[0].title, "One");
    assert_int_equal(d.sections[0].offset, 3);

    assert_status_ok(document_whole(bytes, SPAN("name"), &small, arena, &d));
    check_sections(&d, bytes, SIZE_MAX);
    assert_int_equal(d.n_sections, 1);
    assert_string_equal(d.sections[0].title, "name");
}

static void test_more_sections_than_allowed_are_refused(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    struct document_limits limits = small;
    struct document d;
    struct span three = SPAN("# One\na b c\n# Two\nd e f\n# Three\ng h i");
    limits.sections_most = 3;
    split(three, DOCUMENT_MARKDOWN, &limits, arena, &d);
    limits.sections_most = 2;
    struct status s = document_split(three, DOCUMENT_MARKDOWN, &limits, arena, &d);
    assert_status(s, REASON_DOCUMENT_TOO_LARGE);
    assert_string_equal(status_text(s), "the document has more than 2 sections");
    assert_status(document_split(SPAN("a b c d e f g h i j k l m n o p q r s t u v w x y"),
                                 DOCUMENT_TEXT, &limits, arena, &d),
                  REASON_DOCUMENT_TOO_LARGE);
}

/* Many headings are no reason to refuse what makes few sections. */
static void test_many_small_headings_join(void **state)
{
    (void)state;
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    CLEANUP(buf_clear) struct buf text;
    struct document d;
    buf_init(&text, 1u << 20);
    for (size_t i = 0; i < 10000; i++) {
        buf_addf(&text, "#### %zu\nwords\n", i);
    }
    split(buf_span(&text), DOCUMENT_MARKDOWN, &usual, arena, &d);
    assert_in_range(d.n_sections, 15, 16);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *media, *name;
        enum reason reason;
        enum document_type type;
    } cases[] = {
        {"text/markdown", "", REASON_NONE, DOCUMENT_MARKDOWN},
        {"Text/Plain; charset=utf-8", "a.md", REASON_NONE, DOCUMENT_TEXT},
        {"", "notes.txt", REASON_NONE, DOCUMENT_TEXT},
        {"", "NOTES.TXT", REASON_NONE, DOCUMENT_TEXT},
        {"", "README.markdown", REASON_NONE, DOCUMENT_MARKDOWN},
        {"", ".txt", REASON_NONE, DOCUMENT_MARKDOWN},
        {"", "", REASON_NONE, DOCUMENT_MARKDOWN},
        {"application/pdf", "a.txt", REASON_DOCUMENT_TYPE, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum document_type type = DOCUMENT_MARKDOWN;
        assert_status(document_type(span_str(cases[i].media), span_str(cases[i].name), &type),
                      cases[i].reason);
        assert_int_equal(type, cases[i].type);
    }
}

/* --- real and random documents ---------------------------------------------------------------- */

static void test_the_sample_documents(void **state)
{
    (void)state;
    static const char *const names[] = {
        "01-nist-sp800-63b.md",
        "02-cisa-scuba-entra-id-baseline.md",
        "06-openssf-scorecard-checks.md",
        "08-cncf-harbor-self-assessment.md",
        "11-k8s-admission-control-threat-model.md",
        "12-finos-ai-risk-catalogue.md",
        "15-etcd-v3.5-data-inconsistency-postmortem.md",
    };
    CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
    const char *folder = harness_vectors(arena, "docs", ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct span bytes = harness_read(arena, arena_printf(arena, "%s/%s", folder, names[i]));
        struct document d;
        size_t longest = 0, words = 0;
        split(bytes, DOCUMENT_MARKDOWN, &usual, arena, &d);
        for (size_t k = 0; k < d.n_sections; k++) {
            longest = d.sections[k].words > longest ? d.sections[k].words : longest;
            words += d.sections[k].words;
        }
        print_message("# %s: %zu words, %zu sections, the longest has %zu\n", names[i], words,
                      d.n_sections, longest);
        /* Headings are found, and few sections are mere scraps. */
        assert_in_range(d.n_sections, words / usual.words_most + 1, words / 60);
    }
    harness_ran("sample documents", ARRAY_LEN(names), 7);
}

static void add_random_piece(struct buf *text, uint32_t *random)
{
    static const char *const pieces[] = {
        "# ",
        "## ",
        "\n",
        "\n\n",
        "word ",
        "more ",
        "===\n",
        "---\n",
        "```",
        "~~~",
        "\t",
        "\r\n",
        "\xc3\xa9",
        "\xe6\xbc\xa2",
        "    ",
        "#",
        "- ",
        "> ",
        "`",
        " ",
        "0123456789012345678901234567890123456789",
    };
    buf_add_str(text, pieces[harness_random(random) % ARRAY_LEN(pieces)]);
}

static void test_random_documents_lose_nothing(void **state)
{
    (void)state;
    uint32_t random = 1;
    size_t refused = 0, sections = 0;
    for (size_t i = 0; i < 3000; i++) {
        CLEANUP(arena_drop) struct arena *arena = arena_new(ARENA_SIZE);
        CLEANUP(buf_clear) struct buf text;
        struct document_limits limits = {.bytes_most = 1u << 20, .sections_most = 40};
        struct document d;
        limits.words_most = 1 + harness_random(&random) % 20;
        limits.words_least = harness_random(&random) % 6;
        buf_init(&text, 1u << 20);
        for (size_t n = harness_random(&random) % 200; n > 0; n--) {
            add_random_piece(&text, &random);
        }
        struct status s = document_split(buf_span(&text), DOCUMENT_MARKDOWN, &limits, arena, &d);
        if (status_ok(s)) {
            check_sections(&d, buf_span(&text), limits.words_most);
            sections += d.n_sections;
        } else {
            assert_true(s.reason == REASON_DOCUMENT_EMPTY || s.reason == REASON_DOCUMENT_TOO_LARGE);
            refused++;
        }
    }
    print_message("# %zu sections, %zu documents refused\n", sections, refused);
    assert_true(sections > 10000 && refused < 1500);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_headings),
    cmocka_unit_test(test_deeper_headings_split_only_what_grows_too_long),
    cmocka_unit_test(test_short_sections_join_what_follows),
    cmocka_unit_test(test_plain_text_has_no_headings),
    cmocka_unit_test(test_long_sections_are_cut_between_paragraphs),
    cmocka_unit_test(test_parts_are_named_without_breaking_a_character),
    cmocka_unit_test(test_text_without_white_space_is_cut_between_characters),
    cmocka_unit_test(test_what_is_no_document_is_refused),
    cmocka_unit_test(test_a_byte_order_mark_counts_in_offsets_only),
    cmocka_unit_test(test_more_sections_than_allowed_are_refused),
    cmocka_unit_test(test_many_small_headings_join),
    cmocka_unit_test(test_types),
    cmocka_unit_test(test_the_sample_documents),
    cmocka_unit_test(test_random_documents_lose_nothing),
};

HARNESS_MAIN(tests)
