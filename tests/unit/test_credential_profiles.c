/* Profiles: AWS's shared files as people leave them, and roles that are assumed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aws_world.h"

#define KEYS(key) "aws_access_key_id = " key "\naws_secret_access_key=" key "-secret/+=\n"
#define ROLE      "role_arn = arn:aws:iam::123456789012:role/prism\n"

static const struct profile_case {
    const char *name;
    const char *config;      /* NULL: no such file */
    const char *credentials; /* likewise */
    const char *profile;     /* AWS_PROFILE */
    const char *key;         /* found; NULL: not found, and */
    enum source_found found;
    const char *words;
} profile_cases[] = {
    {"the default's keys", NULL, "[default]\n" KEYS("k"), .key = "k"},
    {"keys in the config file", "[default]\n" KEYS("k"), NULL, .key = "k"},
    {"the default with the word", "[profile default]\n" KEYS("k"), NULL, .key = "k"},
    {"the credentials file counts more", "[default]\n" KEYS("a"), "[default]\n" KEYS("b"),
     .key = "b"},
    {"a profile", "[profile x]\n" KEYS("a") "[profile dev]\n" KEYS("b"), NULL, "dev", .key = "b"},
    {"a name with a blank", "[profile \"a b\"]\n" KEYS("b"), NULL, "a b", .key = "b"},
    {"a profile of the other file", NULL, "[x]\n" KEYS("a") "[dev]\n" KEYS("b"), "dev", .key = "b"},
    {"an editor's marks", NULL,
     "\xEF\xBB\xBF[default]\r\naws_access_key_id = k\r\naws_secret_access_key = s\r\n", .key = "k"},
    {"comments", NULL,
     "# one\n; two\n[default] # three\n\n" KEYS("k") "  # four\naws_session_token = t ; five\n",
     .key = "k"},
    {"nested settings are passed over",
     "[default]\ns3 =\n    max_concurrent_requests = 20\n    aws_access_key_id = no\n" KEYS("k"),
     NULL, .key = "k"},
    {"all indented", NULL, "[default]\n  aws_access_key_id = k\n  aws_secret_access_key = s\n",
     .key = "k"},
    {"capitals", NULL, "[default]\nAWS_Access_Key_ID = k\nAws_Secret_Access_Key = s\n", .key = "k"},
    {"no line end at the end", NULL, "[default]\naws_access_key_id = k\naws_secret_access_key = s",
     .key = "k"},

    {"no files", NULL, NULL, .found = SOURCE_NOTHING, .words = "there is neither"},
    {"empty files", "", "", .found = SOURCE_NOTHING, .words = "\"default\" has no keys"},
    {"no such profile", NULL, "[default]\n" KEYS("k"), "dev", .found = SOURCE_BROKEN,
     .words = "\"dev\" is neither in"},
    {"the word is missing", "[dev]\n" KEYS("k"), NULL, "dev", .found = SOURCE_BROKEN,
     .words = "\"dev\" is neither in"},
    {"half a pair", NULL, "[default]\naws_access_key_id = k\n", .found = SOURCE_BROKEN,
     .words = "\"default\" has no aws_secret_access_key"},
    {"a bad line", NULL, "[default]\n\nnonsense secret\n" KEYS("k"), .found = SOURCE_BROKEN,
     .words = "credentials:3: neither"},
    {"a section that does not end", "[default\n" KEYS("k"), NULL, .found = SOURCE_BROKEN,
     .words = "config:1: a section's name"},
    {"no section", NULL, KEYS("k"), .found = SOURCE_BROKEN, .words = "before the first section"},
    {"not text", NULL, "[default]\n\xff\xfe\n", .found = SOURCE_BROKEN, .words = "not UTF-8"},
    {"a program", "[default]\ncredential_process = /bin/echo\n", NULL, .found = SOURCE_BROKEN,
     .words = "credential_process is not supported"},
    {"single sign-on", "[default]\nsso_session = x\n", NULL, .found = SOURCE_BROKEN,
     .words = "SSO"},
    {"a role without keys", "[default]\n" ROLE, NULL, .found = SOURCE_BROKEN,
     .words = "neither source_profile nor"},
    {"a role and MFA", "[default]\n" ROLE "source_profile = b\nmfa_serial = x\n[profile b]\n", NULL,
     .found = SOURCE_BROKEN, .words = "MFA"},
    {"a source that is not there", "[default]\n" ROLE "source_profile = b\n", NULL,
     .found = SOURCE_BROKEN, .words = "\"b\" is in neither file"},
    {"a circle",
     "[default]\n" ROLE "source_profile = b\n[profile b]\n" ROLE "source_profile = default\n", NULL,
     .found = SOURCE_BROKEN, .words = "name each other"},
    {"a circle of one", "[default]\n" ROLE "source_profile = default\n", NULL,
     .found = SOURCE_BROKEN, .words = "name each other"},
    {"an unknown source", "[default]\n" ROLE "credential_source = Moon\n", NULL,
     .found = SOURCE_BROKEN, .words = "neither source_profile nor"},
    {"an empty source", "[default]\n" ROLE "credential_source = Environment\n", NULL,
     .found = SOURCE_BROKEN, .words = "has no credentials"},
};

static void put_files(struct aws_world *w, const char *config, const char *credentials)
{
    aws_world_file(w, ".aws/config", config);
    aws_world_file(w, ".aws/credentials", credentials);
}

task_test_real(files_as_people_leave_them)
{
    struct aws_world w;
    aws_world_start(&w);
    aws_world_set("AWS_EC2_METADATA_DISABLED", "true");
    aws_world_set("AWS_ENDPOINT_URL_STS", w.url);
    for (size_t i = 0; i < ARRAY_LEN(profile_cases); i++) {
        const struct profile_case *c = &profile_cases[i];
        put_files(&w, c->config, c->credentials);
        aws_world_set("AWS_PROFILE", c->profile);
        struct aws_found found = aws_world_look(&w, source_find);
        bool right =
            c->key != NULL
                ? found.found == SOURCE_KEYS && span_eq(found.values.access_key, span_str(c->key))
                : found.found == c->found && strstr(found.why, c->words) != NULL;
        if (!right || strstr(found.why, "-secret") != NULL || strstr(found.why, "nonsense")) {
            fail_msg("%s: %d, %s", c->name, (int)found.found, found.why);
        }
    }
    aws_world_stop(&w);
}

task_test_real(files_that_cannot_be_read)
{
    struct aws_world w;
    aws_world_start(&w);
    static char large[(1u << 20) + 64];
    memset(large, '\n', sizeof(large) - 1);
    aws_world_set("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
    put_files(&w, NULL, large);
    struct aws_found found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_BROKEN);
    assert_non_null(strstr(found.why, "/.aws/credentials cannot be read: it is too large"));
    put_files(&w, NULL, NULL);

    aws_world_set("AWS_CONFIG_FILE", arena_printf(w.arena, "%s/.aws", w.home));
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_BROKEN);
    assert_non_null(strstr(found.why, "it is no regular file"));

    const char *fifo = arena_printf(w.arena, "%s/token", w.home); /* reading it would never end */
    assert_int_equal(mkfifo(fifo, 0600), 0);
    aws_world_set("AWS_CONFIG_FILE", fifo);
    found = aws_world_look(&w, source_find);
    assert_non_null(strstr(found.why, "it is no regular file"));

    aws_world_set("AWS_CONFIG_FILE", "/proc/self/mem/x");
    aws_world_set("AWS_EC2_METADATA_DISABLED", "true");
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_NOTHING);
    if (geteuid() != 0) {
        aws_world_set("AWS_CONFIG_FILE", "/proc/1/mem");
        found = aws_world_look(&w, source_find);
        assert_int_equal(found.found, SOURCE_BROKEN);
        assert_non_null(strstr(found.why, "Permission denied"));
    }
    aws_world_stop(&w);
}

/* The signature itself is looked at by tests/clients/test_botocore.sh. */
task_test_real(a_role_is_assumed_with_the_keys_of_another_profile)
{
    struct aws_world w;
    aws_world_start(&w);
    aws_world_set("AWS_ENDPOINT_URL_STS", w.url);
    put_files(&w,
              "[default]\n" ROLE "source_profile = base\nregion = eu-central-1\n"
              "role_session_name = me\nexternal_id = a&b\nduration_seconds = 900\n",
              "[base]\n" KEYS("base"));
    struct aws_found found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_KEYS);
    assert_span(found.values.access_key, span_str(w.access_key));
    assert_string_equal(found.source, "profile");
    assert_true(found.lives_ms > 3500000 && found.lives_ms <= 3600000);
    assert_string_equal(w.form, "Action=AssumeRole&Version=2011-06-15&RoleArn="
                                "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fprism&"
                                "RoleSessionName=me&ExternalId=a%26b&DurationSeconds=900");
    assert_non_null(strstr(w.authorization, "Credential=base/"));
    assert_non_null(strstr(w.authorization, "/eu-central-1/sts/aws4_request"));

    /* Through a third one, and with its own keys. */
    put_files(&w,
              "[default]\n" ROLE "source_profile = mid\n[profile mid]\n" ROLE
              "source_profile = mid\n" KEYS("mid"),
              NULL);
    w.requests = 0;
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_KEYS);
    assert_int_equal(w.requests, 2);
    assert_non_null(strstr(w.authorization, "Credential=AKIDEXAMPLE/"));
    assert_non_null(strstr(w.authorization, "x-amz-security-token"));
    assert_non_null(strstr(w.authorization, "/us-east-1/sts/"));

    w.code = 403;
    w.error_code = "AccessDenied";
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_BROKEN);
    assert_non_null(strstr(found.why, "HTTP 403 AccessDenied: it <says> why"));
    w.error_code = NULL;
    w.code = 0;

    /* With the keys of another source, and with a web identity that the profile names. */
    aws_world_set("AWS_EC2_METADATA_SERVICE_ENDPOINT", w.url);
    put_files(&w, "[default]\n" ROLE "credential_source = Ec2InstanceMetadata\n", NULL);
    w.requests = 0;
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_KEYS);
    assert_int_equal(w.requests, 4);
    const char *token = aws_world_file(&w, "token", w.web_token);
    put_files(&w, arena_printf(w.arena, "[default]\n" ROLE "web_identity_token_file = %s\n", token),
              NULL);
    found = aws_world_look(&w, source_find);
    assert_int_equal(found.found, SOURCE_KEYS);
    assert_string_equal(w.authorization, "");
    aws_world_stop(&w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(files_as_people_leave_them),
    cmocka_unit_test(files_that_cannot_be_read),
    cmocka_unit_test(a_role_is_assumed_with_the_keys_of_another_profile),
};

HARNESS_MAIN(tests)
