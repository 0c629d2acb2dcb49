#include "tls_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"
#include "process.h"

#define OPENSSL "/usr/bin/openssl"
#define MOST_MS 60000

static void run(struct tls_files *files, const char *const *arguments)
{
    char log[96];
    snprintf(log, sizeof(log), "%s/log", files->folder);
    if (process_run(OPENSSL, arguments, NULL, log, MOST_MS) != 0) {
        fail_msg("openssl %s failed, see %s", arguments[0], log);
    }
}

static void name(const struct tls_files *files, char out[96], const char *file)
{
    snprintf(out, 96, "%s/%s", files->folder, file);
}

#define NEW_KEY "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"

static void authority(struct tls_files *files, const char *cert, const char *key)
{
    const char *const make[] = {"req", "-x509", NEW_KEY,         "-keyout", key, "-out",
                                cert,  "-subj", "/CN=authority", "-days",   "2", NULL};
    run(files, make);
}

static void signed_by(struct tls_files *files, const char *ca_key, const char *cert,
                      const char *key, const char *days)
{
    char request[96];
    name(files, request, "request");
    const char *const ask[] = {
        "req",   NEW_KEY, "-keyout", key,       "-out",
        request, "-subj", "/CN=one", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        NULL};
    const char *const sign[] = {"x509",
                                "-req",
                                "-in",
                                request,
                                "-CA",
                                files->ca,
                                "-CAkey",
                                ca_key,
                                "-CAcreateserial",
                                "-copy_extensions",
                                "copy",
                                "-days",
                                days,
                                "-out",
                                cert,
                                NULL};
    run(files, ask);
    run(files, sign);
}

void tls_files_make(struct tls_files *files)
{
    char ca_key[96], other_key[96];
    snprintf(files->folder, sizeof(files->folder), "/tmp/prism-tls-XXXXXX");
    assert_non_null(mkdtemp(files->folder));
    name(files, ca_key, "ca.key");
    name(files, other_key, "other.key");
    name(files, files->ca, "ca.pem");
    name(files, files->other_ca, "other.pem");
    name(files, files->server_cert, "server.pem");
    name(files, files->server_key, "server.key");
    name(files, files->client_cert, "client.pem");
    name(files, files->client_key, "client.key");
    name(files, files->expired_cert, "expired.pem");
    name(files, files->expired_key, "expired.key");
    name(files, files->locked_key, "locked.key");
    authority(files, files->ca, ca_key);
    authority(files, files->other_ca, other_key);
    signed_by(files, ca_key, files->server_cert, files->server_key, "2");
    signed_by(files, ca_key, files->client_cert, files->client_key, "2");
    signed_by(files, ca_key, files->expired_cert, files->expired_key, "-1");
    run(files, (const char *const[]){"ec", "-in", files->client_key, "-out", files->locked_key,
                                     "-aes128", "-passout", "pass:word", NULL});
}

void tls_files_remove(struct tls_files *files)
{
    static const char *const names[] = {"ca.key",     "ca.pem",      "ca.srl",      "other.key",
                                        "other.pem",  "server.key",  "server.pem",  "client.key",
                                        "client.pem", "expired.key", "expired.pem", "locked.key",
                                        "request",    "log"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[96];
        name(files, path, names[i]);
        unlink(path);
    }
    if (rmdir(files->folder) != 0) {
        print_error("%s is not empty\n", files->folder);
    }
}
