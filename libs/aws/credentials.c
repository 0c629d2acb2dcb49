#include "aws/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct credentials {
    char *access_key; /* NULL: not given */
    char *secret_key;
    char *session_token;
    char *bearer_token;
};

static char *copied(struct span value)
{
    return value.len > 0 ? alloc_string(value) : NULL;
}

struct credentials *credentials_fixed(const struct credentials_values *values)
{
    struct credentials *credentials = ALLOC(struct credentials);
    credentials->access_key = copied(values->access_key);
    credentials->secret_key = copied(values->secret_key);
    credentials->session_token = copied(values->session_token);
    credentials->bearer_token = copied(values->bearer_token);
    return credentials;
}

struct credentials *credentials_from_environment(void)
{
    const char *token = getenv("AWS_SESSION_TOKEN");
    struct credentials_values values = {
        .access_key = span_str(getenv("AWS_ACCESS_KEY_ID")),
        .secret_key = span_str(getenv("AWS_SECRET_ACCESS_KEY")),
        .session_token = span_str(token != NULL ? token : getenv("AWS_SECURITY_TOKEN")),
        .bearer_token = span_str(getenv("AWS_BEARER_TOKEN_BEDROCK")),
    };
    return credentials_fixed(&values);
}

static void wipe(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        free(secret);
    }
}

void credentials_free(struct credentials *credentials)
{
    if (credentials == NULL) {
        return;
    }
    wipe(credentials->access_key);
    wipe(credentials->secret_key);
    wipe(credentials->session_token);
    wipe(credentials->bearer_token);
    free(credentials);
}

struct status credentials_get(struct credentials *credentials, struct arena *arena,
                              struct credentials_values *out)
{
    bool pair = credentials->access_key != NULL && credentials->secret_key != NULL;
    if (!pair && credentials->bearer_token == NULL) {
        return status_of(
            REASON_CREDENTIALS_MISSING,
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK, "
            "are not set");
    }
    *out = (struct credentials_values){
        .access_key = arena_copy(arena, span_str(credentials->access_key)),
        .secret_key = arena_copy(arena, span_str(credentials->secret_key)),
        .session_token = arena_copy(arena, span_str(credentials->session_token)),
        .bearer_token = arena_copy(arena, span_str(credentials->bearer_token)),
    };
    return STATUS_SUCCESS;
}
