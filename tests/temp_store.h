/*
 * temp_store.h -- a store of libs/net/db in a folder that goes away, with two tables to try.
 *
 * All of it runs in tasks; what fails ends the test.
 */
#ifndef PRISM_TESTS_TEMP_STORE_H
#define PRISM_TESTS_TEMP_STORE_H

#include "net/db.h"
#include "task_test.h"

#define TEMP_STORE_VERSIONS 2 /* of the schema: the table fact, then the table note */

struct temp_store {
    char folder[64];
    char path[96];
    size_t queue_most; /* 0: the default */
    struct arena *arena;
    struct db *db;
};

void temp_store_init(struct temp_store *store); /* no file yet */
struct status temp_store_try(struct temp_store *store, size_t versions);
void temp_store_open(struct temp_store *store);
void temp_store_clear(struct temp_store *store); /* after db_close; removes the folder */

struct temp_fact {
    int64_t id;
    struct span text;
    struct status after; /* what the job returns at its end */
};

/* A job for db_write. */
struct status temp_store_add_fact(struct db_tx *tx, void *fact);

/* Writes a fact with the text "text". */
struct status temp_store_add(struct temp_store *store, int64_t id) PARKS;

/* A job for db_read, into an int64_t; and its result. */
struct status temp_store_count_facts(struct db_tx *tx, void *count);
int64_t temp_store_count(struct temp_store *store) PARKS;

#endif
