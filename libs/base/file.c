#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

const char *file_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return strerror(errno);
    }
    const char *why = NULL;
    for (;;) {
        char chunk[1024];
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got <= 0) {
            why = got < 0 ? strerror(errno) : NULL;
            break;
        }
        buf_add(out, chunk, (size_t)got);
        if (!buf_ok(out)) {
            why = "it is too large";
            break;
        }
    }
    close(fd);
    return why;
}

const char *file_write(const char *path, struct span text)
{
    CLEANUP(buf_clear) struct buf fresh;
    buf_init(&fresh, 4096);
    buf_addf(&fresh, "%s.new", path);
    if (!buf_ok(&fresh)) {
        return strerror(ENAMETOOLONG);
    }
    int fd = open(buf_cstr(&fresh), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return strerror(errno);
    }
    bool written = write(fd, text.at, text.len) == (ssize_t)text.len;
    written = close(fd) == 0 && written;
    if (!written || rename(buf_cstr(&fresh), path) != 0) {
        const char *why = strerror(errno);
        unlink(buf_cstr(&fresh));
        return why;
    }
    return NULL;
}
