/*
 * A limiter that is killed between any two instructions, and the one that comes after it: what the
 * second knows is what the first knew after its last step, whole. Steps are a fixed sequence, so a
 * limiter in memory that is never killed says what that is.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "codec/hash.h"
#include "harness.h"
#include "limiter/limiter.h"
#include "limiter/pack.h"

#define STEPS 4000
#define KILLS 200
#define BASE  5000000u

static const struct config_row rows[] = {
#define CONFIG(...)  CONFIG_ROW(struct limiter_config, __VA_ARGS__)
#define CONFIG_ALIAS CONFIG_ROW_ALIAS
/* clang-format off */
#include "app/common.def"
#include "limiter/config.def"
    /* clang-format on */
};

struct setting {
    struct arena *arena;
    char folder[64];
    char policy[96];
    struct limiter_config in_memory;
    struct limiter_config on_file;
};

static uint64_t now_ms;

static uint64_t clock_ms(void)
{
    return now_ms;
}

static void set_up(struct setting *s)
{
    *s = (struct setting){.arena = arena_new(16u << 20), .folder = "/tmp/test_limiter_kill.XXXXXX"};
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->policy, sizeof(s->policy), "%s/policy.yaml", s->folder);
    FILE *file = fopen(s->policy, "w");
    assert_non_null(file);
    fputs("tenant_default: {requests: 10, window: 20s, tokens: 50000, concurrency: 3}\n", file);
    fclose(file);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *error;
        assert_true(config_parse(&rows[i], span_str(rows[i].otherwise), s->arena,
                                 (char *)&s->in_memory + rows[i].offset, &error));
    }
    s->in_memory.assume_new_store = true;
    s->in_memory.policy = s->policy;
    s->in_memory.records = 8192;
    s->in_memory.tenant_pools = 8;
    s->on_file = s->in_memory;
    s->on_file.state_dir = s->folder;
    now_ms = BASE;
}

static void remove_state(const struct setting *s)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/" STATE_FILE_NAME, s->folder);
    unlink(path);
}

static void tear_down(struct setting *s)
{
    remove_state(s);
    unlink(s->policy);
    rmdir(s->folder);
    arena_free(s->arena);
    metric_reset_all();
}

static struct limiter *new_limiter(const struct limiter_config *config)
{
    char error_text[256];
    struct limiter *limiter = NULL;
    struct status s = limiter_new(config, clock_ms, error_text, &limiter);
    assert_status_ok(s);
    return limiter;
}

/* --- the steps ---------------------------------------------------------------------------------
 */

static struct engine_id id_of(uint32_t n)
{
    struct engine_id id = {{1}};
    memcpy(id.bytes + 4, &n, sizeof(n));
    return id;
}

static struct engine_resource *pool_of(struct limiter *limiter, uint32_t n)
{
    struct engine_resource *pool = NULL;
    assert_true(limiter_tenant_pool(limiter, n % 2 ? SPAN("a") : SPAN("b"), true, &pool));
    return pool;
}

static void step_acquire(struct limiter *limiter, uint32_t n, uint32_t *seed)
{
    static struct engine_verdict verdict;
    struct engine_candidate candidates[2];
    size_t models = limiter->policy->catalogue->n_targets;
    for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
        candidates[i] = (struct engine_candidate){
            .model = limiter->models[(harness_random(seed) + i) % models],
            .model_charge = 1 + harness_random(seed) % 9000,
            .pool_charge = 1 + harness_random(seed) % 9000,
        };
    }
    struct engine_acquire acquire = {
        .id = id_of(n),
        .session = id_of(9),
        .candidates = candidates,
        .n_candidates = 1 + n % 2,
        .pools = {limiter->suite, pool_of(limiter, n)},
        .n_pools = 2,
        .verdict = &verdict,
    };
    acquire.record = store_record(limiter->store, &acquire.id, now_ms);
    limiter_step(limiter, (struct engine_event){.acquire = &acquire});
    store_record_keep(limiter->store, acquire.record);
}

static void find_held(struct limiter *limiter, const struct engine_record *record, uint32_t n,
                      struct engine_resource **held)
{
    held[0] = limiter->models[n % 3];
    held[1] = limiter->suite;
    held[2] = pool_of(limiter, n);
    for (uint32_t i = 0; record != NULL && i < record->n_held; i++) {
        held[i] = store_resource_by_hash(limiter->store, record->held[i].hash);
    }
}

static void step_report(struct limiter *limiter, uint32_t n, uint32_t *seed)
{
    struct engine_report report = {
        .id = id_of(n),
        .undispatched = harness_random(seed) % 8 == 0,
        .outcome = 1 + harness_random(seed) % 5,
        .model_tokens = harness_random(seed) % 9000,
        .pool_tokens = harness_random(seed) % 9000,
        .digest = n,
    };
    report.record = store_record(limiter->store, &report.id, now_ms);
    find_held(limiter, report.record, n, report.held);
    limiter_step(limiter, (struct engine_event){.report = &report});
    store_record_keep(limiter->store, report.record);
}

static void step_renew(struct limiter *limiter, uint32_t n, uint32_t *seed)
{
    struct engine_renewal leases[3];
    struct engine_renew renew = {.session = id_of(9), .leases = leases, .n_leases = 3};
    for (uint32_t i = 0; i < 3; i++) {
        leases[i] = (struct engine_renewal){.id = id_of(n > i ? n - i : 0)};
        leases[i].record = store_record_find(limiter->store, &leases[i].id);
        leases[i].fence = leases[i].record != NULL ? leases[i].record->fence : 1;
        leases[i].model_output = leases[i].pool_output = harness_random(seed) % 12000;
        find_held(limiter, leases[i].record, n - i, leases[i].held);
    }
    limiter_step(limiter, (struct engine_event){.renew = &renew});
}

static void step_order(struct limiter *limiter, uint32_t *seed)
{
    CLEANUP(alloc_drop) struct engine_order *order = ALLOC(struct engine_order);
    uint32_t random = harness_random(seed);
    order->kind = random % 3 == 0 ? ENGINE_LIMIT : random % 3 == 1 ? ENGINE_CLOSE : ENGINE_REOPEN;
    order->suite = limiter->suite;
    order->resource = limiter->models[random / 3 % 3];
    order->note = SPAN("for a test");
    order->limits = order->resource->limits;
    order->limits.version++;
    order->limits.requests = random % 2 ? 20 : 100;
    order->limits.window_ms = 10000;
    limiter_step(limiter, (struct engine_event){.order = order});
}

/* The nth step; the same whenever the state is. */
static void play(struct limiter *limiter, uint32_t n)
{
    uint32_t seed = n * 2654435761u + 1;
    harness_random(&seed);
    now_ms = BASE + n * 300;
    uint32_t kind = harness_random(&seed) % 100, back = harness_random(&seed) % 12;
    if (kind < 50) {
        step_acquire(limiter, n, &seed);
    } else if (kind < 80) {
        step_report(limiter, n > back ? n - back : 0, &seed);
    } else if (kind < 96) {
        step_renew(limiter, n > back ? n - back : 0, &seed);
    } else {
        step_order(limiter, &seed);
    }
}

/* Of all that is known; not of who wrote it. */
static uint64_t digest_of(const struct limiter *limiter)
{
    uint8_t bytes[PACK_RESOURCE_MOST], digest[HASH_SHA256_SIZE];
    uint64_t sum = 0, part;
    for (size_t i = 0; i < store_slots(limiter->store) + STEPS; i++) {
        struct engine_id id = id_of((uint32_t)(i - store_slots(limiter->store)));
        struct engine_resource *resource =
            i < store_slots(limiter->store) ? store_resource_at(limiter->store, i) : NULL;
        struct engine_record *record =
            i < store_slots(limiter->store) ? NULL : store_record_find(limiter->store, &id);
        size_t len = resource != NULL && resource->header.seq > 0 ? pack_resource(resource, bytes)
                     : record != NULL && now_ms < record->expires_ms ? pack_record(record, bytes)
                                                                     : 0;
        if (len > 0) {
            hash_sha256(
                span_of(bytes + sizeof(struct engine_header), len - sizeof(struct engine_header)),
                digest);
            memcpy(&part, digest, sizeof(part));
            sum += part;
        }
    }
    return sum;
}

/* --- kills -------------------------------------------------------------------------------------
 */

/* What a child says, in memory that both see. */
struct answers {
    _Atomic bool running;
    _Atomic uint32_t steps; /* done and answered */
};

static void run_and_answer(const struct setting *s, uint32_t from,
                           struct answers *answers) NORETURN;
static void run_and_answer(const struct setting *s, uint32_t from, struct answers *answers)
{
    struct limiter *limiter = new_limiter(&s->on_file);
    answers->running = true;
    for (uint32_t n = from; n < STEPS; n++) {
        play(limiter, n);
        answers->steps = n + 1;
    }
    pause();
    _exit(0);
}

/* Has steps taken from one on, and kills whoever does so many microseconds after that began. */
static uint32_t run_and_kill(const struct setting *s, uint32_t from, uint32_t us,
                             struct answers *answers)
{
    answers->running = false;
    answers->steps = from;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run_and_answer(s, from, answers);
    }
    while (!answers->running && waitpid(pid, NULL, WNOHANG) == 0) {
    }
    assert_true(answers->running);
    for (uint64_t end = clock_mono_us() + us; clock_mono_us() < end;) {
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return answers->steps;
}

static void test_who_comes_after_a_kill_knows_the_last_step(void **state)
{
    (void)state;
    static uint64_t wanted[STEPS + 1];
    struct setting s;
    uint32_t seed = 20260101, at = 0, steps = 0, between = 0, rounds = 0;
    set_up(&s);
    struct limiter *limiter = new_limiter(&s.in_memory);
    for (uint32_t n = 0; n < STEPS; n++) {
        wanted[n] = digest_of(limiter); /* before the nth step */
        play(limiter, n);
    }
    wanted[STEPS] = digest_of(limiter);
    assert_true(store_records(limiter->store) > 100);
    limiter_free(limiter);
    struct answers *answers =
        mmap(NULL, sizeof(*answers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(answers != MAP_FAILED);
    for (uint32_t kills = 0; kills < KILLS; kills++) {
        if (at == STEPS) {
            remove_state(&s);
            at = 0;
            rounds++;
        }
        now_ms = BASE + (at > 0 ? at - 1 : 0) * 300;
        uint32_t done = run_and_kill(&s, at, harness_random(&seed) % 400, answers);
        steps += done - at;
        for (at = done;; at++) { /* one more may be done, and its answer not given */
            now_ms = BASE + (at > 0 ? at - 1 : 0) * 300;
            limiter = new_limiter(&s.on_file);
            bool is = digest_of(limiter) == wanted[at];
            limiter_free(limiter);
            if (is) {
                break;
            }
            assert_true(at == done && done < STEPS);
            between++;
        }
    }
    print_message("# %d kills in %u steps, %u of them behind a step and in front of its answer; %u "
                  "times all %d were done\n",
                  KILLS, steps, between, rounds, STEPS);
    assert_true(steps > KILLS);
    munmap(answers, sizeof(*answers));
    tear_down(&s);
}

/* --- time --------------------------------------------------------------------------------------
 */

static double us_a_step(struct limiter *limiter, uint32_t steps)
{
    static struct engine_verdict verdict;
    uint64_t begin_us = clock_mono_us();
    for (uint32_t n = 0; n < steps; n++) {
        struct engine_candidate candidate = {
            .model = limiter->models[0], .model_charge = 100, .pool_charge = 100};
        struct engine_acquire acquire = {
            .id = id_of(n),
            .session = id_of(9),
            .candidates = &candidate,
            .n_candidates = 1,
            .pools = {limiter->suite, pool_of(limiter, 0)},
            .n_pools = 2,
            .verdict = &verdict,
        };
        now_ms += 2100;
        acquire.record = store_record(limiter->store, &acquire.id, now_ms);
        limiter_step(limiter, (struct engine_event){.acquire = &acquire});
        store_record_keep(limiter->store, acquire.record);
        assert_true(verdict.granted);
        struct engine_report report = {
            .id = acquire.id, .record = acquire.record, .outcome = ENGINE_OK, .digest = n};
        report.pool_tokens = 50;
        find_held(limiter, report.record, 0, report.held);
        limiter_step(limiter, (struct engine_event){.report = &report});
    }
    return (double)(clock_mono_us() - begin_us) / (2 * steps);
}

static void test_what_a_decision_costs(void **state)
{
    (void)state;
    struct setting s;
    set_up(&s);
    s.in_memory.record_open = s.in_memory.record_done = 60000;
    s.on_file.record_open = s.on_file.record_done = 60000;
    s.on_file.records = s.in_memory.records = 65536;
    double best[2] = {1e9, 1e9};
    const struct limiter_config *configs[] = {&s.in_memory, &s.on_file};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2; i++) {
            remove_state(&s);
            struct limiter *limiter = new_limiter(configs[i]);
            double us = us_a_step(limiter, 5000);
            best[i] = us < best[i] ? us : best[i];
            limiter_free(limiter);
        }
    }
    print_message("# a step that writes three resources and a record: %.2f us in memory, %.2f us "
                  "with the file\n",
                  best[0], best[1]);
    uint64_t begin_us = clock_mono_us();
    struct limiter *limiter = new_limiter(&s.on_file);
    print_message("# a start with the file of 65,536 records: %.1f ms\n",
                  (double)(clock_mono_us() - begin_us) / 1000);
    assert_true(store_records(limiter->store) > 20);
    limiter_free(limiter);
    tear_down(&s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_who_comes_after_a_kill_knows_the_last_step),
    cmocka_unit_test(test_what_a_decision_costs),
};

HARNESS_MAIN(tests)
