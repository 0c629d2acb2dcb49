/*
 * engine_writers.h -- who writes a suite that several limiters share.
 *
 * Floor 6, pure. A limiter is the upper half of its stamps; each step it keeps is in its row, so
 * that it notices when what it wrote is gone.
 */
#ifndef PRISM_LIMITER_ENGINE_WRITERS_H
#define PRISM_LIMITER_ENGINE_WRITERS_H

#include "limiter/engine.h"

#define ENGINE_WRITER_KEPT_MS 120000 /* after it was last seen */

/* Writes a step into its writer's row; request: it was for one. False when there is no room. */
bool engine_writers_sign(struct engine_resource *suite, uint64_t stamp, uint64_t now_ms,
                         bool request) NODISCARD;

/* NULL: there is no row of it. */
const struct engine_writer *engine_writers_find(const struct engine_resource *suite,
                                                uint32_t limiter);

/* Those that did something for a request in the last second. */
size_t engine_writers_active(const struct engine_resource *suite, uint64_t now_ms, uint32_t except);

#endif
