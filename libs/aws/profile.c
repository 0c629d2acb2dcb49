/* Profiles in the shared config and credentials files: keys, and roles to be assumed with them. */
#include "aws/source.h"
#include "codec/ini.h"

#define NAME       "profile"
#define FILE_MOST  (1u << 20)
#define CHAIN_MOST 5 /* profiles that name each other */

struct file {
    const char *path;
    struct buf text;
    bool missing;
};

struct files {
    struct file config;
    struct file credentials;
};

struct profile {
    bool found;
    struct span access_key;
    struct span secret_key;
    struct span session_token;
    struct span role_arn;
    struct span source_profile;
    struct span credential_source;
    struct span web_identity_token_file;
    struct span role_session_name;
    struct span external_id;
    struct span duration_seconds;
    struct span region;
    struct span mfa_serial;
    struct span credential_process;
    struct span sso; /* any of its settings */
};

/* Spans of profiles point into the files; what they held is wiped. */
static void files_clear(struct files *files)
{
    source_wipe(&files->config.text);
    source_wipe(&files->credentials.text);
}

static const char *path_of(struct source *source, const char *variable, const char *otherwise)
{
    struct span given = source_variable(variable), home = source_variable("HOME");
    struct span path = given.len > 0 ? given : span_str(otherwise);
    if (span_starts(path, SPAN("~/"))) {
        path = span_from(path, 1);
        return arena_printf(source->arena, "%.*s%.*s", (int)home.len, home.len > 0 ? home.at : "",
                            (int)path.len, path.at);
    }
    return arena_string(source->arena, path);
}

static enum source_found file_load(struct source *source, struct file *file, const char *variable,
                                   const char *otherwise) PARKS
{
    file->path = path_of(source, variable, otherwise);
    buf_init(&file->text, FILE_MOST);
    const char *why = source_read_file(file->path, &file->text, &file->missing);
    return why == NULL || file->missing
               ? SOURCE_KEYS
               : source_broken(source, NAME, "%s cannot be read: %s", file->path, why);
}

static enum source_found files_load(struct source *source, struct files *files) PARKS
{
    enum source_found found = file_load(source, &files->config, "AWS_CONFIG_FILE", "~/.aws/config");
    return found != SOURCE_KEYS ? found
                                : file_load(source, &files->credentials,
                                            "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
}

static void take_entry(struct profile *profile, const struct ini_entry *entry)
{
    static const struct {
        struct span key;
        size_t offset;
    } rows[] = {
#define ROW(key, member) {SPAN(key), offsetof(struct profile, member)}
        ROW("aws_access_key_id", access_key),
        ROW("aws_secret_access_key", secret_key),
        ROW("aws_session_token", session_token),
        ROW("role_arn", role_arn),
        ROW("source_profile", source_profile),
        ROW("credential_source", credential_source),
        ROW("web_identity_token_file", web_identity_token_file),
        ROW("role_session_name", role_session_name),
        ROW("external_id", external_id),
        ROW("duration_seconds", duration_seconds),
        ROW("region", region),
        ROW("mfa_serial", mfa_serial),
        ROW("credential_process", credential_process),
        ROW("sso_session", sso),
        ROW("sso_start_url", sso),
        ROW("login_session", sso),
#undef ROW
    };
    profile->found = true;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (span_eq_nocase(entry->key, rows[i].key)) {
            *(struct span *)((char *)profile + rows[i].offset) = entry->value;
        }
    }
}

static struct span unquoted(struct span name)
{
    bool quoted = name.len >= 2 && (name.at[0] == '"' || name.at[0] == '\'') &&
                  name.at[name.len - 1] == name.at[0];
    return quoted ? span_of(name.at + 1, name.len - 2) : name;
}

/* In the config file "[profile x]", for the default also without the word. */
static bool section_is(struct span section, struct span name, bool config)
{
    const struct span word = SPAN("profile");
    bool is_default = span_eq(name, SPAN("default"));
    if (config && span_starts(section, word) && section.len > word.len &&
        (section.at[word.len] == ' ' || section.at[word.len] == '\t')) {
        return span_eq(unquoted(span_trim(span_from(section, word.len))), name);
    }
    return (!config || is_default) && span_eq(section, name);
}

static enum source_found file_search(struct source *source, const struct file *file, bool config,
                                     struct span name, struct profile *profile)
{
    struct ini ini;
    struct ini_entry entry;
    ini_init(&ini, buf_span(&file->text));
    while (ini_next(&ini, &entry)) {
        if (section_is(entry.section, name, config)) {
            take_entry(profile, &entry);
        }
    }
    return ini.error == NULL
               ? SOURCE_KEYS
               : source_broken(source, NAME, "%s:%zu: %s", file->path, ini.line, ini.error);
}

/* What stands in the credentials file counts before what stands in the config file. */
static enum source_found profile_load(struct source *source, const struct files *files,
                                      struct span name, struct profile *profile)
{
    *profile = (struct profile){0};
    enum source_found found = file_search(source, &files->config, true, name, profile);
    return found != SOURCE_KEYS ? found
                                : file_search(source, &files->credentials, false, name, profile);
}

static enum source_found take_static(struct source *source, struct span name,
                                     const struct profile *profile, struct key_set *out)
{
    if (profile->access_key.len == 0 || profile->secret_key.len == 0) {
        return source_broken(source, NAME, "\"%.*s\" has no %s", (int)name.len, name.at,
                             profile->access_key.len == 0 ? "aws_access_key_id"
                                                          : "aws_secret_access_key");
    }
    const struct credentials_values values = {.access_key = profile->access_key,
                                              .secret_key = profile->secret_key,
                                              .session_token = profile->session_token};
    key_set_fill(out, &values, KEYS_FOR_EVER, NAME);
    return SOURCE_KEYS;
}

static bool has_static(const struct profile *profile)
{
    return profile->access_key.len > 0 || profile->secret_key.len > 0;
}

static enum source_found find_in(struct source *source, const struct files *files, struct span name,
                                 unsigned depth, struct key_set *out) PARKS;

/* The keys that a role is assumed with. */
static enum source_found find_base(struct source *source, const struct files *files,
                                   struct span name, const struct profile *profile, unsigned depth,
                                   struct key_set *out) PARKS
{
    static const struct {
        struct span name;
        enum source_found (*find)(struct source *, struct key_set *);
    } others[] = {
        {SPAN("Environment"), environment_find},
        {SPAN("Ec2InstanceMetadata"), imds_find},
        {SPAN("EcsContainer"), container_find},
    };
    if (profile->source_profile.len > 0) {
        bool itself = span_eq(profile->source_profile, name) && has_static(profile);
        return itself ? take_static(source, name, profile, out)
                      : find_in(source, files, profile->source_profile, depth + 1, out);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (span_eq(profile->credential_source, others[i].name)) {
            return others[i].find(source, out);
        }
    }
    return source_broken(source, NAME,
                         "\"%.*s\" has a role_arn, but neither source_profile nor "
                         "web_identity_token_file nor a known credential_source",
                         (int)name.len, name.at);
}

static enum source_found assume(struct source *source, const struct files *files, struct span name,
                                const struct profile *profile, unsigned depth,
                                struct key_set *out) PARKS
{
    struct sts_request request = {
        .name = NAME,
        .role_arn = profile->role_arn,
        .session_name = profile->role_session_name,
        .external_id = profile->external_id,
        .duration_s = profile->duration_seconds,
        .region = source_region(),
    };
    if (request.region.len == 0) {
        request.region = profile->region;
    }
    if (profile->mfa_serial.len > 0) {
        return source_broken(source, NAME,
                             "\"%.*s\" wants an MFA code, which nobody is here to type",
                             (int)name.len, name.at);
    }
    if (profile->web_identity_token_file.len > 0) {
        return web_identity_assume(
            source, arena_string(source->arena, profile->web_identity_token_file), &request, out);
    }
    CLEANUP(key_set_clear) struct key_set base = {0};
    enum source_found found = find_base(source, files, name, profile, depth, &base);
    if (found == SOURCE_NOTHING) {
        return source_broken(source, NAME, "\"%.*s\": its credential_source has no credentials",
                             (int)name.len, name.at);
    }
    if (found == SOURCE_KEYS && base.access_key == NULL) {
        return source_broken(source, NAME, "\"%.*s\": a role cannot be assumed with an API key",
                             (int)name.len, name.at);
    }
    request.signer = &base;
    return found == SOURCE_KEYS ? sts_assume(source, &request, out) : found;
}

static enum source_found find_in(struct source *source, const struct files *files, struct span name,
                                 unsigned depth, struct key_set *out)
{
    struct profile profile;
    enum source_found found = profile_load(source, files, name, &profile);
    if (found != SOURCE_KEYS) {
        return found;
    }
    if (!profile.found || depth >= CHAIN_MOST) {
        return source_broken(source, NAME, "\"%.*s\" %s", (int)name.len, name.at,
                             profile.found ? "is named by profiles that name each other"
                                           : "is in neither file, but is named by another profile");
    }
    if (profile.role_arn.len > 0) {
        return assume(source, files, name, &profile, depth, out);
    }
    return take_static(source, name, &profile, out);
}

static struct span chosen_name(void)
{
    struct span name = source_variable("AWS_PROFILE");
    if (name.len == 0) {
        name = source_variable("AWS_DEFAULT_PROFILE");
    }
    return name.len > 0 ? name : SPAN("default");
}

enum source_found profile_role_find(struct source *source, struct key_set *out)
{
    CLEANUP(files_clear) struct files files = {0};
    struct span name = chosen_name();
    struct profile profile;
    enum source_found found = files_load(source, &files);
    if (found == SOURCE_KEYS) {
        found = profile_load(source, &files, name, &profile);
    }
    if (found == SOURCE_KEYS) {
        found = profile.role_arn.len > 0 ? assume(source, &files, name, &profile, 0, out)
                                         : SOURCE_NOTHING; /* profile_find says what there is */
    }
    return found;
}

static enum source_found no_keys(struct source *source, const struct files *files, struct span name,
                                 const struct profile *profile)
{
    if (profile->credential_process.len > 0) {
        return source_broken(source, NAME, "\"%.*s\": credential_process is not supported",
                             (int)name.len, name.at);
    }
    if (profile->sso.len > 0) {
        return source_broken(source, NAME,
                             "\"%.*s\": sign-in with SSO or a browser is not supported",
                             (int)name.len, name.at);
    }
    if (!profile->found && !span_eq(name, SPAN("default"))) {
        return source_broken(source, NAME, "\"%.*s\" is neither in %s nor in %s", (int)name.len,
                             name.at, files->config.path, files->credentials.path);
    }
    return files->config.missing && files->credentials.missing
               ? source_nothing(source, NAME, "there is neither %s nor %s", files->config.path,
                                files->credentials.path)
               : source_nothing(source, NAME, "\"%.*s\" has no keys in %s and %s", (int)name.len,
                                name.at, files->config.path, files->credentials.path);
}

enum source_found profile_find(struct source *source, struct key_set *out)
{
    CLEANUP(files_clear) struct files files = {0};
    struct span name = chosen_name();
    struct profile profile;
    enum source_found found = files_load(source, &files);
    if (found == SOURCE_KEYS) {
        found = profile_load(source, &files, name, &profile);
    }
    if (found != SOURCE_KEYS) {
        return found;
    }
    return has_static(&profile) ? take_static(source, name, &profile, out)
                                : no_keys(source, &files, name, &profile);
}
