#include "faulty_disk.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    atomic_size_t commits;
    atomic_size_t first;
    atomic_size_t most;
    atomic_int code;
} disk;

struct file {
    sqlite3_file base;
    bool log;        /* the write-ahead log */
    bool committing; /* something was written to it and not synced */
    sqlite3_file real[];
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct file *)file)->real;
}

#define FORWARD(file, method, ...) real_of(file)->pMethods->method(real_of(file), ##__VA_ARGS__)

static int disk_close(sqlite3_file *file)
{
    return FORWARD(file, xClose);
}

static int disk_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
    return FORWARD(file, xRead, to, n, at);
}

static int disk_write(sqlite3_file *base, const void *from, int n, sqlite3_int64 at)
{
    struct file *file = (struct file *)base;
    if (file->log && !file->committing) {
        size_t number = atomic_fetch_add(&disk.commits, 1) + 1;
        size_t first = atomic_load(&disk.first);
        if (number >= first && number - first < atomic_load(&disk.most)) {
            return atomic_load(&disk.code);
        }
        file->committing = true;
    }
    return FORWARD(base, xWrite, from, n, at);
}

static int disk_sync(sqlite3_file *base, int flags)
{
    ((struct file *)base)->committing = false;
    return FORWARD(base, xSync, flags);
}

static int disk_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return FORWARD(file, xTruncate, size);
}

static int disk_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return FORWARD(file, xFileSize, size);
}

static int disk_lock(sqlite3_file *file, int level)
{
    return FORWARD(file, xLock, level);
}

static int disk_unlock(sqlite3_file *file, int level)
{
    return FORWARD(file, xUnlock, level);
}

static int disk_check_lock(sqlite3_file *file, int *reserved)
{
    return FORWARD(file, xCheckReservedLock, reserved);
}

static int disk_control(sqlite3_file *file, int op, void *arg)
{
    return FORWARD(file, xFileControl, op, arg);
}

static int disk_sector(sqlite3_file *file)
{
    return FORWARD(file, xSectorSize);
}

static int disk_features(sqlite3_file *file)
{
    return FORWARD(file, xDeviceCharacteristics);
}

/* Version 1: no shared memory; a store that is locked for its process needs none. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = disk_close,
    .xRead = disk_read,
    .xWrite = disk_write,
    .xTruncate = disk_truncate,
    .xSync = disk_sync,
    .xFileSize = disk_size,
    .xLock = disk_lock,
    .xUnlock = disk_unlock,
    .xCheckReservedLock = disk_check_lock,
    .xFileControl = disk_control,
    .xSectorSize = disk_sector,
    .xDeviceCharacteristics = disk_features,
};

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
    (void)vfs;
    struct file *file = (struct file *)base;
    memset(file, 0, sizeof(*file));
    file->log = (flags & SQLITE_OPEN_WAL) != 0;
    int code = disk.real->xOpen(disk.real, name, file->real, flags, out);
    file->base.pMethods = file->real->pMethods != NULL ? &methods : NULL;
    return code;
}

void faulty_disk_install(void)
{
    check(sqlite3_initialize() == SQLITE_OK);
    disk.real = sqlite3_vfs_find(NULL);
    check(disk.real != NULL);
    disk.vfs = *disk.real;
    disk.vfs.pNext = NULL;
    disk.vfs.zName = "faulty";
    disk.vfs.szOsFile = (int)sizeof(struct file) + disk.real->szOsFile;
    disk.vfs.xOpen = disk_open;
    check(sqlite3_vfs_register(&disk.vfs, 1) == SQLITE_OK);
}

void faulty_disk_fail(size_t first, size_t most, enum disk_fault fault)
{
    atomic_store(&disk.most, 0);
    atomic_store(&disk.code, fault == DISK_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE);
    atomic_store(&disk.first, first);
    atomic_store(&disk.commits, 0);
    atomic_store(&disk.most, most);
}

size_t faulty_disk_commits(void)
{
    return atomic_load(&disk.commits);
}
