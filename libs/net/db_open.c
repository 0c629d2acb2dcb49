/* Opening a store: the file, its lock, its health, its schema. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/db_core.h"

#define APPLICATION_ID   0x5052534d /* "PRSM", in the file's header */
#define QUEUE_MOST       4096
#define LOCK_PATIENCE_MS 1000 /* for a predecessor that is just ending */

static struct status refuse(const struct db_options *options, enum reason reason, const char *why)
{
    return status_of(reason, options->arena != NULL
                                 ? arena_printf(options->arena, "%s: %s", options->path, why)
                                 : reason_text(reason));
}

static struct status refuse_code(struct db *db, const struct db_options *options, int code)
{
    const char *why = sqlite3_errmsg(db->sql);
    if ((code & 0xff) == SQLITE_BUSY) {
        why = "the store is open in another process";
    } else if ((code & 0xff) == SQLITE_CANTOPEN && sqlite3_system_errno(db->sql) != 0) {
        why = strerrordesc_np(sqlite3_system_errno(db->sql));
    }
    return refuse(options, db_reason(db->sql, code), why);
}

/* Runs a script; the first column of its last row as a number and, cut, as text. */
struct answer {
    int64_t number;
    char text[256];
};

static int take_answer(void *arg, int n, char **values, char **names)
{
    (void)names;
    struct answer *answer = arg;
    const char *text = n > 0 && values[0] != NULL ? values[0] : "";
    snprintf(answer->text, sizeof(answer->text), "%s", text);
    if (!span_parse_i64(span_str(text), &answer->number)) {
        answer->number = 0;
    }
    return 0;
}

static struct status ask(struct db *db, const struct db_options *options, const char *script,
                         struct answer *answer)
{
    struct answer ignored;
    int code = sqlite3_exec(db->sql, script, take_answer, answer != NULL ? answer : &ignored, NULL);
    return code == SQLITE_OK ? STATUS_SUCCESS : refuse_code(db, options, code);
}

/* Ours alone, and only for its owner's eyes. O_EXCL: closing a second descriptor of a file that is
 * open elsewhere in this process would drop its POSIX locks. */
static struct status create_file(const struct db_options *options)
{
    int fd = open(options->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        return STATUS_SUCCESS;
    }
    return errno == EEXIST ? STATUS_SUCCESS
                           : refuse(options,
                                    errno == ENOSPC || errno == EDQUOT ? REASON_STORE_FULL
                                                                       : REASON_STORE_FAILED,
                                    strerrordesc_np(errno));
}

static struct status connect_file(struct db *db, const struct db_options *options)
{
    struct answer mode = {0};
    TRY(create_file(options));
    int code =
        sqlite3_open_v2(options->path, &db->sql,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    check(db->sql != NULL);
    if (code != SQLITE_OK) {
        return refuse_code(db, options, code);
    }
    sqlite3_busy_timeout(db->sql, LOCK_PATIENCE_MS);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Exclusive before the log is opened: the lock is taken with the first read and kept. */
    TRY(ask(db, options, "PRAGMA locking_mode=EXCLUSIVE;", NULL));
    TRY(ask(db, options, "PRAGMA journal_mode=WAL;", &mode));
    if (strcmp(mode.text, "wal") != 0) {
        return refuse(options, REASON_STORE_FAILED, "the store cannot keep a write-ahead log here");
    }
    return ask(db, options,
               "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;", NULL);
}

static struct status examine(struct db *db, const struct db_options *options, size_t *version)
{
    struct answer id = {0}, objects = {0}, health = {0}, at = {0};
    TRY(ask(db, options, "PRAGMA quick_check(1);", &health));
    if (strcmp(health.text, "ok") != 0) {
        return refuse(options, REASON_STORE_CORRUPT, health.text);
    }
    TRY(ask(db, options, "PRAGMA application_id;", &id));
    TRY(ask(db, options, "SELECT count(*) FROM sqlite_schema;", &objects));
    TRY(ask(db, options, "PRAGMA user_version;", &at));
    if (id.number != APPLICATION_ID && (id.number != 0 || objects.number != 0)) {
        return refuse(options, REASON_STORE_FAILED, "the file is another program's database");
    }
    if (at.number < 0 || (uint64_t)at.number > options->n_schema) {
        return refuse(options, REASON_STORE_FAILED, "the store was written by a newer version");
    }
    *version = (size_t)at.number;
    return STATUS_SUCCESS;
}

static struct status migrate(struct db *db, const struct db_options *options, size_t version)
{
    for (; version < options->n_schema; version++) {
        char mark[128];
        snprintf(mark, sizeof(mark), "PRAGMA application_id=%d; PRAGMA user_version=%zu; COMMIT;",
                 APPLICATION_ID, version + 1);
        TRY(ask(db, options, "BEGIN IMMEDIATE;", NULL));
        TRY(ask(db, options, options->schema[version], NULL));
        TRY(ask(db, options, mark, NULL));
    }
    return STATUS_SUCCESS;
}

struct status db_open(struct loop *loop, const struct db_options *options, struct db **out)
{
    struct db *db = ALLOC(struct db);
    size_t version = 0;
    db->loop = loop;
    db->queue_most = options->queue_most > 0 ? options->queue_most : QUEUE_MOST;
    struct status s = connect_file(db, options);
    if (status_ok(s)) {
        s = examine(db, options, &version);
    }
    if (status_ok(s)) {
        s = migrate(db, options, version);
    }
    if (!status_ok(s)) {
        sqlite3_close(db->sql); /* also ends a migration that did not get through */
        free(db);
        return s;
    }
    db->statements = map_new();
    db->jobs = mailbox_new();
    op_init(&db->ended, loop, NULL, NULL);
    db->thread = thread_start("disk", db_disk_main, db);
    *out = db;
    return STATUS_SUCCESS;
}
