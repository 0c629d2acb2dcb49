/*
 * interop.h -- grpc.testing.TestService, against which gRPC's implementations test each other.
 *
 * Served by our rpc server. Its messages are generated from the protos of the third-party vectors
 * (build/interop.mk), so this is built where these are, and no other test links it.
 */
#ifndef PRISM_TESTS_INTEROP_H
#define PRISM_TESTS_INTEROP_H

#include "net/rpc_server.h"

/* The row to serve; it keeps nothing. */
struct rpc_service interop_service(void);

#endif
