#include "temp_store.h"

#include <unistd.h>

static const char *const schema[] = {
    "CREATE TABLE fact (id INTEGER PRIMARY KEY, text TEXT NOT NULL, raw BLOB, weight REAL);",
    "CREATE TABLE note (fact INTEGER NOT NULL REFERENCES fact (id), text TEXT);",
};

void temp_store_init(struct temp_store *store)
{
    *store = (struct temp_store){.arena = arena_new(1u << 20)};
    snprintf(store->folder, sizeof(store->folder), "/tmp/prism-test-db-XXXXXX");
    assert_non_null(mkdtemp(store->folder));
    snprintf(store->path, sizeof(store->path), "%s/store.db", store->folder);
}

struct status temp_store_try(struct temp_store *store, size_t versions)
{
    struct db_options options = {
        .path = store->path,
        .schema = schema,
        .n_schema = versions,
        .queue_most = store->queue_most,
        .arena = store->arena,
    };
    return db_open(task_loop(), &options, &store->db);
}

void temp_store_open(struct temp_store *store)
{
    assert_status_ok(temp_store_try(store, TEMP_STORE_VERSIONS));
}

void temp_store_clear(struct temp_store *store)
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

struct status temp_store_add_fact(struct db_tx *tx, void *arg)
{
    struct temp_fact *fact = arg;
    size_t changes = 0;
    TRY(db_exec(tx, "INSERT INTO fact (id, text, raw, weight) VALUES (?, ?, ?, ?)",
                DB_BIND(DB_INT(fact->id), DB_TEXT(fact->text), DB_NULL, DB_REAL(0.5)), &changes));
    assert_int_equal(changes, 1);
    return fact->after;
}

struct status temp_store_add(struct temp_store *store, int64_t id)
{
    struct temp_fact fact = {.id = id, .text = SPAN("text")};
    return db_write(store->db, temp_store_add_fact, &fact);
}

struct status temp_store_count_facts(struct db_tx *tx, void *arg)
{
    CLEANUP(db_end) struct db_rows *rows = NULL;
    bool more = false;
    TRY(db_query(tx, "SELECT count(*) FROM fact", NULL, 0, &rows));
    TRY(db_row(rows, &more));
    *(int64_t *)arg = db_int(rows, 0);
    return STATUS_SUCCESS;
}

int64_t temp_store_count(struct temp_store *store)
{
    int64_t n = -1;
    assert_status_ok(db_read(store->db, temp_store_count_facts, &n));
    return n;
}
