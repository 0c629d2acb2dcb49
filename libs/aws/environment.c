/* Credentials in the environment: a Bedrock API key, or keys. */
#include "aws/source.h"

#define NAME "environment"

enum source_found environment_find(struct source *source, struct key_set *out)
{
    struct credentials_values values = {
        .access_key = source_variable("AWS_ACCESS_KEY_ID"),
        .secret_key = source_variable("AWS_SECRET_ACCESS_KEY"),
        .session_token = source_variable("AWS_SESSION_TOKEN"),
        .bearer_token = source_variable("AWS_BEARER_TOKEN_BEDROCK"),
    };
    if (values.session_token.len == 0) {
        values.session_token = source_variable("AWS_SECURITY_TOKEN"); /* its name in former times */
    }
    bool has_key = values.access_key.len > 0, has_secret = values.secret_key.len > 0;
    if (values.bearer_token.len == 0 && !has_key && !has_secret) {
        return source_nothing(source, NAME,
                              "neither AWS_ACCESS_KEY_ID nor AWS_BEARER_TOKEN_BEDROCK is set");
    }
    if (values.bearer_token.len == 0 && has_key != has_secret) {
        return source_broken(source, NAME, "%s is not set",
                             has_key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    }
    key_set_fill(out, &values, KEYS_FOR_EVER, NAME);
    return SOURCE_KEYS;
}
