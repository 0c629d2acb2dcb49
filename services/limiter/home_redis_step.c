/* A step, from the asks that wait to the answers they get. */
#include <stdio.h>
#include <stdlib.h>

#include "limiter/home_redis.h"
#include "limiter/stream.h"
#include "limiter/wait.h"

#define FRESH_MS    1000  /* of a copy that may refuse by itself */
#define COMPARE_MS  1000  /* the suite, when nobody asks */
#define SIGN_MS     20000 /* our row of it, then too */
#define MISSES_MOST 3     /* before it is one try a second */
#define REST_MS     1000
#define TRIES_HASTY 8  /* before there is time between them */
#define UNTAKEN_MS  10 /* between tries that the server does not take */

/* Reasons that hold until the time they tell, whatever others do. */
#define LASTING                                                                                    \
    (1u << ENGINE_REASON_COOLDOWN | 1u << ENGINE_REASON_BREAKER_OPEN |                             \
     1u << ENGINE_REASON_REQUESTS | 1u << ENGINE_REASON_PACED)

/* --- deciding ----------------------------------------------------------------------------------
 */

static bool wrote(const struct step *step)
{
    for (size_t i = 0; i < step->n_keys; i++) {
        const struct step_key *key = &step->keys[i];
        const struct engine_header *header =
            key->record != NULL ? &key->record->record.header : &key->resource->header;
        if (header->stamp == step->stamp) {
            return true;
        }
    }
    return false;
}

static bool sign_due(const struct home_redis *home)
{
    return home->own_step != 0 && home_redis_now_ms(home) >= home->own_ms + SIGN_MS;
}

/* On the copy. False: there are too many limiters for another one to write. */
static bool decide(struct home_redis *home)
{
    struct limiter *limiter = home->limiter;
    struct step *step = &home->step;
    size_t n = 0;
    step->stamp = ++limiter->stamp;
    step->losing = home->loss != ENGINE_LOSS_NONE;
    if (step->losing) {
        limiter_losing(limiter, home->loss, home->lose);
        step->events[n++] = (struct engine_event){.order = home->lose};
    }
    LIST_EACH (it, &step->asks) {
        if (!step->losing && !wait_tries(CONTAINER_OF(it, struct ask, link))) {
            step->events[n++] = CONTAINER_OF(it, struct ask, link)->event;
        }
    }
    uint64_t now_ms = home_redis_now_ms(home);
    limiter->queue.suite = limiter->suite;
    limiter->queue.goes_on = step->goes_on;
    step->now_ms = engine_step(&limiter->policy->rules, now_ms, step->stamp, step->events, n,
                               step->losing ? NULL : &limiter->queue);
    home_redis_name_none(home);
    LIST_EACH (it, &step->asks) {
        bool named =
            step->losing || home_redis_name(home, CONTAINER_OF(it, struct ask, link), false);
        check(named); /* no more than before */
    }
    step->writes = wrote(step) || (n == 0 && sign_due(home));
    return !step->writes ||
           engine_writers_sign(limiter->suite, step->stamp, step->now_ms, step->n_asks > 0);
}

static bool is_fresh(const struct home_redis *home, const struct engine_resource *resource)
{
    const struct known *known =
        &home->resources[store_resource_slot(home->limiter->store, resource)];
    return known->read && home->limiter->clock_ms() - known->read_ms <= FRESH_MS;
}

/* A refusal that only time ends needs nobody's word. The time it tells is the pools' too. */
static bool may_refuse(const struct home_redis *home, const struct engine_acquire *acquire)
{
    const struct engine_verdict *verdict = acquire->verdict;
    bool may =
        !verdict->queued && !verdict->granted && !verdict->cancelled && verdict->n_judged > 0;
    for (size_t i = 0; may && i < verdict->n_judged; i++) {
        const struct engine_judgement *j = &verdict->judged[i];
        may = (j->reasons & ~LASTING) == 0 && is_fresh(home, j->resource);
    }
    for (size_t i = 0; may && i < acquire->n_pools; i++) {
        may = is_fresh(home, acquire->pools[i]);
    }
    return may;
}

/* Not beside something that is to be written: what was decided on it may not come to be. */
static void answer_fresh(struct home_redis *home)
{
    LIST_EACH (it, &home->step.asks) {
        struct ask *ask = CONTAINER_OF(it, struct ask, link);
        if (!home->step.writes && ask->event.acquire != NULL &&
            may_refuse(home, ask->event.acquire)) {
            METRIC_ADD(home->limiter->metrics.store_fresh_total, 1);
            home_redis_answer(home, ask);
        }
    }
}

static bool contradicted(const struct home_redis *home)
{
    bool found = false;
    LIST_EACH (it, &home->step.asks) {
        const struct engine_renew *renew = CONTAINER_OF(it, struct ask, link)->event.renew;
        found = found || (renew != NULL && renew->amnesia);
    }
    return found && !home->step.losing;
}

/* --- trying ------------------------------------------------------------------------------------
 */

static void missed(struct home_redis *home)
{
    home->misses++;
    home->miss_ms = loop_now_ms(home->loop);
    if (home->misses >= MISSES_MOST && home->alone == NULL) {
        limiter_set_ready(home->limiter, false, "Redis does not answer");
    }
}

/* It did not answer, or took nothing. Who answers nonsense is not away: nobody decides without it.
 */
static bool is_outage(struct status why)
{
    return why.reason == REASON_CONNECT_FAILED || why.reason == REASON_CONNECTION_LOST ||
           why.reason == REASON_TIMED_OUT || why.reason == REASON_STORE_FAILED;
}

/* Another try may be worth it. False: nobody is left who would wait for it. */
static bool go_on(struct home_redis *home, struct status why)
{
    home->away = is_outage(why);
    bool late = home_redis_fail_late(home, why);
    if (late || home->step.n_asks == 0) {
        missed(home);
    }
    if (home->step.n_asks == 0 || home->misses >= MISSES_MOST ||
        why.reason == REASON_STORE_CORRUPT) {
        home_redis_fail_step(home, why);
        return false;
    }
    const struct ask *oldest = CONTAINER_OF(home->step.asks.next, struct ask, link);
    uint64_t until_ms = oldest->taken_ms + BUDGET_MS, now_ms = home->limiter->clock_ms();
    uint64_t left_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    struct status s = redis_wait_ready(home->redis, loop_now_ms(home->loop) + left_ms);
    if (status_ok(s)) {
        s = task_sleep_ms(UNTAKEN_MS);
    }
    return true;
}

/* A reply was lost: what became of the step is written in our row of the suite. */
static bool was_kept(struct home_redis *home, bool *known)
{
    uint64_t until_ms = loop_now_ms(home->loop) + BUDGET_MS;
    const struct step *step = &home->step;
    struct status why;
    *known = false;
    while (!*known && loop_now_ms(home->loop) < until_ms) {
        struct status s = redis_wait_ready(home->redis, until_ms);
        *known = status_ok(s) && home_redis_send(home, true, &why) == TRIP_AGED;
        if (!*known) {
            s = task_sleep_ms(UNTAKEN_MS);
        }
    }
    const struct engine_writer *row =
        engine_writers_find(home->limiter->suite, (uint32_t)(step->stamp >> 32));
    return *known && row != NULL && row->step >= (uint32_t)step->stamp;
}

/* Those who wait are where they were before the step. */
static void undo(struct home_redis *home)
{
    if (!home->step.losing) {
        engine_queue_undo(&home->limiter->queue, home->step.stamp);
    }
}

/* True: try again. */
static bool resolve(struct home_redis *home, struct status why)
{
    bool known, losing = home->step.losing;
    bool kept = was_kept(home, &known);
    METRIC_ADD(home->limiter->metrics.store_lost_replies_total, 1,
               kept    ? "kept"
               : known ? "not_kept"
                       : "unknown");
    if (kept && !losing) {
        METRIC_ADD(home->limiter->metrics.store_steps_total, 1);
        home_redis_answer_all(home);
        return false;
    }
    undo(home);
    if (!known) {
        home_redis_forget_step(home);
        missed(home);
        home->away = true;
        home_redis_fail_step(home, why);
        return false;
    }
    return true;
}

static void say_busy(struct home_redis *home)
{
    uint64_t now_ms = loop_now_ms(home->loop);
    if (home->step.tries < 2 || now_ms < home->busy_said_ms + FRESH_MS / 2) {
        return;
    }
    home->busy_said_ms = now_ms;
    char id[16];
    snprintf(id, sizeof(id), "%u", (unsigned)(home->limiter->stamp >> 32));
    redis_tell(home->redis, REDIS_ARGS(SPAN("PUBLISH"), span_str(home->busy), span_str(id)));
}

/* True: it is to be tried again. */
static bool try_once(struct home_redis *home)
{
    struct step *step = &home->step;
    struct status why = STATUS_SUCCESS;
    bool signed_in = decide(home);
    answer_fresh(home);
    if (!signed_in) {
        undo(home);
        home_redis_forget_step(home);
        home_redis_fail_step(home, status_of(REASON_STORE_FAILED, "16 limiters share this state"));
        return false;
    }
    bool reading = contradicted(home);
    if (reading && step->checked) {
        /* A grant that is younger than all that the store has. */
        home->loss = ENGINE_LOSS_AMNESIA;
    }
    if (step->n_asks == 0 && !step->writes &&
        loop_now_ms(home->loop) < home->trip_ms + COMPARE_MS) {
        step->served = true;
        return false;
    }
    step->tries++;
    switch (home_redis_send(home, reading, &why)) {
    case TRIP_KEPT:
        METRIC_ADD(home->limiter->metrics.store_steps_total, 1);
        if (step->losing) {
            return step->n_asks > 0;
        }
        home_redis_answer_all(home);
        return false;
    case TRIP_AGED:
        undo(home);
        step->checked = reading;
        if (step->n_asks > 0) {
            home_redis_fail_late(home,
                                 status_of(REASON_STORE_FAILED, home->why_text[0] != '\0'
                                                                    ? home->why_text
                                                                    : "others were always faster"));
        }
        say_busy(home);
        if (step->tries > TRIES_HASTY && step->tries % 2 == 0) {
            why = task_sleep_ms(1); /* the copy ages meanwhile: the next try is at once again */
        }
        return step->n_asks > 0 || home->loss != ENGINE_LOSS_NONE || home->limiter->queue.n > 0;
    case TRIP_UNSENT:
        undo(home);
        home_redis_forget_step(home);
        return go_on(home, why);
    case TRIP_LOST:
        return resolve(home, why);
    }
    return false;
}

/* Only records of leases that live are kept in mind, and not too many of them: whoever asks for
 * another one again is answered by the store. */
static void drop_records(struct home_redis *home)
{
    for (size_t i = 0; i < home->step.n_keys; i++) {
        struct known_record *known = home->step.keys[i].record;
        if (known != NULL && (!known->known.read || known->record.state != ENGINE_GRANTED)) {
            map_remove(home->records, span_of(known->record.id.bytes, sizeof(struct engine_id)));
            free(known);
        }
    }
    home->step.n_keys = 0;
    while (map_count(home->records) > home->config->records) {
        free(map_remove(home->records, map_key(map_first(home->records))));
    }
}

/* Whose turn may have come joins the next step. */
static void serve(struct home_redis *home)
{
    struct engine_queue *queue = &home->limiter->queue;
    home->goes_on = home->step.served && queue->n > 0 && queue->absent != NULL;
    if (home->goes_on) {
        struct ask *ask = wait_ask(queue->absent);
        if (ask->decided.done && ask->offered) {
            home_redis_enqueue(home, ask);
        }
    }
}

void home_redis_step(struct home_redis *home)
{
    struct step *step = &home->step;
    uint64_t now_ms = loop_now_ms(home->loop);
    if (home->misses >= MISSES_MOST && now_ms < home->miss_ms + REST_MS) {
        struct status why = redis_health(home->redis);
        home_redis_fail_all(home, &home->queue,
                            status_ok(why) ? status_of(REASON_STORE_FAILED, home->why_text) : why);
        return;
    }
    struct status fit = home_redis_check(home);
    if (!status_ok(fit)) {
        home->away = status_ok(home->unfit); /* who must not be asked is not away */
        missed(home);
        home_redis_fail_all(home, &home->queue, fit);
        return;
    }
    step->tries = 0;
    step->checked = false;
    step->goes_on = home->goes_on;
    step->served = false;
    home->why_text[0] = '\0';
    bool again = true;
    while (again && (step->n_asks > 0 || !home->stopping)) {
        home_redis_gather(home);
        again = try_once(home);
    }
    drop_records(home);
    stream_changed(home->limiter);
    serve(home);
}
