/* The store among processes: one owner, killed writers, a full disk. */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temp_store.h"

/* Runs fn on a loop of its own in a child, which tells through the pipe; returns its reading end.
 */
static pid_t start_child(void (*fn)(void *arg), struct temp_store *store, int *tells)
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
    struct temp_store *store = arg;
    struct status s = temp_store_try(store, TEMP_STORE_VERSIONS);
    say((int64_t)s.code);
    s = task_sleep_ms(600000);
    say((int64_t)s.code);
}

static bool hear(int fd, int64_t *number)
{
    return read(fd, number, sizeof(*number)) == (ssize_t)sizeof(*number);
}

static struct temp_store shared;

task_test_real(a_store_that_another_process_holds)
{
    struct status s = temp_store_try(&shared, TEMP_STORE_VERSIONS);
    assert_status(s, REASON_STORE_FAILED);
    assert_non_null(strstr(s.detail, shared.path));
    assert_non_null(strstr(s.detail, "open in another process"));
}

task_test_real(a_store_that_nobody_holds_any_more)
{
    temp_store_open(&shared);
    assert_int_equal(temp_store_count(&shared), 0);
    db_close(shared.db);
}

static void test_a_store_has_one_process(void **state)
{
    int64_t code = -1;
    temp_store_init(&shared);
    pid_t child = start_child(hold_store, &shared, &tell);
    assert_true(hear(tell, &code));
    assert_int_equal(code, STATUS_OK);
    a_store_that_another_process_holds(state);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(tell);
    a_store_that_nobody_holds_any_more(state);
    temp_store_clear(&shared);
}

#define CRASHES       20
#define CRASHER_TASKS 16
static int64_t next_id;

/* Of 16 KB, so that the log is checkpointed every few commits. */
static struct status add_heavy(struct db_tx *tx, void *id)
{
    return db_exec(tx, "INSERT INTO fact (id, text, raw) VALUES (?, 'text', zeroblob(16384))",
                   DB_BIND(DB_INT(*(int64_t *)id)), NULL);
}

static void write_and_tell(void *arg)
{
    struct temp_store *store = arg;
    for (;;) {
        int64_t id = next_id++;
        if (!status_ok(db_write(store->db, add_heavy, &id))) {
            _exit(3);
        }
        say(id);
    }
}

static void crasher(void *arg)
{
    struct temp_store *store = arg;
    if (!status_ok(temp_store_try(store, TEMP_STORE_VERSIONS))) {
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
    temp_store_open(&shared);
    acknowledged.found = 0;
    assert_status_ok(db_read(shared.db, find_facts, &acknowledged));
    assert_int_equal(acknowledged.found, acknowledged.n);
    db_close(shared.db);
}

/* Of the file itself, which only checkpoints write to. */
static off_t file_size(const struct temp_store *store)
{
    struct stat about;
    return stat(store->path, &about) == 0 ? about.st_size : 0;
}

/* Trap 17: killed at any moment, checkpoints included, and checked (quick_check) at each start. */
static void test_a_killed_writer_loses_nothing_it_acknowledged(void **state)
{
    static int64_t ids[200000];
    uint32_t seed = 11;
    size_t n = 0, checkpointed = 0;
    temp_store_init(&shared);
    for (int crash = 0; crash < CRASHES; crash++) {
        next_id = (int64_t)crash * 1000000;
        off_t before = file_size(&shared);
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
        checkpointed += file_size(&shared) > before;
        acknowledged = (struct fact_ids){.ids = ids, .n = n};
        every_acknowledged_write_is_there(state);
    }
    assert_true(checkpointed > 1); /* the first one made the file */
    print_message("# %d kills, %zu facts, checkpoints before %zu of the kills\n", CRASHES, n,
                  checkpointed);
    temp_store_clear(&shared);
}

/* --- a full disk --------------------------------------------------------------------------------
 */

static struct status add_ballast(struct db_tx *tx, void *arg)
{
    struct temp_fact *fact = arg;
    return db_exec(tx, "INSERT INTO fact (id, text, raw) VALUES (?, '', zeroblob(65536))",
                   DB_BIND(DB_INT(fact->id)), NULL);
}

/* Until it is full; with another file out of the way writing goes on. */
static void fill_disk(void *arg)
{
    struct temp_store *store = arg;
    struct status s = temp_store_try(store, TEMP_STORE_VERSIONS);
    if (status_ok(s)) {
        s = temp_store_add(store, 1);
    }
    for (int64_t id = 2; status_ok(s) && id < 1000; id++) {
        struct temp_fact fact = {.id = id};
        s = db_write(store->db, add_ballast, &fact);
    }
    say(s.reason);
    int64_t before = -1, after = -1;
    s = db_read(store->db, temp_store_count_facts, &before);
    say(status_ok(s) ? before : -1);
    char ballast[112];
    snprintf(ballast, sizeof(ballast), "%s/ballast", store->folder);
    unlink(ballast);
    say(temp_store_add(store, 5000).reason);
    s = db_read(store->db, temp_store_count_facts, &after);
    say(status_ok(s) ? after : -1);
    db_close(store->db);
    say(temp_store_try(store, TEMP_STORE_VERSIONS).reason);
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
    struct temp_store *store = arg;
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
    temp_store_init(&shared);
    pid_t child = start_child(fill_small_disk, &shared, &tell);
    size_t n = 0;
    while (n < ARRAY_LEN(told) && hear(tell, &told[n])) {
        n++;
    }
    waitpid(child, NULL, 0);
    close(tell);
    temp_store_clear(&shared);
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
    cmocka_unit_test(test_a_store_has_one_process),
    cmocka_unit_test(test_a_killed_writer_loses_nothing_it_acknowledged),
    cmocka_unit_test(test_a_full_disk_is_said_and_survived),
};

HARNESS_MAIN(tests)
