/*
 * recorded.h -- recorded exchanges of the Messages API, as requests to the router and as events of
 * Bedrock's.
 *
 * Everything lives in the arena. What does not have the form of a recording fails the test.
 */
#ifndef PRISM_TESTS_RECORDED_H
#define PRISM_TESTS_RECORDED_H

#include "codec/json.h"
#include "harness.h"
#include "prism/router/v1/router.pb-c.h"

/* What an answer comes to, whichever way it came. */
struct recorded {
    const char *content; /* in the words of router_fixture.h's log, a line a block's part */
    const char *stop;    /* end_turn, ... */
    int64_t input, output, cache_read, cache_write;
};

/* The events of a stream, NULL at the end: of server-sent events, of lines with one event each, of
 * Bedrock's chunk frames, and those that would have carried a whole answer. */
const char *const *recorded_sse(struct span text, struct arena *arena);
const char *const *recorded_lines(struct span text, struct arena *arena);
const char *const *recorded_frames(struct span frames, struct arena *arena);
const char *const *recorded_unary(const struct json *answer, struct arena *arena);

/* Read from the answer itself, or from the events by other means than the router's. */
void recorded_of_answer(const struct json *answer, struct arena *arena, struct recorded *out);
void recorded_of_events(const char *const *events, struct arena *arena, struct recorded *out);

/* The same question for the router. Tools and sampling that it does not know are left out. */
Router__Generation *recorded_request(const struct json *request, struct arena *arena);

/* The body that was sent asks what the recorded one asked, member by member. */
void recorded_assert_asked(const struct json *sent, const struct json *request);

bool recorded_same(const struct json *a, const struct json *b); /* members in any order */

#endif
