/*
 * state_file.h -- what a limiter knows, in one file that outlives the process.
 *
 * Floor 6, loop thread; opening blocks, writing does not. The file is mapped: what was written is
 * there for the next process, whenever this one is killed. It does not survive the machine: a file
 * of another run of it has clock times that mean nothing any more.
 *
 * It has two tables of places, each for one blob. A step puts its blobs and commits: after a kill
 * at any moment the next process finds all of them or none.
 *
 * After opening, blobs can be looked at as they were found. Where they are kept the file may be
 * written at once; else, or where it has grown, state_file_reset, put everything, state_file_seal.
 */
#ifndef PRISM_LIMITER_STATE_FILE_H
#define PRISM_LIMITER_STATE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "base/status.h"

#define STATE_FILE_NAME "limiter.state"
#define STATE_STEP_MOST 112 /* blobs in a step: all can be as large as blobs get */

enum state_found {
    STATE_KEPT,
    STATE_NONE,
    STATE_DAMAGED,
    STATE_OTHER_BOOT, /* whole, but of another run of the machine */
};

enum state_table {
    STATE_RESOURCES,
    STATE_RECORDS,
};

struct state_file_options {
    const char *folder;
    const char *boot; /* this run of the machine, at most 39 bytes */
    size_t resources; /* places, at least */
    size_t records;
};

struct state_file;

/* FILE_UNREADABLE, STORE_FULL, or STORE_FAILED when another process has it; detail in
 * error_text. */
struct status state_file_open(const struct state_file_options *options, char error_text[256],
                              struct state_file **out) NODISCARD;
void state_file_close(struct state_file *file); /* takes NULL */

enum state_found state_file_found(const struct state_file *file);
bool state_file_grown(const struct state_file *file); /* has fewer places than it will have */
size_t state_file_places(const struct state_file *file, enum state_table table); /* will have */

/* As found or last committed; empty: none. */
struct span state_file_get(const struct state_file *file, enum state_table table, size_t i);

/* --- a step: room and put for each blob, then commit -------------------------------------------
 */

uint8_t *state_file_room(struct state_file *file); /* for as much as a place takes */
void state_file_put(struct state_file *file, enum state_table table, size_t i, size_t len);
void state_file_commit(struct state_file *file);

/* --- beginning anew ----------------------------------------------------------------------------
 */

/* Forgets everything and has all its places; not valid for a next process until it is sealed. */
struct status state_file_reset(struct state_file *file, char error_text[256]) NODISCARD;
void state_file_seal(struct state_file *file);

#endif
