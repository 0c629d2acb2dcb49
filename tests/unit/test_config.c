/* Options: every type's good and bad values, the order of sources, exact complaints, the docs. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "base/address.h"
#include "base/file.h"
#include "base/nearest.h"
#include "harness.h"

/* --- a program of our own -----------------------------------------------------------------------
 */

#define OWN_ROWS                                                                                   \
    CONFIG(address, listen, "127.0.0.1:7401", "", "where gRPC is served")                          \
    CONFIG(address, peers, "", "", "the other instances")                                          \
    CONFIG(duration, first_byte_wait, "60s", "1s..3600s",                                          \
           "longest silence before a tier is given up")                                            \
    CONFIG_ALIAS(first_byte_wait, "FIRST_BYTE_TIMEOUT")                                            \
    CONFIG(size, document_max, "25MB", "1KiB..1GiB", "largest document")                           \
    CONFIG(ratio, headroom, "0.1", "0..1", "share of the quota that is never used")                \
    CONFIG(bool, thinking, "true", "", "ask the models to think")                                  \
    CONFIG(choice, on_fence, "closed", "closed|open", "what happens without the limiter")          \
    CONFIG(text, region, "us-east-1", "1..32", "region of the models")                             \
    CONFIG(secret, api_key, "", "", "key that callers must show")                                  \
    CONFIG_ALIAS(api_key, "LEGACY_API_KEY")

struct values {
#define CONFIG CONFIG_FIELD
#define CONFIG_ALIAS(name, env)
#include "app/common.def"
    OWN_ROWS
#undef CONFIG
#undef CONFIG_ALIAS
};

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct values, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
#include "app/common.def"
    OWN_ROWS
#undef CONFIG
#undef CONFIG_ALIAS
};

static const struct config_spec spec = {
    .program = "prism-router",
    .env = "PRISM_ROUTER_",
    .about = "sends prompts to the first model that can take them",
    .usage = "",
    .rows = rows,
    .n_rows = ARRAY_LEN(rows),
};

struct run {
    struct arena *arena;
    struct values values;
    enum config_outcome outcome;
    char **rest;
    char folder[32];
    const char *yaml; /* path, when one was written */
    struct buf out;
    struct buf err;
};

static int setup(void **state)
{
    struct run *run = calloc(1, sizeof(*run));
    run->arena = arena_new(8u << 20);
    memcpy(run->folder, "/tmp/prism-config-XXXXXX", 25);
    buf_init(&run->out, 1u << 20);
    buf_init(&run->err, 1u << 20);
    *state = run;
    return mkdtemp(run->folder) == NULL;
}

static int teardown(void **state)
{
    struct run *run = *state;
    if (run->yaml != NULL) {
        unlink(run->yaml);
    }
    rmdir(run->folder);
    buf_clear(&run->out);
    buf_clear(&run->err);
    arena_free(run->arena);
    free(run);
    return 0;
}

static const char *write_file(struct run *run, const char *text)
{
    run->yaml = arena_printf(run->arena, "%s/router.yaml", run->folder);
    assert_null(file_write(run->yaml, span_str(text)));
    return run->yaml;
}

/* Sends a stream into a file for as long as load() runs. */
static int divert(FILE *stream, FILE *file)
{
    fflush(stream);
    int kept = dup(fileno(stream));
    assert_true(dup2(fileno(file), fileno(stream)) >= 0);
    return kept;
}

static void restore(FILE *stream, int kept, FILE *file, struct buf *into)
{
    char chunk[1024];
    size_t got;
    fflush(stream);
    assert_true(dup2(kept, fileno(stream)) >= 0);
    close(kept);
    rewind(file);
    buf_reset(into);
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0) {
        buf_add(into, chunk, got);
    }
    fclose(file);
}

/* argv and envp as one line each, words between blanks. */
static void load(struct run *run, const char *arguments, const char *environment, bool with_rest)
{
    char *argv[32] = {"prism-router"}, *envp[32] = {NULL};
    int argc = 1, n_env = 0;
    struct span words = span_str(arguments), word;
    while (span_cut(&words, ' ', &word)) {
        if (word.len > 0) {
            argv[argc++] = arena_string(run->arena, word);
        }
    }
    words = span_str(environment);
    while (span_cut(&words, ' ', &word)) {
        if (word.len > 0) {
            envp[n_env++] = arena_string(run->arena, word);
        }
    }
    FILE *out = tmpfile(), *err = tmpfile();
    int stdout_kept = divert(stdout, out), stderr_kept = divert(stderr, err);
    run->outcome = config_load(&spec, argc, argv, envp, run->arena, &run->values,
                               with_rest ? &run->rest : NULL);
    restore(stdout, stdout_kept, out, &run->out);
    restore(stderr, stderr_kept, err, &run->err);
    if (with_rest && run->outcome == CONFIG_RUN) {
        char **copy = ARENA_ARRAY(run->arena, char *, 32);
        memcpy(copy, run->rest, sizeof(*copy) * (size_t)(argv + argc - run->rest));
        run->rest = copy;
    }
}

static void expect_error(struct run *run, const char *arguments, const char *environment,
                         const char *complaint)
{
    load(run, arguments, environment, false);
    assert_int_equal(run->outcome, CONFIG_ERROR);
    assert_span(buf_span(&run->err),
                span_str(arena_printf(run->arena, "prism-router: %s\nTry 'prism-router --help'.\n",
                                      complaint)));
    assert_int_equal(run->out.len, 0);
}

/* --- values -------------------------------------------------------------------------------------
 */

static const struct {
    enum config_type type;
    const char *otherwise, *bounds, *text;
    double number;     /* of numbers and bools */
    const char *error; /* NULL: good */
} values[] = {
    {CONFIG_TYPE_duration, "", "", "500ms", 500, NULL},
    {CONFIG_TYPE_duration, "", "", "0s", 0, NULL},
    {CONFIG_TYPE_duration, "", "0s..24h", "24h", 86400000, NULL},
    {CONFIG_TYPE_duration, "", "", "2m", 120000, NULL},
    {CONFIG_TYPE_duration, "", "", "5", 0,
     "wants a duration such as 500ms, 5s, 2m or 1h, not \"5\""},
    {CONFIG_TYPE_duration, "", "", "", 0, "wants a duration such as 500ms, 5s, 2m or 1h, not \"\""},
    {CONFIG_TYPE_duration, "", "", "-5s", 0,
     "wants a duration such as 500ms, 5s, 2m or 1h, not \"-5s\""},
    {CONFIG_TYPE_duration, "", "", "5 s", 0,
     "wants a duration such as 500ms, 5s, 2m or 1h, not \"5 s\""},
    {CONFIG_TYPE_duration, "", "", "18446744073709551615h", 0,
     "wants a duration such as 500ms, 5s, 2m or 1h, not \"18446744073709551615h\""},
    {CONFIG_TYPE_duration, "", "1s..3600s", "999ms", 0, "must be 1s..3600s, not \"999ms\""},
    {CONFIG_TYPE_duration, "", "1s..3600s", "1h", 3600000, NULL},
    {CONFIG_TYPE_duration, "", "1s..3600s", "61m", 0, "must be 1s..3600s, not \"61m\""},
    {CONFIG_TYPE_size, "", "", "4096", 4096, NULL},
    {CONFIG_TYPE_size, "", "", "64KiB", 65536, NULL},
    {CONFIG_TYPE_size, "", "", "25MB", 25000000, NULL},
    {CONFIG_TYPE_size, "", "", "1GiB", 1073741824, NULL},
    {CONFIG_TYPE_size, "", "", "1kb", 0, "wants a size such as 4096, 64KiB or 25MB, not \"1kb\""},
    {CONFIG_TYPE_size, "", "1KiB..1MiB", "2MiB", 0, "must be 1KiB..1MiB, not \"2MiB\""},
    {CONFIG_TYPE_count, "", "1..100", "100", 100, NULL},
    {CONFIG_TYPE_count, "", "1..100", "0", 0, "must be 1..100, not \"0\""},
    {CONFIG_TYPE_count, "", "", "1e3", 0, "wants a whole number, not \"1e3\""},
    {CONFIG_TYPE_ratio, "", "0..1", "0.5", 0.5, NULL},
    {CONFIG_TYPE_ratio, "", "0..1", "50%", 0.5, NULL},
    {CONFIG_TYPE_ratio, "", "0..1", "101%", 0, "must be 0..1, not \"101%\""},
    {CONFIG_TYPE_ratio, "", "0..1", "-0.1", 0, "must be 0..1, not \"-0.1\""},
    {CONFIG_TYPE_ratio, "", "", "nan", 0, "wants a ratio such as 0.5 or 50%, not \"nan\""},
    {CONFIG_TYPE_ratio, "", "", "%", 0, "wants a ratio such as 0.5 or 50%, not \"%\""},
    {CONFIG_TYPE_bool, "", "", "Yes", 1, NULL},
    {CONFIG_TYPE_bool, "", "", "off", 0, NULL},
    {CONFIG_TYPE_bool, "", "", "1", 1, NULL},
    {CONFIG_TYPE_bool, "", "", "2", 0, "wants true or false, not \"2\""},
    {CONFIG_TYPE_text, "", "", "", 0, NULL},
    {CONFIG_TYPE_text, "", "1..3", "abc", 0, NULL},
    {CONFIG_TYPE_text, "", "1..3", "abcd", 0, "must be 1..3 bytes long, not 4"},
    {CONFIG_TYPE_text, "", "", "\xff", 0, "wants UTF-8 text without NUL"},
    {CONFIG_TYPE_address, "", "", "", 0, NULL},
    {CONFIG_TYPE_address, "", "", "127.0.0.1:0", 0, NULL},
    {CONFIG_TYPE_address, "", "", "[::1]:7401,limiter.svc:65535", 0, NULL},
    {CONFIG_TYPE_address, "a:1", "", "", 0, "wants host:port, not \"\""},
    {CONFIG_TYPE_address, "", "", "a:1,,b:2", 0, "wants host:port, not \"\""},
    {CONFIG_TYPE_address, "", "", "localhost", 0, "wants host:port, not \"localhost\""},
    {CONFIG_TYPE_address, "", "", "::1:80", 0, "wants host:port, not \"::1:80\""},
    {CONFIG_TYPE_address, "", "", "a:65536", 0, "wants host:port, not \"a:65536\""},
    {CONFIG_TYPE_address, "", "", ":80", 0, "wants host:port, not \":80\""},
    {CONFIG_TYPE_address, "", "",
     "a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1", 0,
     "wants at most 16 addresses, not 17"},
    {CONFIG_TYPE_choice, "", "a|b", "b", 0, NULL},
    {CONFIG_TYPE_choice, "", "a|b", "c", 0, "wants one of a, b, not \"c\""},
    {CONFIG_TYPE_choice, "", "a|b", "", 0, "wants one of a, b, not \"\""},
    {CONFIG_TYPE_secret, "", "", "s3cret", 0, NULL},
    {CONFIG_TYPE_count, "", "",
     "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-abcdefghijklmnop\n", 0,
     "wants a whole number, not "
     "\"abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-abcdefghij\"..."},
};

static void test_values_of_every_type(void **state)
{
    struct run *run = *state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct config_row row = {
            "row", values[i].type, 0, values[i].otherwise, values[i].bounds, "help", NULL};
        union {
            uint64_t whole;
            double real;
            bool truth;
            const char *text;
            struct secret secret;
        } field = {.whole = 12345};
        const char *error = NULL;
        bool good = config_parse(&row, span_str(values[i].text), run->arena, &field, &error);
        if (good != (values[i].error == NULL)) {
            print_error("case %zu, \"%s\": %s\n", i, values[i].text, error);
        }
        assert_int_equal(good, values[i].error == NULL);
        if (!good) {
            assert_span(span_str(error), span_str(values[i].error));
            assert_int_equal(field.whole, 12345);
        } else if (row.type <= CONFIG_TYPE_bool && row.type != CONFIG_TYPE_address) {
            double got = row.type == CONFIG_TYPE_ratio  ? field.real
                         : row.type == CONFIG_TYPE_bool ? (double)field.truth
                                                        : (double)field.whole;
            assert_true(got == values[i].number);
        } else {
            assert_string_equal(field.text, values[i].text);
        }
    }
}

static void test_values_from_outside_are_bounded(void **state)
{
    struct run *run = *state;
    static char large[65537];
    memset(large, 'x', sizeof(large));
    const struct config_row row = {"row", CONFIG_TYPE_text, 0, "", "", "", NULL};
    const char *field = NULL, *error;
    assert_true(config_parse(&row, span_of(large, 65536), run->arena, &field, &error));
    assert_false(config_parse(&row, span_of(large, 65537), run->arena, &field, &error));
    assert_string_equal(error, "is longer than 64KiB");
    assert_false(config_parse(&row, SPAN("a\0b"), run->arena, &field, &error));
}

static void test_addresses_are_split(void **state)
{
    (void)state;
    struct span host;
    uint16_t port;
    assert_true(address_split(SPAN("[2001:db8::1]:7401"), &host, &port));
    assert_span(host, SPAN("2001:db8::1"));
    assert_int_equal(port, 7401);
    assert_true(address_split(SPAN("10.0.0.1:0"), &host, &port));
    assert_span(host, SPAN("10.0.0.1"));
    static const char *const bad[] = {"", ":", "[]:1", "[:1", "a", "a:", "a:+1", "a:1 ", "a b:1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(address_split(span_str(bad[i]), &host, &port));
    }
}

static void test_only_near_names_are_suggested(void **state)
{
    (void)state;
    static const struct {
        const char *slip, *meant;
    } cases[] = {{"drian", "drain"},
                 {"drai", "drain"},
                 {"drainn", "drain"},
                 {"grain", "drain"},
                 {"dr", NULL},
                 {"port", NULL},
                 {"log-levle", "log-level"},
                 {"max-call-aeg", "max-call-age"},
                 {"", NULL}};
    static const char *const names[] = {"drain", "log-level", "max-call-age", "config"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct nearest near = {.slip = span_str(cases[i].slip)};
        for (size_t j = 0; j < ARRAY_LEN(names); j++) {
            nearest_offer(&near, names[j]);
        }
        assert_span(span_str(near.name), span_str(cases[i].meant));
    }
}

/* --- sources ------------------------------------------------------------------------------------
 */

static void test_defaults_fill_the_struct(void **state)
{
    struct run *run = *state;
    load(run, "", "HOME=/root", false);
    assert_int_equal(run->outcome, CONFIG_RUN);
    assert_string_equal(run->values.listen, "127.0.0.1:7401");
    assert_string_equal(run->values.peers, "");
    assert_int_equal(run->values.first_byte_wait, 60000);
    assert_int_equal(run->values.document_max, 25000000);
    assert_true(run->values.headroom == 0.1);
    assert_true(run->values.thinking);
    assert_string_equal(run->values.on_fence, "closed");
    assert_null(run->values.api_key.at);
    assert_int_equal(run->values.drain, 25000);
    assert_int_equal(run->out.len + run->err.len, 0);
}

static void test_flags_in_every_form(void **state)
{
    struct run *run = *state;
    load(run, "--drain 5s --drain=6s --no-thinking --region=eu --peers a:1,b:2", "", false);
    assert_int_equal(run->outcome, CONFIG_RUN);
    assert_int_equal(run->values.drain, 6000);
    assert_false(run->values.thinking);
    assert_string_equal(run->values.region, "eu");
    assert_string_equal(run->values.peers, "a:1,b:2");
    load(run, "--thinking=no", "", false);
    assert_false(run->values.thinking);
    load(run, "--no-thinking --thinking", "", false);
    assert_true(run->values.thinking);
}

static void test_flag_beats_environment_beats_file_beats_default(void **state)
{
    struct run *run = *state;
    const char *path = write_file(run, "first_byte_wait: 2s\n");
    const char *config = arena_printf(run->arena, "--config %s", path);
    static const struct {
        const char *flag, *env;
        uint64_t want;
    } steps[] = {
        {"", "", 2000},
        {"", "FIRST_BYTE_TIMEOUT=3s", 3000},
        {"", "FIRST_BYTE_TIMEOUT=3s PRISM_ROUTER_FIRST_BYTE_WAIT=4s", 4000},
        {"", "FIRST_BYTE_TIMEOUT=3s PRISM_ROUTER_FIRST_BYTE_WAIT=", 3000},
        {"--first-byte-wait 5s", "PRISM_ROUTER_FIRST_BYTE_WAIT=4s", 5000},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        load(run, arena_printf(run->arena, "%s %s", config, steps[i].flag), steps[i].env, false);
        assert_int_equal(run->outcome, CONFIG_RUN);
        assert_int_equal(run->values.first_byte_wait, steps[i].want);
    }
}

static void test_common_rows_answer_to_the_suite(void **state)
{
    struct run *run = *state;
    load(run, "", "PRISM_DRAIN=3s PRISM_REGION=nowhere", false);
    assert_int_equal(run->values.drain, 3000);
    assert_string_equal(run->values.region, "us-east-1");
    load(run, "", "PRISM_DRAIN=3s PRISM_ROUTER_DRAIN=4s", false);
    assert_int_equal(run->values.drain, 4000);
}

static void test_file_by_environment(void **state)
{
    struct run *run = *state;
    const char *path =
        write_file(run, "drain: 1s # short\n\"region\": 'eu-west-1'\nthinking: no\n");
    load(run, "", arena_printf(run->arena, "PRISM_CONFIG=%s", path), false);
    assert_int_equal(run->outcome, CONFIG_RUN);
    assert_int_equal(run->values.drain, 1000);
    assert_string_equal(run->values.region, "eu-west-1");
    assert_false(run->values.thinking);
}

static void test_secrets_come_by_environment_or_file_only(void **state)
{
    struct run *run = *state;
    const char *path = write_file(run, "hush\n");
    load(run, arena_printf(run->arena, "--api-key-file %s", path), "", false);
    assert_string_equal(run->values.api_key.at, "hush");
    load(run, "", "PRISM_ROUTER_API_KEY=open", false);
    assert_string_equal(run->values.api_key.at, "open");
    load(run, "", "LEGACY_API_KEY=old", false);
    assert_string_equal(run->values.api_key.at, "old");
    load(run, "", arena_printf(run->arena, "PRISM_ROUTER_API_KEY_FILE=%s", path), false);
    assert_string_equal(run->values.api_key.at, "hush");
    expect_error(run, "--api-key hush", "",
                 "--api-key: secrets are not given in clear; use --api-key-file");
    expect_error(run, "--api-key-file /nonexistent", "",
                 "--api-key-file: /nonexistent: No such file or directory");
    assert_null(file_write(path, SPAN("\n")));
    expect_error(run, arena_printf(run->arena, "--api-key-file=%s", path), "",
                 arena_printf(run->arena, "--api-key-file: %s: it is empty", path));
}

static void test_rest_of_the_arguments(void **state)
{
    struct run *run = *state;
    load(run, "--drain 1s call --drain=9s", "", true);
    assert_int_equal(run->outcome, CONFIG_RUN);
    assert_int_equal(run->values.drain, 1000);
    assert_string_equal(run->rest[0], "call");
    assert_string_equal(run->rest[1], "--drain=9s");
    load(run, "-- --drain", "", true);
    assert_string_equal(run->rest[0], "--drain");
    load(run, "-", "", true);
    assert_string_equal(run->rest[0], "-");
    expect_error(run, "serve", "", "serve: no arguments are taken");
}

/* --- complaints ---------------------------------------------------------------------------------
 */

static void test_complaints_name_their_source(void **state)
{
    struct run *run = *state;
    static const struct {
        const char *arguments, *environment, *complaint;
    } cases[] = {
        {"--drian 5s", "", "--drian: no such option; did you mean --drain?"},
        {"--pritn-config", "", "--pritn-config: no such option; did you mean --print-config?"},
        {"--xyzzy", "", "--xyzzy: no such option"},
        {"-x", "", "-x: no such option"},
        {"--first_byte_wait=1s", "",
         "--first_byte_wait: no such option; did you mean --first-byte-wait?"},
        {"--drain", "", "--drain: wants a value"},
        {"--drain=2h", "", "--drain: must be 0s..1h, not \"2h\""},
        {"--no-thinking=yes", "", "--no-thinking: takes no value"},
        {"--on-fence=ajar", "", "--on-fence: wants one of closed, open, not \"ajar\""},
        {"", "PRISM_ROUTER_DRAIN=soon",
         "PRISM_ROUTER_DRAIN: wants a duration such as 500ms, 5s, 2m or 1h, not \"soon\""},
        {"", "PRISM_LOG_LEVEL=loud",
         "PRISM_LOG_LEVEL: wants one of debug, info, warn, error, not \"loud\""},
        {"", "FIRST_BYTE_TIMEOUT=0s", "FIRST_BYTE_TIMEOUT: must be 1s..3600s, not \"0s\""},
        {"", "PRISM_ROUTER_DRIAN=1s",
         "PRISM_ROUTER_DRIAN: no such option; did you mean PRISM_ROUTER_DRAIN?"},
        {"--config /nonexistent.yaml", "", "/nonexistent.yaml: No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_error(run, cases[i].arguments, cases[i].environment, cases[i].complaint);
    }
}

static void test_every_complaint_is_said_at_once(void **state)
{
    struct run *run = *state;
    expect_error(run, "--drain=2h --on-fnce open", "PRISM_ROUTER_REGION=",
                 "--on-fnce: no such option; "
                 "did you mean --on-fence?\nprism-router: --drain: must be 0s..1h, not \"2h\"");
}

static void test_complaints_about_the_file_name_the_line(void **state)
{
    struct run *run = *state;
    static const struct {
        const char *text, *complaint; /* behind the path */
    } cases[] = {
        {"\n\ndrain: 2h\n", ":3: drain: must be 0s..1h, not \"2h\""},
        {"drain: 1s\nregoin: x\n", ":2: regoin: no such option; did you mean region?"},
        {"nothing_like_it: 1\n", ":1: nothing_like_it: no such option"},
        {"drain: [1s]\n", ":1: drain: wants one value, not a list or a mapping"},
        {"- drain\n", ": wants a mapping of options"},
        {"api_key: hush\n", ":1: api_key: secrets are not given in clear; use api_key_file"},
        {"config: other.yaml\n", ":1: config: no such option"},
        {"region:\n", ":1: region: must be 1..32 bytes long, not 0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *path = write_file(run, cases[i].text);
        expect_error(run, arena_printf(run->arena, "--config=%s", path), "",
                     arena_printf(run->arena, "%s%s", path, cases[i].complaint));
    }
    const char *path = write_file(run, "drain: 1s\ndrain: 2s\n");
    load(run, arena_printf(run->arena, "--config=%s", path), "", false);
    assert_int_equal(run->outcome, CONFIG_ERROR);
    assert_true(span_starts(buf_span(&run->err),
                            span_str(arena_printf(run->arena, "prism-router: %s:2: ", path))));
}

static void test_strangers_in_the_environment_are_ignored(void **state)
{
    struct run *run = *state;
    load(run, "",
         "PRISM_ROUTER_PORT=tcp://10.0.0.1:7401 PRISM_ROUTER_SERVICE_HOST=10.0.0.1 "
         "PRISM_ROUTER_PORT_7401_TCP=x PRISM_LIMITER_DRAIN=nonsense",
         false);
    assert_int_equal(run->outcome, CONFIG_RUN);
}

static void test_a_flood_of_complaints_is_bounded(void **state)
{
    struct run *run = *state;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, 60000);
    for (int i = 0; buf_ok(&text); i++) {
        buf_addf(&text, "k%d: 1\n", i);
    }
    const char *path = write_file(run, buf_cstr(&text));
    load(run, arena_printf(run->arena, "--config=%s", path), "", false);
    assert_int_equal(run->outcome, CONFIG_ERROR);
    assert_in_range(run->err.len, 1000, 66000);
}

/* --- texts --------------------------------------------------------------------------------------
 */

static void test_help_is_wrapped_and_complete(void **state)
{
    struct run *run = *state;
    load(run, "--nonsense --help", "PRISM_ROUTER_DRAIN=soon", false);
    assert_int_equal(run->outcome, CONFIG_EXIT);
    assert_int_equal(run->err.len, 0);
    struct span text = buf_span(&run->out), line;
    static const char *const wanted[] = {
        "Usage: prism-router [OPTION]...\n",
        "\n  --drain TIME                    how long running calls may go on after SIGTERM "
        "[default "
        "25s;\n                                  0s..1h; PRISM_ROUTER_DRAIN, PRISM_DRAIN]\n",
        "\n  --[no-]thinking  ",
        "\n  --api-key-file FILE             key that callers must show [PRISM_ROUTER_API_KEY,\n"
        "                                  PRISM_ROUTER_API_KEY_FILE, LEGACY_API_KEY]\n",
        "\n  --print-docs ",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (span_find(text, span_str(wanted[i])) == SPAN_MISSING) {
            print_error("%s\n", buf_cstr(&run->out));
        }
        assert_true(span_find(text, span_str(wanted[i])) != SPAN_MISSING);
    }
    while (span_cut(&text, '\n', &line)) {
        assert_in_range(line.len, 0, 100);
    }
}

static void test_version(void **state)
{
    struct run *run = *state;
    load(run, "--version", "", false);
    assert_int_equal(run->outcome, CONFIG_EXIT);
    assert_true(span_starts(buf_span(&run->out), SPAN("prism-router ")));
}

static void test_effective_options_load_again(void **state)
{
    struct run *run = *state;
    load(run, "--print-config --drain 7s --no-thinking",
         "PRISM_ROUTER_API_KEY=hush PRISM_ROUTER_REGION=a\"b", false);
    assert_int_equal(run->outcome, CONFIG_EXIT);
    struct span text = buf_span(&run->out);
    static const char *const wanted[] = {
        "\ndrain: 7s  # --drain\n",
        "\nthinking: false  # --no-thinking\n",
        "\nregion: \"a\\\"b\"  # PRISM_ROUTER_REGION\n",
        "\n# api_key: ***  # PRISM_ROUTER_API_KEY\n",
        "\nlisten: \"127.0.0.1:7401\"  # default\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_true(span_find(text, span_str(wanted[i])) != SPAN_MISSING);
    }
    assert_true(span_find(text, SPAN("hush")) == SPAN_MISSING);
    const char *path = write_file(run, buf_cstr(&run->out));
    load(run, arena_printf(run->arena, "--config %s", path), "", false);
    assert_int_equal(run->outcome, CONFIG_RUN);
    assert_int_equal(run->values.drain, 7000);
    assert_false(run->values.thinking);
    assert_string_equal(run->values.region, "a\"b");
    load(run, arena_printf(run->arena, "--config %s --print-config", path), "", false);
    assert_true(span_find(buf_span(&run->out),
                          span_str(arena_printf(run->arena, "drain: 7s  # %s:", path))) !=
                SPAN_MISSING);
}

static void test_bad_options_are_not_printed_as_config(void **state)
{
    expect_error(*state, "--print-config --drain 2h", "", "--drain: must be 0s..1h, not \"2h\"");
}

static void test_docs_are_a_table(void **state)
{
    struct run *run = *state;
    load(run, "--print-docs", "", false);
    assert_int_equal(run->outcome, CONFIG_EXIT);
    static const char *const wanted[] = {
        "| `--first-byte-wait` | duration | `60s` | `1s..3600s` | `PRISM_ROUTER_FIRST_BYTE_WAIT`, "
        "`FIRST_BYTE_TIMEOUT` | longest silence before a tier is given up |\n",
        "| `--on-fence` | choice | `closed` | `closed`, `open` | `PRISM_ROUTER_ON_FENCE` | ",
        "| `--api-key-file` | secret | | | `PRISM_ROUTER_API_KEY`, `PRISM_ROUTER_API_KEY_FILE`, ",
        "| `--drain` | duration | `25s` | `0s..1h` | `PRISM_ROUTER_DRAIN`, `PRISM_DRAIN` | ",
    };
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        assert_true(span_find(buf_span(&run->out), span_str(wanted[i])) != SPAN_MISSING);
    }
    struct span text = buf_span(&run->out), line;
    size_t table = 0;
    while (span_cut(&text, '\n', &line)) {
        table += span_starts(line, SPAN("| `--"));
    }
    assert_int_equal(table, ARRAY_LEN(rows) - 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values_of_every_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_from_outside_are_bounded, setup, teardown),
        cmocka_unit_test(test_addresses_are_split),
        cmocka_unit_test(test_only_near_names_are_suggested),
        cmocka_unit_test_setup_teardown(test_defaults_fill_the_struct, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flags_in_every_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flag_beats_environment_beats_file_beats_default, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_common_rows_answer_to_the_suite, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_by_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_secrets_come_by_environment_or_file_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rest_of_the_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_complaints_name_their_source, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_complaint_is_said_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_complaints_about_the_file_name_the_line, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_strangers_in_the_environment_are_ignored, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_of_complaints_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_help_is_wrapped_and_complete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_effective_options_load_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_options_are_not_printed_as_config, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_docs_are_a_table, setup, teardown),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
