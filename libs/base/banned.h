/*
 * banned.h -- functions nobody calls here: unbounded, not reentrant, or with errors nobody sees.
 *
 * Floor 0. Forced into every file of the project (-include), behind the libc headers that declare
 * them. Use buf, span_parse_*, clock_* and hash_random instead. rand is not poisoned, for
 * OpenSSL's headers name parameters so: ci/banned finds its calls.
 */
#ifndef PRISM_BASE_BANNED_H
#define PRISM_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strncpy strcat strncat sprintf vsprintf gets strtok strtok_r
#pragma GCC poison gmtime localtime ctime asctime atoi atol atoll atof srand
#pragma GCC poison mktemp tmpnam

#endif
