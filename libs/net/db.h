/*
 * db.h -- SQLite on the disk thread.
 *
 * Floor 3. SQLite is in db.c only. One connection writes and checkpoints, on the disk thread, in
 * WAL mode with synchronous=FULL; jobs that arrive while a commit runs share the next one (group
 * commit), each in a savepoint of its own, and are answered only after the commit. A job function
 * runs on the disk thread, touches only its own argument and the transaction, and must not park.
 *
 * Reads run on the same connection between two commits: they see what is committed and nobody has
 * to think of checkpoints racing commits. A read holds up the writes behind it, so it is bounded
 * (LIMIT). The file is locked for this process as long as it is open, also against the sqlite3
 * shell. A commit whose fsync failed, or damage, ends all later jobs with the same status: what is
 * on the disk is known only after a restart.
 */
#ifndef PRISM_NET_DB_H
#define PRISM_NET_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "loop/loop.h"

struct db;
struct db_tx;

struct db_options {
    const char *path;          /* its directory must exist */
    const char *const *schema; /* one script per version; user_version counts those that ran */
    size_t n_schema;
    size_t queue_most;   /* jobs waiting, more are refused (OVERLOADED); 0: 4096 */
    struct arena *arena; /* for the details of db_open's failures */
};

/* Opens, checks (quick_check), migrates; blocks, so before the loop runs. The detail names the
 * path. STORE_FAILED, STORE_CORRUPT, STORE_FULL; a store held by another process: STORE_FAILED. */
struct status db_open(struct loop *loop, const struct db_options *options,
                      struct db **out) NODISCARD;

/* Waits for the queue, checkpoints, closes, frees. */
void db_close(struct db *db) PARKS;

/* Runs fn inside a transaction that is committed before this returns OK, or rolled back. A task
 * that is cancelled does not begin, and waits for what it began. */
struct status db_write(struct db *db, struct status (*fn)(struct db_tx *tx, void *arg),
                       void *arg) NODISCARD PARKS;

/* Runs fn against the committed state. */
struct status db_read(struct db *db, struct status (*fn)(struct db_tx *tx, void *arg),
                      void *arg) NODISCARD PARKS;

/* --- inside a job -------------------------------------------------------------------------------
 */

/* Binds by position: DB_INT(i64), DB_TEXT(span), DB_BLOB(span), DB_NULL. */
struct db_value {
    enum db_type {
        DB_TYPE_NULL,
        DB_TYPE_INT,
        DB_TYPE_REAL,
        DB_TYPE_TEXT,
        DB_TYPE_BLOB,
    } type;
    union {
        int64_t integer;
        double real;
        struct span bytes;
    };
};

#define DB_NULL    ((struct db_value){.type = DB_TYPE_NULL})
#define DB_INT(i)  ((struct db_value){.type = DB_TYPE_INT, .integer = (int64_t)(i)})
#define DB_REAL(r) ((struct db_value){.type = DB_TYPE_REAL, .real = (r)})
#define DB_TEXT(s) ((struct db_value){.type = DB_TYPE_TEXT, .bytes = (s)})
#define DB_BLOB(s) ((struct db_value){.type = DB_TYPE_BLOB, .bytes = (s)})
#define DB_BIND(...)                                                                               \
    (const struct db_value[]){__VA_ARGS__},                                                        \
        sizeof((struct db_value[]){__VA_ARGS__}) / sizeof(struct db_value)

/* A statement without rows; sql static (statements are prepared once). *changes may be NULL. What
 * does not compile is a bug and aborts. */
struct status db_exec(struct db_tx *tx, const char *sql, const struct db_value *values, size_t n,
                      size_t *changes) NODISCARD;

/* Rows: begin, then db_row until it says no; db_end always. Column memory is valid until the next
 * db_row: copy it (arena). */
struct db_rows;
struct status db_query(struct db_tx *tx, const char *sql, const struct db_value *values, size_t n,
                       struct db_rows **out) NODISCARD;
struct status db_row(struct db_rows *rows, bool *more) NODISCARD;
int64_t db_int(const struct db_rows *rows, int column);
double db_real(const struct db_rows *rows, int column);
struct span db_bytes(const struct db_rows *rows, int column); /* text or blob; empty for NULL */
bool db_is_null(const struct db_rows *rows, int column);
void db_end(struct db_rows **rows); /* for CLEANUP; takes NULL inside */

#endif
