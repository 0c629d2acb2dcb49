#include "redis_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "loop/task.h"
#include "net/listen.h"

#define PACKAGED_PORT 6379
#define MOST_MS       30000
#define ARGUMENTS     64

bool redis_server_present(const char *program)
{
    bool present = access(program, X_OK) == 0;
    if (!present) {
        print_message("# SKIPPED: %s is not installed\n", program);
    }
    return present;
}

uint16_t redis_server_free_port(void)
{
    int fd;
    uint16_t port;
    do {
        assert_status_ok(listen_open("127.0.0.1", 0, NULL, &fd, &port));
        close(fd);
    } while (port == PACKAGED_PORT);
    return port;
}

static void place(struct redis_server *server)
{
    if (server->folder[0] != '\0') {
        return;
    }
    snprintf(server->folder, sizeof(server->folder), "/tmp/prism-redis-XXXXXX");
    assert_non_null(mkdtemp(server->folder));
    snprintf(server->path, sizeof(server->path), "%s/socket", server->folder);
    snprintf(server->log, sizeof(server->log), "%s/log", server->folder);
    server->port = redis_server_free_port();
    server->tls_port = server->tls != NULL ? redis_server_free_port() : 0;
}

struct arguments {
    const char *at[ARGUMENTS];
    size_t n;
};

static void add(struct arguments *arguments, const char *name, const char *value)
{
    assert_true(arguments->n + 3 < ARGUMENTS);
    arguments->at[arguments->n++] = name;
    if (value != NULL) {
        arguments->at[arguments->n++] = value;
    }
}

static void launch(struct redis_server *server)
{
    struct arguments arguments = {.n = 0};
    char port[8], tls_port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)server->port);
    snprintf(tls_port, sizeof(tls_port), "%u", (unsigned)server->tls_port);
    add(&arguments, "--bind", "127.0.0.1");
    add(&arguments, "--port", port);
    add(&arguments, "--unixsocket", server->path);
    add(&arguments, "--dir", server->folder);
    add(&arguments, "--save", "");
    add(&arguments, "--appendonly", "no");
    add(&arguments, "--daemonize", "no");
    if (server->password != NULL) {
        add(&arguments, "--requirepass", server->password);
    }
    if (server->tls != NULL) {
        add(&arguments, "--tls-port", tls_port);
        add(&arguments, "--tls-ca-cert-file", server->tls->ca);
        add(&arguments, "--tls-cert-file", server->tls->server_cert);
        add(&arguments, "--tls-key-file", server->tls->server_key);
        add(&arguments, "--tls-auth-clients", server->tls_clients ? "yes" : "no");
    }
    for (size_t i = 0; server->more != NULL && server->more[i] != NULL; i++) {
        add(&arguments, server->more[i], NULL);
    }
    process_start(&server->process, server->program != NULL ? server->program : REDIS_SERVER,
                  arguments.at, NULL, server->log);
}

void redis_server_start(struct redis_server *server)
{
    place(server);
    launch(server);
    struct redis_options options = redis_server_options(server, REDIS_BY_PATH);
    struct redis *redis = redis_server_client(&options);
    redis_free(redis);
    assert_true(process_running(&server->process));
}

void redis_server_kill(struct redis_server *server)
{
    process_kill(&server->process);
}

void redis_server_stop(struct redis_server *server)
{
    redis_server_kill(server);
    unlink(server->path);
    unlink(server->log);
    if (rmdir(server->folder) != 0) {
        print_error("%s is not empty\n", server->folder);
    }
    server->folder[0] = '\0';
}

struct redis_options redis_server_options(struct redis_server *server, enum redis_way way)
{
    struct redis_options options = {.password = {server->password}, .name = "test"};
    if (way == REDIS_BY_PATH) {
        options.path = server->path;
        return options;
    }
    options.address.host = "127.0.0.1";
    options.address.port = server->port;
    if (way == REDIS_BY_TLS) {
        server->trust = (struct stream_tls){.ca_file = server->tls->ca,
                                            .cert_file = server->tls->client_cert,
                                            .key_file = server->tls->client_key};
        options.address.port = server->tls_port;
        options.tls = &server->trust;
    }
    return options;
}

struct redis *redis_server_client(const struct redis_options *options)
{
    struct redis *redis = redis_new(task_loop(), options);
    assert_status_ok(redis_wait_ready(redis, loop_now_ms(task_loop()) + MOST_MS));
    return redis;
}
