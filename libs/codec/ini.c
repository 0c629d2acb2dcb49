#include "codec/ini.h"

#include "base/utf8.h"

void ini_init(struct ini *ini, struct span text)
{
    *ini = (struct ini){.rest = text, .indent = SIZE_MAX};
    if (span_starts(text, SPAN("\xEF\xBB\xBF"))) {
        ini->rest = span_from(text, 3);
    }
    if (span_find_char(text, '\0') != SPAN_MISSING || !utf8_valid(text)) {
        ini->error = "the file is not UTF-8 text";
    }
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span without_comment(struct span line)
{
    for (size_t i = 0; i < line.len; i++) {
        if ((line.at[i] == '#' || line.at[i] == ';') && (i == 0 || blank(line.at[i - 1]))) {
            return span_first(line, i);
        }
    }
    return line;
}

static bool fail(struct ini *ini, const char *error)
{
    ini->error = error;
    return false;
}

static bool take_section(struct ini *ini, struct span line, struct ini_entry *out)
{
    size_t end = span_find_char(line, ']');
    if (end == SPAN_MISSING || span_trim(span_from(line, end + 1)).len > 0) {
        return fail(ini, "a section's name does not end in ]");
    }
    ini->section = span_trim(span_from(span_first(line, end), 1));
    ini->within = true;
    ini->indent = SIZE_MAX;
    *out = (struct ini_entry){.section = ini->section};
    return true;
}

static bool take_pair(struct ini *ini, struct span line, struct ini_entry *out)
{
    struct span key;
    if (span_find_char(line, '=') == SPAN_MISSING || !span_cut(&line, '=', &key) ||
        span_trim(key).len == 0) {
        return fail(ini, "neither a comment, nor [section], nor key = value");
    }
    if (!ini->within) {
        return fail(ini, "a key stands before the first section");
    }
    *out = (struct ini_entry){
        .section = ini->section, .key = span_trim(key), .value = span_trim(line)};
    return true;
}

bool ini_next(struct ini *ini, struct ini_entry *out)
{
    struct span line;
    while (ini->error == NULL && span_cut(&ini->rest, '\n', &line)) {
        ini->line++;
        size_t indent = 0;
        while (indent < line.len && blank(line.at[indent])) {
            indent++;
        }
        line = span_trim(without_comment(line));
        if (line.len == 0 || indent > ini->indent) {
            continue;
        }
        if (line.at[0] == '[') {
            return take_section(ini, line, out);
        }
        ini->indent = indent;
        return take_pair(ini, line, out);
    }
    return false;
}
