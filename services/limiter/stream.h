/*
 * stream.h -- AcquireStream and WatchResources.
 *
 * Floor 6, loop thread.
 */
#ifndef PRISM_LIMITER_STREAM_H
#define PRISM_LIMITER_STREAM_H

#include "limiter/limiter.h"

struct status stream_acquire(struct rpc *rpc, const void *request) NODISCARD PARKS;
struct status stream_watch(struct rpc *rpc, const void *request) NODISCARD PARKS;

/* For homes: something may have changed. */
void stream_changed(const struct limiter *limiter);

/* Watchers are told to come back, elsewhere. */
void stream_drain(struct limiter *limiter);

#endif
