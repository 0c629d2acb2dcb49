/*
 * readiness.h -- may callers send work here? Named conditions, all of which must hold.
 *
 * Floor 5, loop thread. Owned by the app; names and reasons are static.
 */
#ifndef PRISM_APP_READINESS_H
#define PRISM_APP_READINESS_H

#include <stdbool.h>

#include "base/buf.h"

struct readiness;

/* changed runs whenever the verdict has changed. */
struct readiness *readiness_new(void (*changed)(void *arg, bool ready), void *arg);
void readiness_free(struct readiness *readiness); /* takes NULL */

/* A condition appears with its first call. why is shown while it does not hold. */
void readiness_set(struct readiness *readiness, const char *condition, bool holds, const char *why);
bool readiness_verdict(const struct readiness *readiness);

/* One line a condition: "[+] store", "[-] limiter: no answer since the start". */
void readiness_add_report(struct buf *out, const struct readiness *readiness);

#endif
