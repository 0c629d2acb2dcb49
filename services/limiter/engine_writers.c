#include "limiter/engine_writers.h"

#define ACTIVE_MS 1000

static struct engine_writer *find(struct engine_resource *suite, uint32_t limiter)
{
    for (uint32_t i = 0; i < suite->n_writers; i++) {
        if (suite->writers[i].limiter == limiter) {
            return &suite->writers[i];
        }
    }
    return NULL;
}

static void drop_old(struct engine_resource *suite, uint64_t now_ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < suite->n_writers; i++) {
        if (suite->writers[i].seen_ms + ENGINE_WRITER_KEPT_MS > now_ms) {
            suite->writers[n++] = suite->writers[i];
        }
    }
    suite->n_writers = n;
}

bool engine_writers_sign(struct engine_resource *suite, uint64_t stamp, uint64_t now_ms,
                         bool request)
{
    uint32_t limiter = (uint32_t)(stamp >> 32);
    drop_old(suite, now_ms);
    struct engine_writer *row = find(suite, limiter);
    if (row == NULL) {
        if (suite->n_writers == ENGINE_WRITERS_MOST) {
            return false;
        }
        row = &suite->writers[suite->n_writers++];
        *row = (struct engine_writer){.limiter = limiter};
    }
    row->step = (uint32_t)stamp;
    row->seen_ms = now_ms;
    row->request_ms = request ? now_ms : row->request_ms;
    if (suite->header.stamp != stamp) {
        suite->header.stamp = stamp;
        suite->header.seq++;
        suite->last_now_ms = now_ms;
    }
    return true;
}

const struct engine_writer *engine_writers_find(const struct engine_resource *suite,
                                                uint32_t limiter)
{
    return find((struct engine_resource *)suite, limiter);
}

size_t engine_writers_active(const struct engine_resource *suite, uint64_t now_ms, uint32_t except)
{
    size_t n = 0;
    for (uint32_t i = 0; i < suite->n_writers; i++) {
        const struct engine_writer *row = &suite->writers[i];
        n += row->limiter != except && row->request_ms + ACTIVE_MS > now_ms;
    }
    return n;
}
