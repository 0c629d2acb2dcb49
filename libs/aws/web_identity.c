/* A token of a cluster (IRSA) or of another identity provider, exchanged for a role's keys. */
#include "aws/source.h"

#define NAME "web identity"

enum source_found web_identity_assume(struct source *source, const char *token_path,
                                      struct sts_request *request, struct key_set *out)
{
    const char *why = source_read_token(source, token_path, &request->token);
    if (why != NULL) {
        /* It may be being replaced. */
        return source_later(source, request->name, "the token file %s cannot be used: %s",
                            token_path, why);
    }
    return sts_assume(source, request, out);
}

enum source_found web_identity_find(struct source *source, struct key_set *out)
{
    struct span path = source_variable("AWS_WEB_IDENTITY_TOKEN_FILE");
    struct sts_request request = {
        .name = NAME,
        .role_arn = source_variable("AWS_ROLE_ARN"),
        .session_name = source_variable("AWS_ROLE_SESSION_NAME"),
        .region = source_region(),
    };
    if (path.len == 0) {
        return source_nothing(source, NAME, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    }
    if (request.role_arn.len == 0) {
        return source_broken(source, NAME, "AWS_ROLE_ARN is not set");
    }
    return web_identity_assume(source, path.at, &request, out);
}
