/*
 * tls_files.h -- certificates made by openssl(1) in a folder that goes away.
 *
 * One authority signs for "localhost" and 127.0.0.1, for a client, and for a server whose time is
 * over; another signs nothing.
 */
#ifndef PRISM_TESTS_TLS_FILES_H
#define PRISM_TESTS_TLS_FILES_H

#include "loop/op.h"

struct tls_files {
    char folder[64];
    char ca[96];
    char other_ca[96];
    char server_cert[96];
    char server_key[96];
    char client_cert[96];
    char client_key[96];
    char expired_cert[96];
    char expired_key[96];
    char locked_key[96]; /* with a passphrase */
};

void tls_files_make(struct tls_files *files);
void tls_files_remove(struct tls_files *files);

#endif
