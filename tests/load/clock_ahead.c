/* Preloaded into redis-server: its wall clock is ahead by the microseconds that the file named by
 * CLOCK_AHEAD holds as 8 bytes now. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile int64_t none, *ahead_us = &none;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_AHEAD");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof(*ahead_us), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    ahead_us = map != MAP_FAILED ? map : &none;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict now,
                                                        void *restrict zone)
{
    struct timespec present; /* no system call: Redis asks many times a command */
    int code = clock_gettime(CLOCK_REALTIME, &present);
    int64_t us = present.tv_nsec / 1000 + *ahead_us;
    (void)zone;
    now->tv_sec = present.tv_sec + us / 1000000 - (us % 1000000 < 0);
    now->tv_usec = (us % 1000000 + 1000000) % 1000000;
    return code;
}
