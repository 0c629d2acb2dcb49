#include "aws/credentials.h"

#include <stdlib.h>

#include "aws/source.h"
#include "base/alloc.h"
#include "base/list.h"
#include "codec/hash.h"
#include "codec/retry.h"
#include "loop/task.h"

/* Before their end keys are looked for again, and later used no more; of a short life it is a part.
 */
#define AHEAD_MS   (15u * 60 * 1000)
#define AHEAD_PART 4
#define GUARD_MS   60000
#define GUARD_PART 20

#define LOOK_MS    60000 /* longest look */
#define LOOK_TRIES 3
#define TRY_MS     250
#define RETRY_MS   1000 /* after a failed look, doubling */
#define RETRY_MOST 60000
#define FUTILE_MS  5000 /* after a look for others that found the same */

#define NEVER UINT64_MAX

struct credentials {
    struct loop *loop; /* NULL: fixed */
    struct credentials_options options;
    enum source_found (*find)(struct source *source, struct key_set *out);

    struct key_set keys;
    uint64_t serial;    /* of keys; 0: there are none */
    uint64_t end_ms;    /* loop time: not used from then on */
    struct timer timer; /* for the next look, while there are keys that end */

    struct task *looking;
    struct list waiters;
    unsigned failures; /* in a row */
    uint64_t retry_ms; /* loop time: not looked for before */
    uint64_t futile_ms;
    enum reason reason; /* of the last failure */
    struct buf why;
};

static bool usable(const struct credentials *c)
{
    return c->serial != 0 && (c->loop == NULL || loop_now_ms(c->loop) < c->end_ms);
}

/* --- waiting for who looks ---------------------------------------------------------------------
 */

struct waiter {
    struct op op;
    struct list link;
};

static void waiter_asked(struct op *op)
{
    list_remove(&CONTAINER_OF(op, struct waiter, op)->link);
    op_done(op, status_of(REASON_CALL_CANCELLED, NULL));
}

static struct status wait_for_look(struct credentials *c, struct status (*wait)(struct op *)) PARKS
{
    struct waiter waiter;
    op_init(&waiter.op, c->loop, waiter_asked, NULL);
    list_init(&waiter.link);
    list_push_back(&c->waiters, &waiter.link);
    return wait(&waiter.op);
}

static void wake_all(struct credentials *c)
{
    struct list *link;
    while ((link = list_pop_front(&c->waiters)) != NULL) {
        op_done(&CONTAINER_OF(link, struct waiter, link)->op, STATUS_SUCCESS);
    }
}

/* --- looking -----------------------------------------------------------------------------------
 */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Not all routers at the same moment. */
static uint64_t chance(uint64_t below)
{
    uint64_t random;
    hash_random(&random, sizeof(random));
    return below > 0 ? random % below : 0;
}

static void plan_next_look(struct credentials *c)
{
    uint64_t now = loop_now_ms(c->loop), lives = c->keys.lives_ms;
    timer_stop(&c->timer);
    if (lives == KEYS_FOR_EVER) {
        c->end_ms = NEVER;
        return;
    }
    uint64_t ahead = least(AHEAD_MS, lives / AHEAD_PART);
    c->end_ms = now + lives - least(GUARD_MS, lives / GUARD_PART);
    timer_start(&c->timer, now + lives - ahead - chance(ahead / 4));
}

static void take_keys(struct credentials *c, struct key_set *found, struct credentials_news *news)
{
    news->fresh = c->serial == 0 || !key_set_same(&c->keys, found);
    c->serial += news->fresh;
    key_set_clear(&c->keys);
    c->keys = *found;
    c->failures = 0;
    c->retry_ms = loop_now_ms(c->loop) + TRY_MS; /* should they be old at once */
    c->reason = REASON_CREDENTIALS_EXPIRED;
    buf_reset(&c->why);
    plan_next_look(c);
    news->source = found->source;
    news->lives_ms = found->lives_ms;
}

static void take_failure(struct credentials *c, enum source_found found, const struct buf *why,
                         struct credentials_news *news)
{
    uint64_t now = loop_now_ms(c->loop);
    uint32_t random = (uint32_t)chance(UINT32_MAX);
    c->retry_ms = now + TRY_MS + retry_backoff_ms(c->failures++, RETRY_MS, RETRY_MOST, random);
    c->reason = found == SOURCE_LATER ? REASON_CREDENTIALS_UNAVAILABLE : REASON_CREDENTIALS_MISSING;
    buf_reset(&c->why);
    buf_add_span(&c->why, buf_span(why));
    if (usable(c) && c->end_ms != NEVER) {
        timer_start(&c->timer, c->retry_ms);
    }
    news->status = status_of(c->reason, buf_cstr(&c->why));
    news->left_ms = !usable(c) ? 0 : c->end_ms == NEVER ? NEVER : c->end_ms - now;
}

static void look(void *arg) PARKS
{
    struct credentials *c = arg;
    struct source source;
    struct key_set keys = {0};
    struct credentials_news news = {.status = STATUS_SUCCESS};
    source_init(&source, c->options.http);
    enum source_found found = SOURCE_LATER;
    for (unsigned n = 0; found == SOURCE_LATER && n < LOOK_TRIES; n++) {
        if (n > 0 && !status_ok(task_sleep_ms(TRY_MS << n))) {
            break;
        }
        found = c->find(&source, &keys);
    }
    if (found == SOURCE_KEYS) {
        take_keys(c, &keys, &news);
    } else {
        take_failure(c, found, &source.why, &news);
    }
    source_clear(&source);
    c->looking = NULL;
    if (c->options.told != NULL && status_ok(task_status())) {
        c->options.told(c->options.arg, &news);
    }
    wake_all(c);
}

static void begin_look(struct credentials *c)
{
    static const struct task_context nobody; /* it is for all */
    if (c->looking == NULL) {
        c->looking =
            task_spawn(c->loop,
                       &(struct task_options){.name = "credentials",
                                              .deadline_ms = loop_now_ms(c->loop) + LOOK_MS,
                                              .context = &nobody},
                       look, c);
    }
}

static void timer_fired(struct timer *timer)
{
    begin_look(CONTAINER_OF(timer, struct credentials, timer));
}

/* --- the rest ----------------------------------------------------------------------------------
 */

struct credentials *credentials_new(struct loop *loop, const struct credentials_options *options)
{
    return credentials_found_by(loop, options, source_find);
}

struct credentials *
credentials_found_by(struct loop *loop, const struct credentials_options *options,
                     enum source_found (*find)(struct source *source, struct key_set *out))
{
    struct credentials *c = ALLOC(struct credentials);
    c->loop = loop;
    c->options = *options;
    c->find = find;
    list_init(&c->waiters);
    timer_init(&c->timer, loop, timer_fired);
    buf_init(&c->why, 4096);
    begin_look(c);
    return c;
}

struct credentials *credentials_fixed(const struct credentials_values *values)
{
    struct credentials *c = ALLOC(struct credentials);
    bool some =
        values->bearer_token.len > 0 || (values->access_key.len > 0 && values->secret_key.len > 0);
    key_set_fill(&c->keys, values, KEYS_FOR_EVER, "fixed");
    c->serial = some ? 1 : 0;
    c->reason = REASON_CREDENTIALS_MISSING;
    buf_init(&c->why, 4096);
    return c;
}

void credentials_free(struct credentials *c)
{
    if (c == NULL) {
        return;
    }
    if (c->loop != NULL) {
        timer_stop(&c->timer);
        if (c->looking != NULL) {
            task_cancel(c->looking, status_of(REASON_SHUTTING_DOWN, NULL));
            check(status_ok(wait_for_look(c, op_wait_firmly)));
        }
        check(list_empty(&c->waiters));
        timer_stop(&c->timer);
    }
    key_set_clear(&c->keys);
    buf_clear(&c->why);
    free(c);
}

static struct status why_none(const struct credentials *c, struct arena *arena)
{
    bool later = c->reason == REASON_CREDENTIALS_UNAVAILABLE;
    uint64_t wait_ms = later ? c->retry_ms - loop_now_ms(c->loop) : 0;
    return status_retry(c->reason, (uint32_t)wait_ms,
                        c->why.len > 0 ? arena_string(arena, buf_span(&c->why)) : NULL);
}

struct status credentials_get(struct credentials *c, struct arena *arena,
                              struct credentials_values *out)
{
    while (!usable(c)) {
        if (c->loop == NULL || (c->looking == NULL && loop_now_ms(c->loop) < c->retry_ms)) {
            return why_none(c, arena);
        }
        begin_look(c);
        TRY(wait_for_look(c, op_wait));
    }
    *out = (struct credentials_values){
        .access_key = arena_copy(arena, span_str(c->keys.access_key)),
        .secret_key = arena_copy(arena, span_str(c->keys.secret_key)),
        .session_token = arena_copy(arena, span_str(c->keys.session_token)),
        .bearer_token = arena_copy(arena, span_str(c->keys.bearer_token)),
        .serial = c->serial,
    };
    return STATUS_SUCCESS;
}

bool credentials_renew(struct credentials *c, uint64_t serial)
{
    if (c->loop == NULL) {
        return false;
    }
    if (c->serial == serial && (c->looking != NULL || loop_now_ms(c->loop) >= c->futile_ms)) {
        begin_look(c);
        if (!status_ok(wait_for_look(c, op_wait))) {
            return false;
        }
        if (c->serial == serial) {
            c->futile_ms = loop_now_ms(c->loop) + FUTILE_MS;
        }
    }
    return c->serial != serial && usable(c);
}
