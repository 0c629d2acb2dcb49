#include "prismctl/document.h"

#include "base/file.h"
#include "base/utf8.h"
#include "net/rpc.h"

#define DOCUMENT_MOST (RPC_MESSAGE_MOST - (64u << 10)) /* room for the rest of the request */
#define NAME_MOST     256

#define TYPE_MARKDOWN "text/markdown"
#define TYPE_DOCX     "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

static char *name_of(struct cli *cli, const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(buf_clear) struct buf name;
    buf_init(&name, RENDER_TEXT_MOST);
    render_add_line(&name, span_str(slash != NULL && slash[1] != '\0' ? slash + 1 : path),
                    NAME_MOST);
    return arena_string(cli->arena, utf8_first(buf_span(&name), NAME_MOST));
}

/* A stream has no name to tell its type by: the two there are look different enough. */
static const char *type_of_stdin(struct span content)
{
    return span_starts(content, SPAN("PK\003\004")) ? TYPE_DOCX : TYPE_MARKDOWN;
}

int document_read(struct cli *cli, const char *path, Analyzer__Document *document)
{
    analyzer__document__init(document);
    document->display_name = name_of(cli, path);
    if (span_starts(span_str(path), SPAN("s3://"))) {
        document->source_case = ANALYZER__DOCUMENT__SOURCE_URI;
        document->uri = arena_string(cli->arena, span_str(path));
        return CLI_OK;
    }
    bool from_stdin = strcmp(path, "-") == 0;
    CLEANUP(buf_clear) struct buf content;
    buf_init(&content, DOCUMENT_MOST);
    const char *why = file_read(from_stdin ? "/dev/stdin" : path, &content);
    if (!buf_ok(&content)) {
        why = arena_printf(cli->arena,
                           "it is larger than %u bytes; put it into S3 and give its "
                           "s3:// address",
                           DOCUMENT_MOST);
    } else if (why == NULL && content.len == 0) {
        why = "it is empty";
    }
    if (why != NULL) {
        return cli_complain(cli, arena_printf(cli->arena, "cannot read %s", path), why);
    }
    struct span kept = arena_copy(cli->arena, buf_span(&content));
    document->source_case = ANALYZER__DOCUMENT__SOURCE_CONTENT;
    document->content = (ProtobufCBinaryData){.len = kept.len, .data = (uint8_t *)kept.at};
    if (from_stdin) {
        document->display_name = "stdin";
        document->media_type = (char *)type_of_stdin(kept);
    }
    return CLI_OK;
}
