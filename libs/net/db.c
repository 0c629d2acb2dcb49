#include "net/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "loop/task.h"
#include "net/db_core.h"

struct job {
    struct op op;
    struct db *db;
    struct status (*fn)(struct db_tx *tx, void *arg);
    void *arg;
    bool writes;
    struct status result;
};

struct db_tx {
    struct db *db;
    bool writes;
    size_t open; /* db_rows not ended */
    struct status fault;
};

struct db_rows {
    struct db_tx *tx;
    sqlite3_stmt *statement;
};

/* --- errors -------------------------------------------------------------------------------------
 */

/* What the system said last: SQLite keeps it with the connection where a file could not be opened,
 * with the file where the write-ahead log could not be written. */
static int system_error(sqlite3 *sql)
{
    int error = sqlite3_system_errno(sql);
    sqlite3_file *log = NULL;
    if (error == 0 &&
        sqlite3_file_control(sql, NULL, SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
        log != NULL && log->pMethods != NULL) {
        (void)log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
    }
    return error;
}

enum reason db_reason(sqlite3 *sql, int code)
{
    int system = sql != NULL ? system_error(sql) : 0;
    switch (code & 0xff) {
    case SQLITE_FULL:
        return REASON_STORE_FULL;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return REASON_STORE_CORRUPT;
    case SQLITE_IOERR:
        return system == ENOSPC || system == EDQUOT || system == EFBIG ? REASON_STORE_FULL
                                                                       : REASON_STORE_FAILED;
    default:
        return REASON_STORE_FAILED;
    }
}

/* The texts of sqlite3_errstr are static, those of sqlite3_errmsg are not. */
static struct status failure(struct db *db, int code)
{
    check((code & 0xff) != SQLITE_MISUSE);
    struct status s = status_of(db_reason(db->sql, code), sqlite3_errstr(code));
    bool lost = code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC ||
                s.reason == REASON_STORE_CORRUPT;
    if (lost && status_ok(db->broken)) {
        db->broken = s;
    }
    return s;
}

static struct status fail(struct db_tx *tx, int code)
{
    tx->fault = failure(tx->db, code);
    return tx->fault;
}

/* --- statements ---------------------------------------------------------------------------------
 */

static struct status prepare(struct db_tx *tx, const char *text, sqlite3_stmt **out)
{
    struct db *db = tx->db;
    struct span key = span_of((const char *)&text, sizeof(text));
    sqlite3_stmt *statement = map_get(db->statements, key);
    if (statement == NULL) {
        int code =
            sqlite3_prepare_v3(db->sql, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
        if (code == SQLITE_ERROR) {
            check_failed(__FILE__, __LINE__, sqlite3_errmsg(db->sql));
        }
        if (code != SQLITE_OK) {
            return fail(tx, code);
        }
        map_set(db->statements, key, statement);
    }
    check(!sqlite3_stmt_busy(statement));
    *out = statement;
    return STATUS_SUCCESS;
}

static void release(sqlite3_stmt *statement)
{
    sqlite3_reset(statement); /* repeats the error of the last step, which is known */
    sqlite3_clear_bindings(statement);
}

static int bind(sqlite3_stmt *statement, int at, const struct db_value *value)
{
    const char *bytes = value->bytes.at != NULL ? value->bytes.at : "";
    switch (value->type) {
    case DB_TYPE_NULL:
        return sqlite3_bind_null(statement, at);
    case DB_TYPE_INT:
        return sqlite3_bind_int64(statement, at, value->integer);
    case DB_TYPE_REAL:
        return sqlite3_bind_double(statement, at, value->real);
    case DB_TYPE_TEXT:
        return sqlite3_bind_text64(statement, at, bytes, value->bytes.len, SQLITE_TRANSIENT,
                                   SQLITE_UTF8);
    case DB_TYPE_BLOB:
        return sqlite3_bind_blob64(statement, at, bytes, value->bytes.len, SQLITE_TRANSIENT);
    }
    return SQLITE_MISUSE;
}

static struct status begin(struct db_tx *tx, const char *text, const struct db_value *values,
                           size_t n, sqlite3_stmt **out)
{
    sqlite3_stmt *statement = NULL;
    TRY(prepare(tx, text, &statement));
    check(tx->writes || sqlite3_stmt_readonly(statement));
    check((size_t)sqlite3_bind_parameter_count(statement) == n);
    for (size_t i = 0; i < n; i++) {
        int code = bind(statement, (int)i + 1, &values[i]);
        if (code != SQLITE_OK) {
            release(statement);
            return fail(tx, code);
        }
    }
    *out = statement;
    return STATUS_SUCCESS;
}

struct status db_exec(struct db_tx *tx, const char *sql, const struct db_value *values, size_t n,
                      size_t *changes)
{
    sqlite3_stmt *statement = NULL;
    TRY(begin(tx, sql, values, n, &statement));
    int code;
    do {
        code = sqlite3_step(statement);
    } while (code == SQLITE_ROW);
    release(statement);
    if (code != SQLITE_DONE) {
        return fail(tx, code);
    }
    if (changes != NULL) {
        *changes = (size_t)sqlite3_changes64(tx->db->sql);
    }
    return STATUS_SUCCESS;
}

struct status db_query(struct db_tx *tx, const char *sql, const struct db_value *values, size_t n,
                       struct db_rows **out)
{
    sqlite3_stmt *statement = NULL;
    TRY(begin(tx, sql, values, n, &statement));
    struct db_rows *rows = ALLOC(struct db_rows);
    rows->tx = tx;
    rows->statement = statement;
    tx->open++;
    *out = rows;
    return STATUS_SUCCESS;
}

struct status db_row(struct db_rows *rows, bool *more)
{
    int code = sqlite3_step(rows->statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return fail(rows->tx, code);
    }
    *more = code == SQLITE_ROW;
    return STATUS_SUCCESS;
}

int64_t db_int(const struct db_rows *rows, int column)
{
    return sqlite3_column_int64(rows->statement, column);
}

double db_real(const struct db_rows *rows, int column)
{
    return sqlite3_column_double(rows->statement, column);
}

struct span db_bytes(const struct db_rows *rows, int column)
{
    const char *at = sqlite3_column_blob(rows->statement, column);
    return span_of(at, (size_t)sqlite3_column_bytes(rows->statement, column));
}

bool db_is_null(const struct db_rows *rows, int column)
{
    return sqlite3_column_type(rows->statement, column) == SQLITE_NULL;
}

void db_end(struct db_rows **rows)
{
    if (*rows == NULL) {
        return;
    }
    release((*rows)->statement);
    (*rows)->tx->open--;
    free(*rows);
    *rows = NULL;
}

/* --- the disk thread ----------------------------------------------------------------------------
 */

static struct job *job_of(struct op *op)
{
    return CONTAINER_OF(op, struct job, op);
}

static struct status control(struct db *db, const char *text)
{
    struct db_tx tx = {.db = db, .writes = true};
    return db_exec(&tx, text, NULL, 0, NULL);
}

static void run(struct job *job, struct db_tx *tx)
{
    job->result = job->fn(tx, job->arg);
    check(tx->open == 0);
}

/* What it returns is the state of the transaction; the job's own end is job->result. */
static struct status run_in_savepoint(struct db *db, struct job *job)
{
    TRY(control(db, "SAVEPOINT job"));
    struct db_tx tx = {.db = db, .writes = true};
    run(job, &tx);
    if (sqlite3_get_autocommit(db->sql) != 0) {
        /* A full disk or a failed write may end the whole transaction. */
        check(!status_ok(tx.fault));
        return tx.fault;
    }
    if (!status_ok(job->result)) {
        TRY(control(db, "ROLLBACK TO job"));
    }
    return control(db, "RELEASE job");
}

/* One commit for as many of the jobs as possible; returns those that were not begun because the
 * transaction was lost before their turn. */
static struct op *run_writes(struct db *db, struct op *first)
{
    struct op *rest = first;
    struct status s = status_ok(db->broken) ? control(db, "BEGIN IMMEDIATE") : db->broken;
    bool begun = status_ok(s);
    while (status_ok(s) && rest != NULL) {
        struct job *job = job_of(rest);
        rest = rest->next;
        s = run_in_savepoint(db, job);
    }
    if (status_ok(s)) {
        s = control(db, "COMMIT");
    }
    if (begun && sqlite3_get_autocommit(db->sql) == 0) {
        struct status rolled_back = control(db, "ROLLBACK");
        if (!status_ok(rolled_back) && status_ok(db->broken)) {
            db->broken = rolled_back;
        }
    }
    struct op *end = begun ? rest : NULL;
    struct op *next;
    for (struct op *op = first; op != end; op = next) {
        struct job *job = job_of(op);
        next = op->next;
        op_post(op, status_ok(job->result) ? s : job->result);
    }
    return end;
}

/* Answers the reads of a batch and returns its writes. */
static struct op *run_reads(struct db *db, struct op *batch)
{
    struct op *writes = NULL;
    struct op **last = &writes;
    struct op *next;
    for (struct op *op = batch; op != NULL; op = next) {
        struct job *job = job_of(op);
        next = op->next;
        if (job->writes) {
            op->next = NULL;
            *last = op;
            last = &op->next;
            continue;
        }
        struct db_tx tx = {.db = db};
        if (status_ok(db->broken)) {
            run(job, &tx);
        } else {
            job->result = db->broken;
        }
        op_post(op, job->result);
    }
    return writes;
}

/* The last connection that closes checkpoints and removes the write-ahead log. */
static void close_store(struct db *db)
{
    for (struct map_entry *e = map_first(db->statements); e != NULL; e = map_next(e)) {
        sqlite3_finalize(map_value(e));
    }
    map_free(db->statements);
    check(sqlite3_close(db->sql) == SQLITE_OK);
}

void db_disk_main(void *arg)
{
    struct db *db = arg;
    struct op *batch;
    while ((batch = mailbox_wait(db->jobs)) != NULL) {
        struct op *writes = run_reads(db, batch);
        while (writes != NULL) {
            writes = run_writes(db, writes);
        }
    }
    close_store(db);
    op_post(&db->ended, STATUS_SUCCESS);
}

/* --- the loop's side ----------------------------------------------------------------------------
 */

static void job_ended(struct op *op)
{
    job_of(op)->db->queued--;
}

static struct status submit(struct db *db, bool writes,
                            struct status (*fn)(struct db_tx *tx, void *arg), void *arg)
{
    TRY(task_status());
    if (db->closing) {
        return status_of(REASON_SHUTTING_DOWN, NULL);
    }
    if (db->queued >= db->queue_most) {
        return status_of(REASON_OVERLOADED, "too many jobs wait for the store");
    }
    struct job job = {.db = db, .fn = fn, .arg = arg, .writes = writes};
    op_init(&job.op, db->loop, NULL, job_ended);
    db->queued++;
    /* The disk thread wakes by itself: mailbox_wait. */
    bool was_empty = mailbox_put(db->jobs, &job.op);
    (void)was_empty;
    return op_wait_firmly(&job.op);
}

struct status db_write(struct db *db, struct status (*fn)(struct db_tx *tx, void *arg), void *arg)
{
    return submit(db, true, fn, arg);
}

struct status db_read(struct db *db, struct status (*fn)(struct db_tx *tx, void *arg), void *arg)
{
    return submit(db, false, fn, arg);
}

void db_close(struct db *db)
{
    db->closing = true;
    mailbox_close(db->jobs);
    struct status ended = op_wait_firmly(&db->ended);
    check(status_ok(ended) && db->queued == 0);
    thread_join(db->thread);
    mailbox_free(db->jobs);
    free(db);
}
