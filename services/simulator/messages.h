/*
 * messages.h -- system and messages of a body: roles, blocks, texts, tokens.
 *
 * Floor 6, pure. A part of request_read.
 */
#ifndef PRISM_SIMULATOR_MESSAGES_H
#define PRISM_SIMULATOR_MESSAGES_H

#include "simulator/request.h"

/* Fills system, user, prefill and input_tokens; thinks and model are read. */
struct refusal messages_read(const struct json *body, struct arena *arena,
                             struct request *out) NODISCARD;

/* The signature of a thinking block: base64 of what proves text and model. A request that brings
 * a block back with another one is refused. */
struct span messages_signature(const struct model *model, struct span thinking,
                               struct arena *arena);

#endif
