/*
 * db_core.h -- what db.c and db_open.c share; for nobody else.
 *
 * Floor 3. The loop's side hands jobs over in the mailbox; the connection is the disk thread's from
 * the moment that runs.
 */
#ifndef PRISM_NET_DB_CORE_H
#define PRISM_NET_DB_CORE_H

#include "base/map.h"
#include "loop/mailbox.h"
#include "net/db.h"

struct sqlite3;

struct db {
    struct loop *loop;
    struct mailbox *jobs;
    struct thread *thread;
    size_t queued; /* jobs not answered; loop thread */
    size_t queue_most;
    bool closing;
    struct op ended;
    struct sqlite3 *sql;    /* from here on: the disk thread's, once it runs */
    struct map *statements; /* prepared, by the address of their text */
    struct status broken;   /* why nothing more is accepted */
};

/* SQLite's result code and the errno behind it. */
enum reason db_reason(struct sqlite3 *sql, int code);

/* The disk thread: batch after batch until the mailbox is closed, then closes the connection. */
void db_disk_main(void *db);

#endif
