/* What prismctl makes of texts: colour, columns, figures, flowing lines, tables. */
#include <locale.h>

#include "harness.h"
#include "prismctl/render.h"

static const struct render plain = {.width = 40};
static const struct render coloured = {.width = 40, .colour = true};

static void colour_follows_terminal_and_environment(void **state)
{
    (void)state;
    static const struct {
        bool terminal;
        const char *force, *no_colour, *term;
        bool want;
    } cases[] = {
        {true, NULL, NULL, "xterm", true},   {true, NULL, NULL, NULL, true},
        {false, NULL, NULL, "xterm", false}, {true, NULL, "1", "xterm", false},
        {true, NULL, "", "xterm", true},     {true, NULL, NULL, "dumb", false},
        {false, "1", NULL, "dumb", true},    {false, "1", "1", NULL, true},
        {true, "1", "1", NULL, true},        {false, "0", NULL, "xterm", false},
        {true, "0", "1", "xterm", false},    {false, "", NULL, "xterm", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool got = render_wants_colour(cases[i].terminal, cases[i].force, cases[i].no_colour,
                                       cases[i].term);
        if (got != cases[i].want) {
            print_error("case %zu\n", i);
        }
        assert_int_equal(got, cases[i].want);
    }
}

static void styles_are_written_only_in_colour(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 1024);
    render_add(&out, &plain, STYLE_ALARM, "a");
    render_add(&out, &coloured, STYLE_ALARM, "b");
    render_add(&out, &coloured, STYLE_PLAIN, "c");
    assert_span(buf_span(&out), SPAN("a\033[1;31mb\033[0mc"));
}

static void columns_are_counted_as_terminals_do(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t want;
    } cases[] = {
        {"", 0}, {"abc", 3}, {"Prüfbericht", 11}, {"日本", 4}, {"e\xcc\x81", 1}, {"…", 1}, {"😀", 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(render_columns(span_str(cases[i].text)), cases[i].want);
    }
}

static void a_line_is_one_printable_line_of_its_width(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t most;
        const char *want;
    } cases[] = {
        {"short", 5, "short"},
        {"longer", 5, "long…"},
        {"two words", 5, "two…"},
        {"日本語", 5, "日本…"},
        {"日本語", 4, "日…"},
        {"  a\nb\tc\r\n", 9, "a b c"},
        {"a\033[31mb", 40, "a<U+001B>[31mb"},
        {"\xe2\x80\xae"
         "evil",
         40, "<U+202E>evil"},
        {"\xff", 40, "\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 1024);
        render_add_line(&out, span_str(cases[i].text), cases[i].most);
        assert_span(buf_span(&out), span_str(cases[i].want));
    }
}

static void figures_read_as_people_write_them(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 4096);
    static const uint64_t counts[] = {0, 999, 1000, 12345, 1000007, UINT64_MAX};
    static const int64_t amounts[] = {0,   1,      49,         50,     149,
                                      150, 100000, 1234567890, -12345, INT64_MIN};
    static const uint64_t times[] = {0, 999, 1000, 4250, 59999, 60000, 185000, 7260000};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        render_add_count(&out, counts[i]);
        buf_add_char(&out, i + 1 < ARRAY_LEN(counts) ? ' ' : '\n');
    }
    for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
        render_add_usd(&out, amounts[i]);
        buf_add_char(&out, i + 1 < ARRAY_LEN(amounts) ? ' ' : '\n');
    }
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        render_add_time(&out, times[i]);
        buf_add_char(&out, i + 1 < ARRAY_LEN(times) ? '|' : '\n');
    }
    render_add_plural(&out, 1, "finding");
    buf_add_char(&out, ' ');
    render_add_plural(&out, 2000, "finding");
    assert_span(buf_span(&out),
                SPAN("0 999 1,000 12,345 1,000,007 18,446,744,073,709,551,615\n"
                     "$0.0000 $0.000001 $0.000049 $0.0001 $0.0001 $0.0002 $0.1000 $1,234.5679 "
                     "-$0.0123 -$9,223,372,036,854.7758\n"
                     "0 ms|999 ms|1.0 s|4.2 s|59.9 s|1 m|3 m 5 s|2 h 1 m\n"
                     "1 finding 2,000 findings"));
}

static void flow_in_pieces(struct span text, size_t piece, struct buf *out)
{
    struct flow flow;
    flow_init(&flow, &plain, STYLE_PLAIN, "  | ");
    for (size_t at = 0; at < text.len; at += piece) {
        flow_add(&flow, out, span_first(span_from(text, at), piece));
    }
    flow_break(&flow, out);
    flow_break(&flow, out);
    flow_clear(&flow);
}

static void flowing_text_wraps_the_same_however_it_arrives(void **state)
{
    (void)state;
    static const char text[] =
        "The section says how reports are handled.  It does not\nsay who reads them.\n\n- one\n"
        "averyverylongwordwithoutanyplacetobreakitatallreally end";
    static const char want[] = "  | The section says how reports are\n"
                               "  | handled. It does not\n"
                               "  | say who reads them.\n"
                               "  |\n"
                               "  | - one\n"
                               "  | averyverylongwordwithoutanyplacetobr\n"
                               "  | eakitatallreally end\n";
    for (size_t piece = 1; piece <= sizeof(text); piece++) {
        CLEANUP(buf_clear) struct buf out;
        buf_init(&out, 4096);
        flow_in_pieces(span_str(text), piece, &out);
        assert_span(buf_span(&out), span_str(want));
    }
}

static void flowing_text_is_styled_line_by_line_and_printable(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 4096);
    struct flow flow;
    flow_init(&flow, &coloured, STYLE_DIM, "> ");
    flow_add(&flow, &out, SPAN("one\ntwo \033[2J"));
    flow_break(&flow, &out);
    flow_clear(&flow);
    assert_span(buf_span(&out), SPAN("\033[2m> one\033[0m\n\033[2m> two <U+001B>[2J\033[0m\n"));
}

static void note_end(void *arg, struct buf *out, bool whole)
{
    size_t *n = arg;
    (*n)++;
    buf_add_str(out, whole ? "!\n" : "?\n");
}

static void who_waits_for_the_end_of_a_line_is_told(void **state)
{
    (void)state;
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 4096);
    size_t n = 0;
    struct flow flow;
    flow_init(&flow, &(struct render){.width = 4}, STYLE_PLAIN, "");
    flow.ended = note_end;
    flow.arg = &n;
    flow_add(&flow, &out, SPAN("a b\nc def "));
    flow_break(&flow, &out);
    flow_clear(&flow);
    assert_span(buf_span(&out), SPAN("a b\n!\nc\n?\ndef\n!\n"));
    assert_int_equal(n, 3);
}

static void tables_are_as_wide_as_their_cells(void **state)
{
    (void)state;
    static const struct table_column columns[] = {
        {"#", true, 0}, {"Section", false, 8}, {"Cost", true, 0}, {"Note", false, 0}};
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 20);
    struct table *table = table_new(arena, columns, ARRAY_LEN(columns));
    static const char *const cells[] = {
        "1", "Prüfung", "$1", "x", "10", "日本語日本語", "$100", "", "2", "a\033b", "", "é",
    };
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        table_cell(table, STYLE_PLAIN, span_str(cells[i]));
    }
    CLEANUP(buf_clear) struct buf out;
    buf_init(&out, 4096);
    table_add(table, &out, &plain);
    assert_span(buf_span(&out), SPAN(" #  Section   Cost  Note\n"
                                     " 1  Prüfung     $1  x\n"
                                     "10  日本語…   $100\n"
                                     " 2  a<U+001…        é\n"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(colour_follows_terminal_and_environment),
    cmocka_unit_test(styles_are_written_only_in_colour),
    cmocka_unit_test(columns_are_counted_as_terminals_do),
    cmocka_unit_test(a_line_is_one_printable_line_of_its_width),
    cmocka_unit_test(figures_read_as_people_write_them),
    cmocka_unit_test(flowing_text_wraps_the_same_however_it_arrives),
    cmocka_unit_test(flowing_text_is_styled_line_by_line_and_printable),
    cmocka_unit_test(who_waits_for_the_end_of_a_line_is_told),
    cmocka_unit_test(tables_are_as_wide_as_their_cells),
};

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
