/*
 * redis_sentinel.h -- a real sentinel of a test's own, which watches one redis-server.
 */
#ifndef PRISM_TESTS_REDIS_SENTINEL_H
#define PRISM_TESTS_REDIS_SENTINEL_H

#include "redis_server.h"

#define SENTINEL_MASTER   "mine"
#define SENTINEL_PASSWORD "watchword"

struct redis_sentinel_server {
    char folder[64];
    char conf[96];
    char log[96];
    struct redis_address address;
    struct process process;
};

void redis_sentinel_start(struct redis_sentinel_server *sentinel,
                          const struct redis_server *master);
void redis_sentinel_stop(struct redis_sentinel_server *sentinel);

/* Makes a replica the master; asks until the sentinel does so, which must know one first. */
void redis_sentinel_switch(const struct redis_sentinel_server *sentinel) PARKS;

#endif
