/*
 * document.h -- what is to be analysed, from a file, from stdin, or by its address in S3.
 *
 * Floor 6. Blocks while it reads.
 */
#ifndef PRISM_PRISMCTL_DOCUMENT_H
#define PRISM_PRISMCTL_DOCUMENT_H

#include <prism/analyzer/v1/analyzer.pb-c.h>

#include "prismctl/cli.h"

/* Into document, in the command's arena. "-": stdin; "s3://...": only named. Returns the exit code;
 * what is wrong has been said. */
int document_read(struct cli *cli, const char *path, Analyzer__Document *document);

#endif
