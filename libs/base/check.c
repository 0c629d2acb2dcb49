#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "{\"level\":\"fatal\",\"msg\":\"check failed\",\"at\":\"%s:%d\",\"err\":\"",
            file, line);
    for (const char *c = condition; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            fputc('\\', stderr);
        }
        fputc(*c, stderr);
    }
    fputs("\"}\n", stderr);
    abort();
}
