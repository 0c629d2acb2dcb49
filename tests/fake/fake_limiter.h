/*
 * fake_limiter.h -- LimiterService.Attach as a script: says what it was told to, and remembers what
 * it was told.
 *
 * The n-th Acquire gets the n-th verdict, later ones the last. Loop thread; the memory is the
 * test's.
 */
#ifndef PRISM_TESTS_FAKE_LIMITER_H
#define PRISM_TESTS_FAKE_LIMITER_H

#include "net/rpc_server.h"
#include "prism/limiter/v1/limiter.pb-c.h"

#define FAKE_LIMITER_ID   16
#define FAKE_LIMITER_MOST 64 /* grants and reports that are remembered */

struct fake_verdict {
    enum fake_decision {
        FAKE_GRANT,
        FAKE_REFUSE,
        FAKE_HANG, /* grants, and never says so */
        FAKE_FAIL, /* UNAVAILABLE */
    } decision;
    uint32_t candidate;       /* that is granted */
    uint64_t delay_ms;        /* before the answer */
    uint64_t use_by_ms;       /* 0: 10 s */
    uint64_t lease_ms;        /* 0: 60 s */
    const char *resource;     /* that refuses; NULL: none is named */
    Limiter__Reason reason;   /* why */
    uint64_t retry_after_ms;  /* 0: never */
    bool hint;                /* the time is none to count on */
    const char *passed_model; /* also judged, and not open; NULL: none */
};

struct fake_report {
    bool cancel; /* else a Complete */
    uint8_t id[FAKE_LIMITER_ID];
    char model[64];
    Limiter__Outcome outcome;
    uint64_t input, output, cache_read, cache_write;
    bool usage_partial;
    uint64_t server_retry_ms;
};

struct fake_limiter {
    const struct fake_verdict *verdicts; /* NULL: everything is granted */
    size_t n_verdicts;
    bool lose_leases; /* at the next Renew */
    bool hang_renew;
    size_t deaf; /* so many settlements to come are neither noted nor answered */

    size_t acquires;
    size_t renews;
    size_t renew_most;    /* leases of the largest one */
    char candidates[256]; /* of the last Acquire: "a b" */
    char tenant[64];
    uint8_t granted[FAKE_LIMITER_MOST][FAKE_LIMITER_ID];
    size_t n_granted;
    struct fake_report reports[FAKE_LIMITER_MOST];
    size_t n_reports;
};

/* A row for rpc_server_start. */
struct rpc_service fake_limiter_service(struct fake_limiter *limiter);

/* Waits until n reports have come, and a little for more; fails when there are not exactly n. */
void fake_limiter_wait(struct fake_limiter *limiter, size_t n) PARKS;

/* Each grant was given back exactly once; what was never granted may have been taken back. */
void fake_limiter_check_settled(struct fake_limiter *limiter) PARKS;

#endif
