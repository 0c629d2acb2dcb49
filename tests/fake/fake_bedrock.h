/*
 * fake_bedrock.h -- InvokeModelWithResponseStream as a script, on a real socket.
 *
 * The n-th request gets the n-th reply, later ones the last. Loop thread; the memory is the test's.
 */
#ifndef PRISM_TESTS_FAKE_BEDROCK_H
#define PRISM_TESTS_FAKE_BEDROCK_H

#include "net/http_server.h"

struct fake_reply {
    int status;                /* 0: 200, and a stream */
    const char *exception;     /* of an error, or of the frame behind the events; NULL: none */
    const char *message;       /* its text */
    const char *retry_after;   /* a header of an error; NULL: none */
    const char *const *events; /* inner events, NULL at the end */
    bool together;             /* they are sent in one piece */
    struct span frames;        /* of an event stream, sent as they are in front of the events */
    enum fake_ending {
        FAKE_END,    /* of the HTTP body */
        FAKE_RESET,  /* of the connection */
        FAKE_BREAK,  /* half a frame, then the end */
        FAKE_SPOIL,  /* a frame with a wrong checksum */
        FAKE_SILENT, /* nothing more, until the caller leaves */
        FAKE_MUTE,   /* nothing at all */
    } ending;
};

struct fake_bedrock {
    const struct fake_reply *replies;
    size_t n_replies;
    const struct fake_reply *(*instead)(void *arg, struct http_exchange *exchange);
    void *arg; /* of instead, which may answer any request otherwise; NULL: it does not */

    struct http_server *server;
    char url[64];
    size_t requests;
    size_t open;         /* requests that are being answered */
    size_t left;         /* callers who left before the end */
    struct arena *arena; /* of what is remembered */
    struct span target;  /* of the last request */
    struct span body;
};

void fake_bedrock_start(struct fake_bedrock *bedrock);
void fake_bedrock_stop(struct fake_bedrock *bedrock) PARKS;

#endif
