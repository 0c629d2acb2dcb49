/*
 * faulty_disk.h -- a disk that fails when it is told to, under every SQLite store of this process.
 *
 * SQLite's own way to be tested: a file system of ours in front of the real one. What is counted
 * are commits, by what reaches the write-ahead log.
 */
#ifndef PRISM_TESTS_FAULTY_DISK_H
#define PRISM_TESTS_FAULTY_DISK_H

#include <stdbool.h>
#include <stddef.h>

/* Before the first store is opened; for the rest of the process. */
void faulty_disk_install(void);

enum disk_fault {
    DISK_FULL,   /* SQLITE_FULL */
    DISK_BROKEN, /* SQLITE_IOERR_WRITE, as of a file system that became read-only */
};

/* The next commits are counted from 1; those from `first` on fail, `most` of them. most 0: none.
 * Any thread. */
void faulty_disk_fail(size_t first, size_t most, enum disk_fault fault);

/* Since then, those that failed included. */
size_t faulty_disk_commits(void);

#endif
