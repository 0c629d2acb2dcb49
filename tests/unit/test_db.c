/* The store: values, commits, refusals. */
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "temp_store.h"

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
    struct temp_store store;
    size_t rows_read = 0;
    temp_store_init(&store);
    temp_store_open(&store);
    assert_status_ok(db_write(store.db, write_values, NULL));
    assert_status_ok(db_read(store.db, read_values, &rows_read));
    assert_int_equal(rows_read, 2);
    db_close(store.db);
    temp_store_clear(&store);
}

struct writer {
    struct temp_store *store;
    struct temp_fact fact;
    struct status result;
    bool ended;
};

static void writer_main(void *arg)
{
    struct writer *writer = arg;
    writer->result = db_write(writer->store->db, temp_store_add_fact, &writer->fact);
    writer->ended = true;
}

#define WRITERS 64

/* Jobs share commits; each has its savepoint: one that fails takes nothing else with it. */
task_test_real(jobs_of_one_commit_fail_alone)
{
    struct temp_store store;
    static struct writer writers[WRITERS];
    struct group group;
    temp_store_init(&store);
    temp_store_open(&store);
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
    assert_int_equal(temp_store_count(&store), WRITERS / 2);
    db_close(store.db);
    temp_store_open(&store);
    assert_int_equal(temp_store_count(&store), WRITERS / 2);
    db_close(store.db);
    temp_store_clear(&store);
}

/* The first commit is held up; what arrives meanwhile shares the second. */
task_test_real(jobs_wait_for_their_commit_and_share_it)
{
    struct temp_store store;
    static struct writer writers[WRITERS];
    temp_store_init(&store);
    temp_store_open(&store);
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
    assert_int_equal(temp_store_count(&store), WRITERS);
    db_close(store.db);
    temp_store_clear(&store);
}

task_test_real(a_failed_sync_ends_acceptance_until_the_store_is_opened_again)
{
    struct temp_store store;
    temp_store_init(&store);
    temp_store_open(&store);
    assert_status_ok(temp_store_add(&store, 1));
    syncs_fail = true;
    assert_status(temp_store_add(&store, 2), REASON_STORE_FAILED);
    syncs_fail = false;
    assert_status(temp_store_add(&store, 3), REASON_STORE_FAILED);
    int64_t n;
    assert_status(db_read(store.db, temp_store_count_facts, &n), REASON_STORE_FAILED);
    db_close(store.db);
    temp_store_open(&store);
    assert_status_ok(temp_store_add(&store, 3));
    assert_in_range(temp_store_count(&store), 2, 3);
    db_close(store.db);
    temp_store_clear(&store);
}

static struct status add_orphan(struct db_tx *tx, void *arg)
{
    (void)arg;
    return db_exec(tx, "INSERT INTO note (fact, text) VALUES (7, 'orphan')", NULL, 0, NULL);
}

task_test_real(foreign_keys_hold)
{
    struct temp_store store;
    temp_store_init(&store);
    temp_store_open(&store);
    struct status s = db_write(store.db, add_orphan, NULL);
    assert_status(s, REASON_STORE_FAILED);
    assert_string_equal(s.detail, "constraint failed");
    db_close(store.db);
    temp_store_clear(&store);
}

task_test_real(a_cancelled_task_begins_nothing_and_waits_for_what_it_began)
{
    struct temp_store store;
    struct writer writer = {.store = &store, .fact = {.id = 1, .text = SPAN("x")}};
    temp_store_init(&store);
    temp_store_open(&store);
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
    assert_int_equal(temp_store_count(&store), 1);
    db_close(store.db);
    temp_store_clear(&store);
}

task_test_real(the_queue_is_bounded_and_closing_answers_it)
{
    struct temp_store store;
    static struct writer writers[8];
    temp_store_init(&store);
    store.queue_most = 4;
    temp_store_open(&store);
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
    temp_store_open(&store);
    assert_int_equal(temp_store_count(&store), 4);
    db_close(store.db);
    temp_store_clear(&store);
}

task_test_real(schemas_grow_and_newer_ones_are_refused)
{
    struct temp_store store;
    temp_store_init(&store);
    assert_status_ok(temp_store_try(&store, 1));
    assert_status_ok(temp_store_add(&store, 1));
    db_close(store.db);
    temp_store_open(&store);
    assert_int_equal(temp_store_count(&store), 1);
    db_close(store.db);
    struct status s = temp_store_try(&store, 1);
    assert_status(s, REASON_STORE_FAILED);
    assert_non_null(strstr(s.detail, store.path));
    assert_non_null(strstr(s.detail, "newer version"));
    temp_store_clear(&store);
}

static void assert_refused(struct temp_store *store, enum reason reason, const char *why)
{
    struct status s = temp_store_try(store, TEMP_STORE_VERSIONS);
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
    struct temp_store store;
    temp_store_init(&store);
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

    temp_store_open(&store);
    db_close(store.db);
    overwrite(store.path, 68, 7, 4); /* application_id */
    assert_refused(&store, REASON_STORE_FAILED, "another program's");
    temp_store_clear(&store);
}

task_test_real(damage_is_found_at_start)
{
    struct temp_store store;
    temp_store_init(&store);
    temp_store_open(&store);
    for (int i = 0; i < 200; i++) {
        struct temp_fact fact = {.id = i,
                                 .text = SPAN("a text that is long enough to need some pages "
                                              "of its own when there are many of it")};
        assert_status_ok(db_write(store.db, temp_store_add_fact, &fact));
    }
    db_close(store.db);
    overwrite(store.path, 4096 + 100, 0x5a, 3 * 4096);
    assert_refused(&store, REASON_STORE_CORRUPT, "");
    temp_store_clear(&store);
}

task_test_real(only_its_owner_may_read_the_file)
{
    struct temp_store store;
    struct stat info;
    temp_store_init(&store);
    temp_store_open(&store);
    assert_int_equal(stat(store.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    db_close(store.db);
    temp_store_clear(&store);
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
};

HARNESS_MAIN(tests)
