/*
 * limiter_trace_redis -- limiters that share a real redis-server as a filter, for comparison with
 * the reference model.
 *
 * Lines in (limiter_lines.h), one reply a line out; events that follow each other with the same
 * step number are asked together, of limiter `step` modulo their number. In front stand:
 *
 *   S n                   so many limiters, asked one after the other
 *   S n together every    the same, asked without waiting for each other; after so many steps all
 *                         connections to the server are cut; 0: never
 *   R name kind ...       the resources
 *
 * Together, each reply is printed behind its event as it was decided: the suite's sequence number,
 * 1 if its step wrote (2: not after that), the step's stamp, and the line with the step's present.
 * At the end comes the number of steps that nobody asked for, in which a limiter may have signed.
 *
 * The limiters' homes, the script and the server are the real ones; the clocks of all of them are
 * what the lines say. Nothing is answered from a copy without the store, because it is always told
 * that its copies are old. Sequence numbers of the suite are told from where they begin.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "limiter_lines.h"
#include "unit/limiters_bench.h"

#define BATCH_MOST     16
#define RESOURCES_MOST 8
#define LINE_MOST      1024
#define STALL_YIELDS   2000 /* without an answer: somebody sleeps */
#define OLD_MS         100000
#define TRIES_MOST     10000
#define RECONNECT_MS   1
#define LASTED_MS      2000

struct spec {
    char name[32];
    enum engine_kind kind;
    struct engine_limits limits;
};

/* One event, until it is answered. */
struct event {
    struct ask ask;
    struct limiter_line line;
    char text[LINE_MOST];
    uint64_t seq; /* of the suite; with the others: of the step that decided it */
    uint64_t stamp;
    enum {
        WROTE_NOTHING,
        WROTE,
        WROTE_BEFORE, /* or at: its own reply was lost, and others may have written since */
    } wrote;
};

/* Those that were asked of one limiter. */
struct batch {
    struct event events[BATCH_MOST];
    size_t n;
    struct arena *arena; /* while they are asked */
};

static struct {
    struct limiters group;
    size_t n; /* limiters */
    struct spec specs[RESOURCES_MOST];
    size_t n_specs;
    bool together;
    uint64_t cut_every;
    uint64_t steps;
    struct batch *asked; /* by limiter */
    struct batch *next;
    uint64_t step;
    uint64_t first_seq; /* of the suite */
    bool begun;
    bool ending;
} world;

static uint64_t now_ms; /* of lines */
static uint64_t ages_ms[LIMITERS_MOST] = {1, 1, 1};

static uint64_t injected_us(void)
{
    return 1000 * now_ms;
}

/* Each limiter's own clock: whatever it knows is old by its next step. */
#define AGE(i)                                                                                     \
    static uint64_t age_##i(void)                                                                  \
    {                                                                                              \
        return ages_ms[i];                                                                         \
    }
AGE(0)
AGE(1)
AGE(2)
static uint64_t (*const ages[LIMITERS_MOST])(void) = {age_0, age_1, age_2};

/* --- limiters -----------------------------------------------------------------------------------
 */

static struct engine_resource *find_resource(void *arg, const char *name)
{
    const struct limiter *limiter = arg;
    return store_resource(limiter->store, span_str(name));
}

static struct engine_record *find_record(void *arg, const struct engine_id *id)
{
    return home_record(arg, id);
}

static void give_resources(struct limiter *limiter)
{
    struct policy *policy = (struct policy *)limiter->policy;
    policy->rules = limiter_lines_rules;
    for (size_t i = 0; i < world.n_specs; i++) {
        const struct spec *spec = &world.specs[i];
        if (strcmp(spec->name, "suite") == 0) {
            policy->suite = spec->limits;
            engine_resource_init(limiter->suite, SPAN("suite"), limiter->suite->hash, ENGINE_POOL,
                                 &spec->limits, &policy->rules);
        } else {
            check(store_resource_add(limiter->store, span_str(spec->name), spec->kind,
                                     &spec->limits, now_ms, ENGINE_NEVER) != NULL);
        }
    }
}

static void begin(void)
{
    struct limiters *g = &world.group;
    char error_text[256];
    limiters_prepare(g);
    redis_bench_serve(&g->redis, &g->config);
    redis_bench_connect(&g->redis);
    redis_bench_move(&g->redis, now_ms, g->arena);
    for (g->n = 0; g->n < world.n; g->n++) {
        struct limiter **limiter = &g->limiters[g->n];
        check(status_ok(limiter_new(&g->config, ages[g->n], error_text, limiter)));
        redis_bench_take_clock(*limiter, injected_us, g->arena);
        give_resources(*limiter);
        check(status_ok(home_redis_first((*limiter)->redis)));
    }
    world.first_seq = g->limiters[0]->suite->header.seq;
    world.begun = true;
    loop_test_clock(task_loop(), loop_now_ms(task_loop())); /* nobody does anything by itself */
}

/* --- events -------------------------------------------------------------------------------------
 */

static struct status find(struct limiter *limiter, struct ask *ask, bool make_room)
{
    struct event *event = CONTAINER_OF(ask, struct event, ask);
    const struct limiter_place place = {find_resource, find_record, limiter};
    char text[LINE_MOST], *rest = text;
    (void)make_room;
    snprintf(text, sizeof(text), "%s", event->text);
    char what = limiter_word(&rest)[0];
    limiter_number(&rest);
    limiter_number(&rest);
    limiter_line_take(&place, what, rest, &event->line);
    if (what == 'N' && event->line.lease.seqs[1] > 0) {
        event->line.lease.seqs[1] += world.first_seq;
    }
    ask->event = event->line.event;
    return STATUS_SUCCESS;
}

static void answer(struct limiter *limiter, struct ask *ask)
{
    struct event *event = CONTAINER_OF(ask, struct event, ask);
    const struct engine_acquire *acquire = ask->event.acquire;
    event->seq = limiter->suite->header.seq - world.first_seq;
    event->stamp = limiter->redis->step.stamp;
    bool known = limiter->suite->header.stamp == event->stamp;
    event->wrote = limiter->redis->step.writes ? known ? WROTE : WROTE_BEFORE : WROTE_NOTHING;
    for (size_t i = 0; acquire != NULL && i < acquire->verdict->n_judged; i++) {
        struct engine_judgement *j = &acquire->verdict->judged[i];
        j->seq -= j->resource == limiter->suite ? world.first_seq : 0;
    }
}

/* Whoever sleeps so that others come first is woken when nothing else goes on. */
static void await_once(const struct event *event) PARKS
{
    struct loop *loop = task_loop();
    for (size_t yields = 1; !event->ask.decided.done; yields++) {
        task_yield();
        if (yields % STALL_YIELDS == 0) {
            loop_test_clock(loop, loop_now_ms(loop) + 1);
        }
    }
}

static void ask_for(struct limiter *limiter, struct event *event, struct arena *arena)
{
    ask_init(limiter, &event->ask, arena, find, answer);
    home_redis_submit(limiter->redis, &event->ask);
}

/* While the connection is gone it is asked again, as routers do. */
static void await(struct limiter *limiter, struct event *event, struct arena *arena) PARKS
{
    await_once(event);
    for (unsigned tries = 0; !status_ok(event->ask.status); tries++) {
        if (world.cut_every == 0 || tries == TRIES_MOST) {
            fprintf(stderr, "%s: %s\n", event->text, status_text(event->ask.status));
            exit(1);
        }
        loop_test_clock(task_loop(), loop_now_ms(task_loop()) + RECONNECT_MS);
        task_yield();
        ask_for(limiter, event, arena);
        await_once(event);
    }
}

static void print_event(const struct event *event)
{
    if (world.together) {
        char text[LINE_MOST], *rest = text;
        snprintf(text, sizeof(text), "%s", event->text);
        const char *what = limiter_word(&rest);
        limiter_word(&rest);
        limiter_word(&rest);
        printf("%llu %d %llu %s %llu %s", (unsigned long long)event->seq, event->wrote,
               (unsigned long long)event->stamp, what, (unsigned long long)event->ask.now_ms, rest);
    }
    limiter_line_print(&event->line);
}

static void await_batch(size_t at) PARKS
{
    struct batch *batch = &world.asked[at];
    for (size_t i = 0; i < batch->n; i++) {
        await(world.group.limiters[at], &batch->events[i], batch->arena);
    }
    for (size_t i = 0; i < batch->n; i++) {
        print_event(&batch->events[i]);
        free(batch->events[i].line.call);
    }
    batch->n = 0;
    arena_drop(&batch->arena);
}

static void submit(struct limiter *limiter, struct batch *batch)
{
    batch->arena = arena_new(1u << 20);
    for (size_t i = 0; i < batch->n; i++) {
        ask_for(limiter, &batch->events[i], batch->arena);
    }
}

static void flush(void) PARKS
{
    struct limiters *g = &world.group;
    if (world.next->n == 0) {
        return;
    }
    size_t at = world.step % world.n;
    await_batch(at);
    world.asked[at] = *world.next;
    world.next->n = 0;
    CLEANUP(arena_drop) struct arena *arena = arena_new(1u << 16);
    redis_bench_move(&g->redis, now_ms, arena);
    ages_ms[at] += OLD_MS;
    for (size_t i = 0; i < g->n; i++) {
        g->limiters[i]->redis->pause_us = 0;
    }
    submit(g->limiters[at], &world.asked[at]);
    if (world.cut_every > 0 && ++world.steps % world.cut_every == 0) {
        /* A connection that lasted is made anew at once. */
        loop_test_clock(task_loop(), loop_now_ms(task_loop()) + LASTED_MS);
        redis_bench_ask(&g->redis,
                        REDIS_ARGS(SPAN("CLIENT"), SPAN("KILL"), SPAN("TYPE"), SPAN("normal")),
                        arena); /* but the one that says so */
    }
    if (!world.together) {
        await_batch(at);
    }
}

static void add_event(const char *line, uint64_t step, uint64_t line_now_ms) PARKS
{
    if (world.next->n == 0 || step != world.step) {
        flush();
        now_ms = line_now_ms;
    }
    if (!world.begun) {
        begin();
    }
    check(world.next->n < BATCH_MOST);
    struct event *event = &world.next->events[world.next->n++];
    *event = (struct event){0};
    snprintf(event->text, sizeof(event->text), "%s", line);
    world.step = step;
}

static void add_resource(char *rest)
{
    check(world.n_specs < RESOURCES_MOST);
    struct spec *spec = &world.specs[world.n_specs++];
    snprintf(spec->name, sizeof(spec->name), "%s", limiter_word(&rest));
    spec->kind = strcmp(limiter_word(&rest), "model") == 0 ? ENGINE_MODEL : ENGINE_POOL;
    spec->limits = limiter_line_limits(&rest);
    spec->limits.cooldown_ms = limiter_number(&rest);
}

static void take_line(char *line) PARKS
{
    char text[LINE_MOST], *rest = text;
    snprintf(text, sizeof(text), "%s", line);
    char what = limiter_word(&rest)[0];
    if (what == 'S') {
        world.n = limiter_number(&rest);
        check(world.n > 0 && world.n <= LIMITERS_MOST);
        world.together = rest != NULL && strcmp(limiter_word(&rest), "together") == 0;
        world.cut_every = world.together ? limiter_number(&rest) : 0;
    } else if (what == 'R') {
        add_resource(rest);
    } else {
        uint64_t step = limiter_number(&rest);
        add_event(line, step, limiter_number(&rest));
    }
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static void tick(void *arg) PARKS
{
    struct loop *loop = arg;
    while (world.ending) {
        loop_test_clock(loop, loop_now_ms(loop) + 1);
        usleep(1000);
        task_yield();
    }
}

static void run(void *arg) PARKS
{
    char line[LINE_MOST];
    world.asked = alloc_zeroed(LIMITERS_MOST, sizeof(*world.asked));
    world.next = alloc_zeroed(1, sizeof(*world.next));
    while (fgets(line, sizeof(line), stdin) != NULL) {
        take_line(line);
    }
    flush();
    for (size_t i = 0; i < world.n; i++) {
        await_batch(i);
    }
    if (world.together) {
        printf("%.0f\n", limiters_trips(&world.group, "idle"));
    }
    if (world.begun) {
        world.ending = true;
        task_spawn(task_loop(), NULL, tick, arg);
        limiters_stop(&world.group);
        world.ending = false;
        task_yield();
    }
    free(world.asked);
    free(world.next);
    loop_stop(arg);
}

int main(void)
{
    struct loop *loop = loop_new();
    log_init("limiter_trace_redis", LOG_ERROR);
    task_spawn(loop, &(struct task_options){.name = "trace", .deadline_ms = TASK_DEADLINE_NONE},
               run, loop);
    loop_run(loop);
    loop_free(loop);
    return 0;
}
