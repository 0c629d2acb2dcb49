#include "judge.h"

#include <math.h>

#include "codec/json.h"

static struct span kept(const struct json *line, const char *key, struct arena *arena)
{
    return arena_copy(arena, json_string(json_get(line, key)));
}

static void read_start(const struct json *line, struct arena *arena, struct judge_call *call)
{
    *call = (struct judge_call){
        .id = (uint64_t)json_integer(json_get(line, "id"), 0),
        .model = kept(line, "model", arena),
        .region = kept(line, "region", arena),
        .operation = kept(line, "operation", arena),
        .begin_ms = json_number(json_get(line, "t_ms"), 0),
        .end_ms = INFINITY,
    };
}

static bool read_end(const struct json *line, struct arena *arena, struct judge_call *calls,
                     size_t n)
{
    uint64_t id = (uint64_t)json_integer(json_get(line, "id"), 0);
    for (size_t i = n; i > 0; i--) {
        struct judge_call *call = &calls[i - 1];
        if (call->id == id) {
            call->end_ms = json_number(json_get(line, "t_ms"), 0);
            call->ended = true;
            call->status = (int)json_integer(json_get(line, "status"), 0);
            call->outcome = kept(line, "outcome", arena);
            call->output_tokens = (uint64_t)json_integer(json_get(line, "output_tokens"), 0);
            return true;
        }
    }
    return false;
}

static size_t count_lines(struct span lines)
{
    size_t n = 0;
    for (size_t i = 0; i < lines.len; i++) {
        n += lines.at[i] == '\n';
    }
    return n;
}

bool judge_read(struct span lines, struct arena *arena, struct judge_log *out)
{
    struct judge_call *calls = ARENA_ARRAY(arena, struct judge_call, count_lines(lines) + 1);
    size_t n = 0;
    for (struct span text; span_cut(&lines, '\n', &text);) {
        if (text.len == 0) {
            continue;
        }
        CLEANUP(json_drop) struct json *line = json_parse(text, NULL);
        struct span event = json_string(json_get(line, "event"));
        if (span_eq(event, SPAN("start"))) {
            read_start(line, arena, &calls[n++]);
        } else if (!span_eq(event, SPAN("end")) || !read_end(line, arena, calls, n)) {
            return false;
        }
    }
    *out = (struct judge_log){calls, n};
    return true;
}

struct judge_log judge_of_model(struct judge_log log, const char *model, struct arena *arena)
{
    struct judge_call *calls = ARENA_ARRAY(arena, struct judge_call, log.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < log.n; i++) {
        if (span_eq(log.calls[i].model, span_str(model))) {
            calls[n++] = log.calls[i];
        }
    }
    return (struct judge_log){calls, n};
}

struct judge_log judge_after(struct judge_log log, size_t n)
{
    return n < log.n ? (struct judge_log){log.calls + n, log.n - n} : (struct judge_log){NULL, 0};
}

size_t judge_running(struct judge_log log)
{
    size_t n = 0;
    for (size_t i = 0; i < log.n; i++) {
        n += !log.calls[i].ended;
    }
    return n;
}

/* The highest number is reached when some call begins. */
size_t judge_most_at_once(struct judge_log log)
{
    size_t most = 0;
    for (size_t i = 0; i < log.n; i++) {
        size_t running = 0;
        for (size_t k = 0; k < log.n; k++) {
            running += log.calls[k].begin_ms <= log.calls[i].begin_ms &&
                       log.calls[k].end_ms > log.calls[i].begin_ms;
        }
        most = running > most ? running : most;
    }
    return most;
}

size_t judge_most_in_window(struct judge_log log, double window_ms)
{
    size_t most = 0;
    for (size_t i = 0; i < log.n; i++) {
        size_t inside = 0;
        for (size_t k = 0; k < log.n; k++) {
            double later = log.calls[k].begin_ms - log.calls[i].begin_ms;
            inside += later >= 0 && later < window_ms;
        }
        most = inside > most ? inside : most;
    }
    return most;
}
