/*
 * redis_server.h -- a real redis-server (or valkey-server) of a test's own.
 *
 * In a folder that goes away, on a unix socket and on free ports of 127.0.0.1, never the packaged
 * service's, with nothing on disk. Starting and stopping parks.
 */
#ifndef PRISM_TESTS_REDIS_SERVER_H
#define PRISM_TESTS_REDIS_SERVER_H

#include "net/redis.h"
#include "process.h"
#include "tls_files.h"

#define REDIS_SERVER "/usr/bin/redis-server"

struct redis_server {
    const char *program;         /* NULL: redis-server */
    const char *password;        /* NULL: none */
    const struct tls_files *tls; /* NULL: no TLS port */
    bool tls_clients;            /* must show a certificate */
    const char *const *more;     /* further arguments, NULL-terminated; or NULL */
    uint16_t port;
    uint16_t tls_port;
    char folder[64];
    char path[96];
    char log[96];
    struct process process;
    struct stream_tls trust;
};

/* A port of 127.0.0.1 where nobody listened a moment ago. */
uint16_t redis_server_free_port(void);

/* False, with a word to the reader, when the program is not installed. */
bool redis_server_present(const char *program);

/* Waits until it takes commands. Started again, it has the same socket and ports, and no data. */
void redis_server_start(struct redis_server *server) PARKS;
void redis_server_kill(struct redis_server *server); /* kill -9 */
void redis_server_stop(struct redis_server *server); /* and removes its folder */

enum redis_way {
    REDIS_BY_PATH,
    REDIS_BY_PORT,
    REDIS_BY_TLS,
};

struct redis_options redis_server_options(struct redis_server *server, enum redis_way way);

/* A client that is ready. */
struct redis *redis_server_client(const struct redis_options *options) PARKS;

#endif
