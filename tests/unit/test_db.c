/* The store: commits, reads, refusals, crashes, a full disk. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/db.h"
#include "task_test.h"

static const char *const schema[] = {
    "CREATE TABLE fact (id INTEGER PRIMARY KEY, text TEXT NOT NULL, raw BLOB, weight REAL);",
    "CREATE TABLE note (fact INTEGER NOT NULL REFERENCES fact (id), text TEXT);",
};

/* SQLite syncs through this one: tests count, hold up and break the disk here. */
static atomic_int syncs;
static atomic_bool syncs_wait;
static atomic_bool syncs_fail;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    syncs++;
    while (syncs_wait) {
        usleep(100);
    }
    if (syncs_fail) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

struct store {
    char folder[64];
    char path[96];
    struct arena *arena;
    struct db *db;
};

static void store_init(struct store *store)
{
    *store = (struct store){.arena = arena_new(1u << 20)};
    snprintf(store->folder, sizeof(store->folder), "/tmp/prism-test-db-XXXXXX");
    assert_non_null(mkdtemp(store->folder));
    snprintf(store->path, sizeof(store->path), "%s/store.db", store->folder);
}

static struct status store_try(struct store *store, size_t versions)
{
    return db_open(
        task_loop(),
        &(struct db_options){
            .path = store->path, .schema = schema, .n_schema = versions, .arena = store->arena},
        &store->db);
}

static void store_open(struct store *store)
{
    assert_status_ok(store_try(store, ARRAY_LEN(schema)));
}

static void store_clear(struct store *store)
{
    const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char path[112];
        snprintf(path, sizeof(path), "%s%s", store->path, suffixes[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(store->folder), 0);
    arena_free(store->arena);
}

/* --- jobs ---------------------------------------------------------------------------------------
 */

struct fact {
    int64_t id;
    struct span text;
    struct status after; /* what the job returns at its end */
};

static struct status add_fact(struct db_tx *tx, void *arg)
{
    struct fact *fact = arg;
    size_t changes = 0;
    TRY(db_exec(tx, "INSERT INTO fact (id, text, raw, weight) VALUES (?, ?, ?, ?)",
                DB_BIND(DB_INT(fact->id), DB_TEXT(fact->text), DB_NULL, DB_REAL(0.5)), &changes));
    assert_int_equal(changes, 1);
    return fact->after;
}

static struct status add(struct store *store, int64_t id)
{
    struct fact fact = {.id = id, .text = SPAN("text")};
    return db_write(store->db, add_fact, &fact);
}

static struct status count_facts(struct db_tx *tx, void *arg)
{
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool more = false;
    TRY(db_query(tx, "SELECT count(*) FROM fact", NULL, 0, &rows));
    TRY(db_row(rows, &more));
    *(int64_t *)arg = db_int(rows, 0);
    return STATUS_SUCCESS;
}

static int64_t count(struct store *store)
{
    int64_t n = -1;
    assert_status_ok(db_read(store->db, count_facts, &n));
    return n;
}

/* --- tests --------------------------------------------------------------------------------------
 */

static struct status write_values(struct db_tx *tx, void *arg)
{
    (void)arg;
    const char *sql = "INSERT INTO fact (id, text, raw, weight) VALUES (?, ?, ?, ?)";
    TRY(db_exec(
        tx, sql,
        DB_BIND(DB_INT(INT64_MIN), DB_TEXT(SPAN("")), DB_BLOB(span_of("a\0b", 3)), DB_REAL(0.25)),
        NULL));
    return db_exec(
        tx, sql, DB_BIND(DB_INT(INT64_MAX), DB_TEXT(SPAN("gr\xc3\xbc\xc3\x9f")), DB_NULL, DB_NULL),
        NULL);
}

static struct status read_values(struct db_tx *tx, void *arg)
{
    size_t *rows_read = arg;
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool more;
    TRY(db_query(tx, "SELECT id, text, raw, weight FROM fact WHERE id != ? ORDER BY id",
                 DB_BIND(DB_INT(0)), &rows));
    TRY(db_row(rows, &more));
    assert_true(more);
    assert_true(db_int(rows, 0) == INT64_MIN);
    assert_false(db_is_null(rows, 1));
    assert_span(db_bytes(rows, 1), SPAN(""));
    assert_span(db_bytes(rows, 2), span_of("a\0b", 3));
    assert_true(db_real(rows, 3) == 0.25);
    TRY(db_row(rows, &more));
    assert_true(more);
    assert_true(db_int(rows, 0) == INT64_MAX);
    assert_span(db_bytes(rows, 1), SPAN("gr\xc3\xbc\xc3\x9f"));
    assert_true(db_is_null(rows, 2));
    assert_span(db_bytes(rows, 2), SPAN(""));
    TRY(db_row(rows, &more));
    assert_false(more);
    *rows_read = 2;
    return STATUS_SUCCESS;
}

task_test_real(values_come_back_as_they_were)
{
    struct store store;
    size_t rows_read = 0;
    store_init(&store);
    store_open(&store);
    assert_status_ok(db_write(store.db, write_values, NULL));
    assert_status_ok(db_read(store.db, read_values, &rows_read));
    assert_int_equal(rows_read, 2);
    db_close(store.db);
    store_clear(&store);
}

struct writer {
    struct store *store;
    struct fact fact;
    struct status result;
    bool ended;
};

static void writer_main(void *arg)
{
    struct writer *writer = arg;
    writer->result = db_write(writer->store->db, add_fact, &writer->fact);
    writer->ended = true;
}

#define WRITERS 64

/* Jobs share commits; each has its savepoint: one that fails takes nothing else with it. */
task_test_real(jobs_of_one_commit_fail_alone)
{
    struct store store;
    static struct writer writers[WRITERS];
    struct group group;
    store_init(&store);
    store_open(&store);
    group_init(&group);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = &store, .fact = {.id = i / 2 * 2}};
        writers[i].fact.text = SPAN("x");
        if (i % 8 == 0) {
            writers[i].fact.after = status_of(REASON_TASK_FINISHED, "changed its mind");
        }
        group_spawn(&group, "writer", writer_main, &writers[i]);
    }
    assert_status_ok(group_wait(&group));
    for (int i = 0; i < WRITERS; i++) {
        /* The second of a pair has the same key; it is free when the first took itself back. */
        bool second = i % 2 == 1, free_again = i % 8 == 1;
        assert_status(writers[i].result, i % 8 == 0              ? REASON_TASK_FINISHED
                                         : second && !free_again ? REASON_STORE_FAILED
                                                                 : REASON_NONE);
    }
    assert_int_equal(count(&store), WRITERS / 2);
    db_close(store.db);
    store_open(&store);
    assert_int_equal(count(&store), WRITERS / 2);
    db_close(store.db);
    store_clear(&store);
}

/* The first commit is held up; what arrives meanwhile shares the second. */
task_test_real(jobs_wait_for_their_commit_and_share_it)
{
    struct store store;
    static struct writer writers[WRITERS];
    store_init(&store);
    store_open(&store);
    syncs = 0;
    syncs_wait = true;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = &store, .fact = {.id = i, .text = SPAN("x")}};
        task_spawn(task_loop(), NULL, writer_main, &writers[i]);
    }
    while (syncs == 0) {
        assert_status_ok(task_sleep_ms(1));
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_false(writers[i].ended);
    }
    syncs_wait = false;
    while (loop_tasks(task_loop()) > 1) {
        task_yield();
    }
    assert_in_range(syncs, 1, 2);
    assert_int_equal(count(&store), WRITERS);
    db_close(store.db);
    store_clear(&store);
}

task_test_real(a_failed_sync_ends_acceptance_until_the_store_is_opened_again)
{
    struct store store;
    store_init(&store);
    store_open(&store);
    assert_status_ok(add(&store, 1));
    syncs_fail = true;
    assert_status(add(&store, 2), REASON_STORE_FAILED);
    syncs_fail = false;
    assert_status(add(&store, 3), REASON_STORE_FAILED);
    int64_t n;
    assert_status(db_read(store.db, count_facts, &n), REASON_STORE_FAILED);
    db_close(store.db);
    store_open(&store);
    assert_status_ok(add(&store, 3));
    assert_in_range(count(&store), 2, 3);
    db_close(store.db);
    store_clear(&store);
}

static struct status add_orphan(struct db_tx *tx, void *arg)
{
    (void)arg;
    return db_exec(tx, "INSERT INTO note (fact, text) VALUES (7, 'orphan')", NULL, 0, NULL);
}

task_test_real(foreign_keys_hold)
{
    struct store store;
    store_init(&store);
    store_open(&store);
    struct status s = db_write(store.db, add_orphan, NULL);
    assert_status(s, REASON_STORE_FAILED);
    assert_string_equal(s.detail, "constraint failed");
    db_close(store.db);
    store_clear(&store);
}

task_test_real(a_cancelled_task_begins_nothing_and_waits_for_what_it_began)
{
    struct store store;
    struct writer writer = {.store = &store, .fact = {.id = 1, .text = SPAN("x")}};
    store_init(&store);
    store_open(&store);
    struct task *task = task_spawn(task_loop(), NULL, writer_main, &writer);
    task_yield();
    task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    while (loop_tasks(task_loop()) > 1) {
        task_yield();
    }
    assert_status_ok(writer.result);
    writer.fact.id = 2;
    task = task_spawn(task_loop(), NULL, writer_main, &writer);
    task_cancel(task, status_of(REASON_CALL_CANCELLED, NULL));
    task_yield();
    assert_status(writer.result, REASON_CALL_CANCELLED);
    assert_int_equal(count(&store), 1);
    db_close(store.db);
    store_clear(&store);
}

task_test_real(the_queue_is_bounded_and_closing_answers_it)
{
    struct store store;
    static struct writer writers[8];
    store_init(&store);
    assert_status_ok(db_open(task_loop(),
                             &(struct db_options){.path = store.path,
                                                  .schema = schema,
                                                  .n_schema = ARRAY_LEN(schema),
                                                  .queue_most = 4,
                                                  .arena = store.arena},
                             &store.db));
    for (int i = 0; i < 8; i++) {
        writers[i] = (struct writer){.store = &store, .fact = {.id = i, .text = SPAN("x")}};
        task_spawn(task_loop(), NULL, writer_main, &writers[i]);
    }
    /* All eight run in one turn, before any answer can be taken. */
    task_yield();
    db_close(store.db);
    for (int i = 0; i < 8; i++) {
        assert_status(writers[i].result, i < 4 ? REASON_NONE : REASON_OVERLOADED);
    }
    store_open(&store);
    assert_int_equal(count(&store), 4);
    db_close(store.db);
    store_clear(&store);
}

task_test_real(schemas_grow_and_newer_ones_are_refused)
{
    struct store store;
    store_init(&store);
    assert_status_ok(store_try(&store, 1));
    assert_status_ok(add(&store, 1));
    db_close(store.db);
    store_open(&store);
    assert_int_equal(count(&store), 1);
    db_close(store.db);
    struct status s = store_try(&store, 1);
    assert_status(s, REASON_STORE_FAILED);
    assert_non_null(strstr(s.detail, store.path));
    assert_non_null(strstr(s.detail, "newer version"));
    store_clear(&store);
}

static void assert_refused(struct store *store, enum reason reason, const char *why)
{
    struct status s = store_try(store, ARRAY_LEN(schema));
    assert_status(s, reason);
    assert_non_null(strstr(s.detail, store->path));
    if (strstr(s.detail, why) == NULL) {
        assert_string_equal(s.detail, why);
    }
}

static void overwrite(const char *path, long from, int byte, size_t n)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, from, SEEK_SET);
    for (size_t i = 0; i < n; i++) {
        fputc(byte, file);
    }
    fclose(file);
}

task_test_real(what_cannot_be_a_store_is_refused_by_name)
{
    struct store store;
    store_init(&store);
    const char *folder_end = strrchr(store.path, '/');
    snprintf(store.path + (folder_end - store.path), 32, "/missing/store.db");
    assert_refused(&store, REASON_STORE_FAILED, "No such file or directory");
    snprintf(store.path, sizeof(store.path), "%s", store.folder);
    assert_refused(&store, REASON_STORE_FAILED, "Is a directory");

    snprintf(store.path, sizeof(store.path), "%s/store.db", store.folder);
    FILE *file = fopen(store.path, "wb");
    assert_non_null(file);
    fputs("this has never been a database, however long it goes on. ", file);
    for (int i = 0; i < 100; i++) {
        fputs("this has never been a database, however long it goes on. ", file);
    }
    fclose(file);
    assert_refused(&store, REASON_STORE_CORRUPT, "not a database");
    unlink(store.path);

    store_open(&store);
    db_close(store.db);
    overwrite(store.path, 68, 7, 4); /* application_id */
    assert_refused(&store, REASON_STORE_FAILED, "another program's");
    store_clear(&store);
}

task_test_real(damage_is_found_at_start)
{
    struct store store;
    store_init(&store);
    store_open(&store);
    for (int i = 0; i < 200; i++) {
        struct fact fact = {.id = i,
                            .text = SPAN("a text that is long enough to need some pages "
                                         "of its own when there are many of it")};
        assert_status_ok(db_write(store.db, add_fact, &fact));
    }
    db_close(store.db);
    overwrite(store.path, 4096 + 100, 0x5a, 3 * 4096);
    assert_refused(&store, REASON_STORE_CORRUPT, "");
    store_clear(&store);
}

task_test_real(only_its_owner_may_read_the_file)
{
    struct store store;
    struct stat info;
    store_init(&store);
    store_open(&store);
    assert_int_equal(stat(store.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    db_close(store.db);
    store_clear(&store);
}

/* --- other processes ----------------------------------------------------------------------------
 */

/* Runs fn on a loop of its own in a child, which tells through the pipe; returns its reading end.
 */
static pid_t start_child(void (*fn)(void *arg), struct store *store, int *tells)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        *tells = ends[1];
        struct loop *loop = loop_new();
        task_spawn(loop, NULL, fn, store);
        loop_run(loop);
        _exit(0);
    }
    close(ends[1]);
    *tells = ends[0];
    return child;
}

static int tell;

static void say(int64_t number)
{
    if (write(tell, &number, sizeof(number)) != (ssize_t)sizeof(number)) {
        _exit(2);
    }
}

static void hold_store(void *arg)
{
    struct store *store = arg;
    struct status s = store_try(store, ARRAY_LEN(schema));
    say((int64_t)s.code);
    s = task_sleep_ms(600000);
    say((int64_t)s.code);
}

static bool hear(int fd, int64_t *number)
{
    return read(fd, number, sizeof(*number)) == (ssize_t)sizeof(*number);
}

static struct store shared;

task_test_real(a_store_that_another_process_holds)
{
    assert_refused(&shared, REASON_STORE_FAILED, "open in another process");
}

task_test_real(a_store_that_nobody_holds_any_more)
{
    store_open(&shared);
    assert_int_equal(count(&shared), 0);
    db_close(shared.db);
}

static void test_a_store_has_one_process(void **state)
{
    int64_t code = -1;
    store_init(&shared);
    pid_t child = start_child(hold_store, &shared, &tell);
    assert_true(hear(tell, &code));
    assert_int_equal(code, STATUS_OK);
    a_store_that_another_process_holds(state);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(tell);
    a_store_that_nobody_holds_any_more(state);
    store_clear(&shared);
}

#define CRASHES       20
#define CRASHER_TASKS 16
static int64_t next_id;

static void write_and_tell(void *arg)
{
    struct store *store = arg;
    for (;;) {
        int64_t id = next_id++;
        if (!status_ok(add(store, id))) {
            _exit(3);
        }
        say(id);
    }
}

static void crasher(void *arg)
{
    struct store *store = arg;
    if (!status_ok(store_try(store, ARRAY_LEN(schema)))) {
        _exit(4);
    }
    for (int i = 0; i < CRASHER_TASKS; i++) {
        task_spawn(task_loop(), NULL, write_and_tell, store);
    }
}

struct fact_ids {
    const int64_t *ids;
    size_t n;
    size_t found;
};

static struct status find_facts(struct db_tx *tx, void *arg)
{
    struct fact_ids *wanted = arg;
    for (size_t i = 0; i < wanted->n; i++) {
        CLEANUP(db_end) struct db_rows *rows = NULL;
        bool more;
        TRY(db_query(tx, "SELECT text FROM fact WHERE id = ?", DB_BIND(DB_INT(wanted->ids[i])),
                     &rows));
        TRY(db_row(rows, &more));
        wanted->found += more && span_eq(db_bytes(rows, 0), SPAN("text"));
    }
    return STATUS_SUCCESS;
}

static struct fact_ids acknowledged;

task_test_real(every_acknowledged_write_is_there)
{
    store_open(&shared);
    acknowledged.found = 0;
    assert_status_ok(db_read(shared.db, find_facts, &acknowledged));
    assert_int_equal(acknowledged.found, acknowledged.n);
    db_close(shared.db);
}

static void test_a_killed_writer_loses_nothing_it_acknowledged(void **state)
{
    static int64_t ids[200000];
    uint32_t seed = 11;
    size_t n = 0;
    store_init(&shared);
    for (int crash = 0; crash < CRASHES; crash++) {
        next_id = (int64_t)crash * 1000000;
        pid_t child = start_child(crasher, &shared, &tell);
        size_t until = n + 1 + harness_random(&seed) % 400;
        while (n < until) {
            assert_true(hear(tell, &ids[n]));
            n++;
        }
        kill(child, SIGKILL);
        int how = 0;
        waitpid(child, &how, 0);
        assert_true(WIFSIGNALED(how));
        while (n < ARRAY_LEN(ids) && hear(tell, &ids[n])) {
            n++;
        }
        close(tell);
        acknowledged = (struct fact_ids){.ids = ids, .n = n};
        every_acknowledged_write_is_there(state);
    }
    store_clear(&shared);
}

/* --- a full disk --------------------------------------------------------------------------------
 */

static struct status add_ballast(struct db_tx *tx, void *arg)
{
    struct fact *fact = arg;
    return db_exec(tx, "INSERT INTO fact (id, text, raw) VALUES (?, '', zeroblob(65536))",
                   DB_BIND(DB_INT(fact->id)), NULL);
}

/* Until it is full; with another file out of the way writing goes on. */
static void fill_disk(void *arg)
{
    struct store *store = arg;
    struct status s = store_try(store, ARRAY_LEN(schema));
    if (status_ok(s)) {
        s = add(store, 1);
    }
    for (int64_t id = 2; status_ok(s) && id < 1000; id++) {
        struct fact fact = {.id = id};
        s = db_write(store->db, add_ballast, &fact);
    }
    say(s.reason);
    int64_t before = -1, after = -1;
    s = db_read(store->db, count_facts, &before);
    say(status_ok(s) ? before : -1);
    char ballast[112];
    snprintf(ballast, sizeof(ballast), "%s/ballast", store->folder);
    unlink(ballast);
    say(add(store, 5000).reason);
    s = db_read(store->db, count_facts, &after);
    say(status_ok(s) ? after : -1);
    db_close(store->db);
    say(store_try(store, ARRAY_LEN(schema)).reason);
    db_close(store->db);
    loop_stop(task_loop());
}

/* A small file system of the child's own, where it may have one; half of it is a file that goes
 * away later. */
static bool mount_small(const char *folder)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=4m") == 0;
}

static void fill_small_disk(void *arg)
{
    struct store *store = arg;
    char ballast[112];
    snprintf(ballast, sizeof(ballast), "%s/ballast", store->folder);
    if (!mount_small(store->folder)) {
        say(-1);
        _exit(0);
    }
    FILE *file = fopen(ballast, "wb");
    for (int i = 0; i < 1 << 20; i++) {
        fputc('x', file);
    }
    fclose(file);
    fill_disk(store);
}

static void test_a_full_disk_is_said_and_survived(void **state)
{
    (void)state;
    const int64_t wanted[] = {REASON_STORE_FULL, 0, REASON_NONE, 0, REASON_NONE};
    int64_t told[ARRAY_LEN(wanted)] = {0};
    store_init(&shared);
    pid_t child = start_child(fill_small_disk, &shared, &tell);
    size_t n = 0;
    while (n < ARRAY_LEN(told) && hear(tell, &told[n])) {
        n++;
    }
    waitpid(child, NULL, 0);
    close(tell);
    store_clear(&shared);
    if (n == 1 && told[0] == -1) {
        print_message("# SKIPPED: this user may not mount a small file system\n");
        skip();
    }
    assert_int_equal(n, ARRAY_LEN(wanted));
    /* What was acknowledged before is still there, and what was added after. */
    assert_true(told[1] > 2);
    assert_int_equal(told[3], told[1] + 1);
    told[1] = told[3] = 0;
    assert_memory_equal(told, wanted, sizeof(wanted));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(values_come_back_as_they_were),
    cmocka_unit_test(jobs_of_one_commit_fail_alone),
    cmocka_unit_test(jobs_wait_for_their_commit_and_share_it),
    cmocka_unit_test(a_failed_sync_ends_acceptance_until_the_store_is_opened_again),
    cmocka_unit_test(foreign_keys_hold),
    cmocka_unit_test(a_cancelled_task_begins_nothing_and_waits_for_what_it_began),
    cmocka_unit_test(the_queue_is_bounded_and_closing_answers_it),
    cmocka_unit_test(schemas_grow_and_newer_ones_are_refused),
    cmocka_unit_test(what_cannot_be_a_store_is_refused_by_name),
    cmocka_unit_test(damage_is_found_at_start),
    cmocka_unit_test(only_its_owner_may_read_the_file),
    cmocka_unit_test(test_a_store_has_one_process),
    cmocka_unit_test(test_a_killed_writer_loses_nothing_it_acknowledged),
    cmocka_unit_test(test_a_full_disk_is_said_and_survived),
};

HARNESS_MAIN(tests)
