/* Lines of waiters, and the order between them. */
#include "limiter/engine_queue.h"

#include "limiter/engine_parts.h"

void engine_queue_init(struct engine_queue *queue, uint32_t limiter, bool shared)
{
    *queue = (struct engine_queue){.limiter = limiter, .shared = shared, .wake_ms = ENGINE_NEVER};
    list_init(&queue->fronts);
    list_init(&queue->ended);
}

/* --- lines -------------------------------------------------------------------------------------
 */

static bool same_line(const struct engine_waiter *a, const struct engine_waiter *b)
{
    return a->parked == b->parked && a->place == b->place &&
           a->acquire->tenant == b->acquire->tenant && a->acquire->priority == b->acquire->priority;
}

static bool came_before(const struct engine_waiter *a, const struct engine_waiter *b)
{
    return a->since_ms != b->since_ms ? a->since_ms < b->since_ms : a->no < b->no;
}

static struct engine_waiter *front_of(const struct engine_queue *queue,
                                      const struct engine_waiter *waiter)
{
    LIST_EACH (it, &queue->fronts) {
        struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        if (same_line(front, waiter)) {
            return front;
        }
    }
    return NULL;
}

/* Whoever moves to another place keeps its turn: it goes where it would have been. */
void engine_queue_add(struct engine_queue *queue, struct engine_waiter *waiter)
{
    struct engine_waiter *front = front_of(queue, waiter);
    list_init(&waiter->line);
    list_init(&waiter->front);
    waiter->waiting = true;
    queue->n++;
    if (front == NULL) {
        list_push_back(&queue->fronts, &waiter->front);
        return;
    }
    if (came_before(waiter, front)) {
        list_insert_before(&front->line, &waiter->line);
        list_insert_before(&front->front, &waiter->front);
        list_remove(&front->front);
        return;
    }
    struct list *behind = front->line.prev;
    while (came_before(waiter, CONTAINER_OF(behind, struct engine_waiter, line))) {
        behind = behind->prev;
    }
    list_insert_before(behind->next, &waiter->line);
}

void engine_queue_remove(struct engine_queue *queue, struct engine_waiter *waiter)
{
    if (!list_empty(&waiter->front) && !list_empty(&waiter->line)) {
        struct engine_waiter *next = CONTAINER_OF(waiter->line.next, struct engine_waiter, line);
        list_insert_before(&waiter->front, &next->front);
    }
    list_remove(&waiter->front);
    list_remove(&waiter->line);
    waiter->waiting = false;
    queue->n--;
}

size_t engine_queue_of_tenant(const struct engine_queue *queue, uint64_t tenant)
{
    size_t n = 0;
    LIST_EACH (it, &queue->fronts) {
        const struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        if (front->acquire->tenant == tenant) {
            n++;
            LIST_EACH (other, &front->line) {
                n++;
            }
        }
    }
    return n;
}

size_t engine_queue_depth(const struct engine_queue *queue, const struct engine_resource *pool)
{
    size_t n = 0;
    LIST_EACH (it, &queue->fronts) {
        const struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        if (!front->parked && front->place == pool->hash) {
            n++;
            LIST_EACH (other, &front->line) {
                n++;
            }
        }
    }
    return n;
}

struct engine_waiter *engine_queue_take_ended(struct engine_queue *queue)
{
    struct list *first = list_pop_front(&queue->ended);
    return first != NULL ? CONTAINER_OF(first, struct engine_waiter, front) : NULL;
}

/* One that came in the step; NULL: no more. */
static struct engine_waiter *came_in(const struct engine_queue *queue, uint64_t stamp)
{
    LIST_EACH (it, &queue->fronts) {
        struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        if (front->entered == stamp) {
            return front;
        }
        LIST_EACH (other, &front->line) {
            struct engine_waiter *waiter = CONTAINER_OF(other, struct engine_waiter, line);
            if (waiter->entered == stamp) {
                return waiter;
            }
        }
    }
    return NULL;
}

void engine_queue_leave(struct engine_queue *queue, struct engine_waiter *waiter)
{
    if (queue->absent == waiter) {
        queue->absent = NULL;
    }
    if (waiter->waiting) {
        engine_queue_remove(queue, waiter);
    }
}

void engine_queue_undo(struct engine_queue *queue, uint64_t stamp)
{
    for (struct engine_waiter *w; (w = engine_queue_take_ended(queue)) != NULL;) {
        engine_queue_add(queue, w);
    }
    for (struct engine_waiter *w; (w = came_in(queue, stamp)) != NULL;) {
        engine_queue_remove(queue, w);
        w->entered = 0;
    }
    LIST_EACH (it, &queue->fronts) {
        struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
        front->tried = front->tried_in == stamp ? 0 : front->tried;
    }
}

/* --- virtual time ------------------------------------------------------------------------------
 */

static uint64_t start_of(const struct engine_resource *pool, uint64_t tenant)
{
    for (uint32_t i = 0; i < pool->n_tags; i++) {
        if (pool->tags[i].tenant == tenant) {
            uint64_t finish = pool->tags[i].finish;
            return finish > pool->virtual_now ? finish : pool->virtual_now;
        }
    }
    return pool->virtual_now;
}

static uint64_t cost_of(uint64_t charge, uint32_t weight)
{
    return (charge > 0 ? charge : 1) * ENGINE_COST_SCALE / (weight > 0 ? weight : 1);
}

void engine_tags_charge(struct engine_resource *suite, const struct engine_acquire *acquire,
                        uint64_t charge)
{
    uint64_t start = start_of(suite, acquire->tenant);
    uint32_t n = 0, least = 0;
    suite->virtual_now = start;
    for (uint32_t i = 0; i < suite->n_tags; i++) {
        if (suite->tags[i].tenant != acquire->tenant && suite->tags[i].finish > start) {
            suite->tags[n++] = suite->tags[i];
        }
    }
    for (uint32_t i = 1; i < n; i++) {
        least = suite->tags[i].finish < suite->tags[least].finish ? i : least;
    }
    if (n == ENGINE_TAGS_MOST) {
        suite->tags[least] = suite->tags[--n];
    }
    suite->tags[n++] =
        (struct engine_tag){acquire->tenant, start + cost_of(charge, acquire->weight)};
    suite->n_tags = n;
}

/* --- the order of a pool -----------------------------------------------------------------------
 */

static uint32_t class_at(const struct engine_turn *turn, uint32_t priority, uint64_t since_ms)
{
    uint64_t waited_ms = turn->now_ms > since_ms ? turn->now_ms - since_ms : 0;
    uint64_t risen = turn->rules->aging_ms > 0 ? waited_ms / turn->rules->aging_ms : 0;
    return risen < priority ? priority - (uint32_t)risen : 0;
}

struct engine_key engine_key_of(const struct engine_turn *turn, const struct engine_acquire *a,
                                const struct engine_resource *pool)
{
    bool waits = a->waiter != NULL && a->waiter->waiting;
    uint64_t since_ms = waits ? a->waiter->since_ms : turn->now_ms;
    return (struct engine_key){
        .priority = class_at(turn, a->priority, since_ms),
        .start = start_of(pool, a->tenant),
        .since_ms = since_ms,
        .limiter = turn->queue != NULL ? turn->queue->limiter : 0,
        .no = waits ? a->waiter->no : UINT64_MAX,
    };
}

struct engine_key engine_key_of_head(const struct engine_turn *turn, const struct engine_head *head,
                                     const struct engine_resource *pool)
{
    return (struct engine_key){
        .priority = class_at(turn, head->priority, head->since_ms),
        .start = start_of(pool, head->tenant),
        .since_ms = head->since_ms,
        .limiter = head->limiter,
        .no = head->no,
    };
}

bool engine_key_before(const struct engine_key *a, const struct engine_key *b)
{
    if (a->priority != b->priority) {
        return a->priority < b->priority;
    }
    if (a->start != b->start) {
        return a->start < b->start;
    }
    if (a->since_ms != b->since_ms) {
        return a->since_ms < b->since_ms;
    }
    return a->limiter != b->limiter ? a->limiter < b->limiter : a->no < b->no;
}

/* --- predicate 8 -------------------------------------------------------------------------------
 */

struct ahead {
    uint64_t n;
    uint64_t charge;
};

static void count(struct ahead *ahead, uint64_t charge)
{
    ahead->n++;
    ahead->charge += charge;
}

/* Those of its own line. */
static uint64_t count_own(const struct engine_waiter *front, const struct engine_key *key,
                          struct ahead *ahead)
{
    uint64_t cost = 0;
    const struct engine_waiter *w = front;
    do {
        if (w->since_ms > key->since_ms || (w->since_ms == key->since_ms && w->no >= key->no)) {
            break;
        }
        count(ahead, w->charge);
        cost += cost_of(w->charge, w->acquire->weight);
        w = CONTAINER_OF(w->line.next, struct engine_waiter, line);
    } while (w != front);
    return cost;
}

/* Those of another line: as each is granted, the next of its tenant starts later. */
static void count_other(const struct engine_turn *turn, const struct engine_resource *pool,
                        const struct engine_waiter *front, const struct engine_key *key,
                        struct ahead *ahead)
{
    uint64_t cost = 0;
    const struct engine_waiter *w = front;
    do {
        struct engine_key its = engine_key_of(turn, w->acquire, pool);
        its.start += cost;
        if (!engine_key_before(&its, key)) {
            break;
        }
        count(ahead, w->charge);
        cost += cost_of(w->charge, w->acquire->weight);
        w = CONTAINER_OF(w->line.next, struct engine_waiter, line);
    } while (w != front);
}

static bool own_line(const struct engine_waiter *front, const struct engine_acquire *acquire)
{
    return front->acquire->tenant == acquire->tenant &&
           front->acquire->priority == acquire->priority;
}

static struct ahead ahead_of(const struct engine_turn *turn, const struct engine_resource *pool,
                             const struct engine_acquire *acquire)
{
    struct ahead ahead = {0};
    struct engine_key key = engine_key_of(turn, acquire, pool);
    const struct engine_queue *queue = turn->queue;
    for (int own = 1; queue != NULL && own >= 0; own--) {
        LIST_EACH (it, &queue->fronts) {
            const struct engine_waiter *front = CONTAINER_OF(it, struct engine_waiter, front);
            if (front->parked || front->place != pool->hash || own_line(front, acquire) != own) {
                continue;
            }
            if (own) {
                key.start += count_own(front, &key, &ahead);
            } else {
                count_other(turn, pool, front, &key, &ahead);
            }
        }
    }
    for (uint32_t i = 0; i < pool->n_heads; i++) {
        const struct engine_head *head = &pool->heads[i];
        struct engine_key its = engine_key_of_head(turn, head, pool);
        if (turn->now_ms < head->expires_ms && head->limiter != key.limiter &&
            engine_key_before(&its, &key)) {
            count(&ahead, head->charge);
        }
    }
    return ahead;
}

void engine_queue_judge(const struct engine_resource *pool, const struct engine_turn *turn,
                        const struct engine_acquire *acquire, struct engine_judgement *judgement)
{
    if (pool->n_heads == 0 && (turn->queue == NULL || turn->queue->n == 0)) {
        return;
    }
    struct ahead ahead = ahead_of(turn, pool, acquire);
    if (ahead.n == 0) {
        return;
    }
    bool exact;
    uint64_t at_ms = engine_eta(pool, turn, ahead.n + 1, ahead.charge + judgement->charge, &exact);
    bool now = at_ms <= turn->now_ms; /* it hangs on somebody's next step */
    bool waits = acquire->waiter != NULL && acquire->waiter->waiting; /* and is woken by that */
    uint64_t soon_ms = turn->now_ms + (waits ? turn->rules->head_ms / 8 : 1);
    engine_refuse(judgement, ENGINE_REASON_QUEUED_BEHIND, now ? soon_ms : at_ms, exact && !now);
}

uint32_t engine_queue_position(const struct engine_turn *turn, const struct engine_resource *pool,
                               const struct engine_acquire *acquire)
{
    return 1 + (uint32_t)ahead_of(turn, pool, acquire).n;
}
