#include "simulator/arrivals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "codec/json.h"

#define LINE_MOST 8192

struct arrivals {
    char *lines[ARRIVALS_KEPT]; /* line n is at n % ARRIVALS_KEPT */
    uint64_t first;
    uint64_t next;
    uint64_t calls;
    uint64_t running;
    int fd; /* -1: no file */
};

struct arrivals *arrivals_new(void)
{
    struct arrivals *arrivals = ALLOC(struct arrivals);
    arrivals->fd = -1;
    return arrivals;
}

void arrivals_forget(struct arrivals *arrivals)
{
    for (; arrivals->first < arrivals->next; arrivals->first++) {
        free(arrivals->lines[arrivals->first % ARRIVALS_KEPT]);
        arrivals->lines[arrivals->first % ARRIVALS_KEPT] = NULL;
    }
}

void arrivals_free(struct arrivals *arrivals)
{
    if (arrivals == NULL) {
        return;
    }
    arrivals_forget(arrivals);
    if (arrivals->fd >= 0) {
        close(arrivals->fd);
    }
    free(arrivals);
}

struct status arrivals_open(struct arrivals *arrivals, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return status_of(REASON_FILE_UNREADABLE, "the file of arrivals cannot be written");
    }
    arrivals->fd = fd;
    return STATUS_SUCCESS;
}

/* A line that the file does not take is lost there and kept here. */
static void append(struct arrivals *arrivals, const struct buf *line)
{
    if (arrivals->next - arrivals->first == ARRIVALS_KEPT) {
        free(arrivals->lines[arrivals->first++ % ARRIVALS_KEPT]);
    }
    arrivals->lines[arrivals->next++ % ARRIVALS_KEPT] = alloc_string(buf_span(line));
    ssize_t written;
    do {
        written = arrivals->fd >= 0 ? write(arrivals->fd, line->at, line->len) : 0;
    } while (written < 0 && errno == EINTR);
}

static void put_count(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_put_integer(w, (int64_t)value);
}

static void put_left(struct json_writer *w, const struct quota_left *left)
{
    const struct {
        const char *key;
        int64_t value;
    } rows[] = {
        {"requests_left", left->requests},
        {"tokens_left", left->tokens},
        {"day_left", left->day},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].value != QUOTA_NO_LIMIT) {
            json_key(w, rows[i].key);
            json_put_integer(w, rows[i].value);
        }
    }
}

static void begin_line(struct json_writer *w, struct buf *line, uint64_t now_us, const char *event,
                       uint64_t id)
{
    buf_init(line, LINE_MOST);
    json_writer_init(w, line);
    json_begin_object(w);
    json_key(w, "event");
    json_put_string(w, span_str(event));
    put_count(w, "id", id);
    json_key(w, "t_ms");
    json_put_number(w, (double)now_us / 1000.0);
}

static void end_line(struct json_writer *w, struct buf *line)
{
    json_end_object(w);
    buf_add_char(line, '\n');
    check(buf_ok(line));
}

uint64_t arrivals_begin(struct arrivals *arrivals, uint64_t now_us,
                        const struct arrivals_start *start)
{
    struct json_writer w;
    CLEANUP(buf_clear) struct buf line;
    CLEANUP(buf_clear) struct buf wall;
    uint64_t id = ++arrivals->calls;
    arrivals->running++;
    buf_init(&wall, 64);
    clock_add_rfc3339(&wall, clock_wall_ms());
    begin_line(&w, &line, now_us, "start", id);
    json_key(&w, "wall");
    json_put_string(&w, buf_span(&wall));
    json_key(&w, "model");
    json_put_string(&w, span_first(start->model, 256));
    json_key(&w, "region");
    json_put_string(&w, span_first(start->region, 64));
    json_key(&w, "operation");
    json_put_string(&w, span_str(start->operation));
    put_count(&w, "input_tokens", start->input_tokens);
    if (start->cache != NULL) {
        put_count(&w, "cache_read_tokens", start->cache->read);
        put_count(&w, "cache_write_tokens", start->cache->write);
    }
    put_count(&w, "max_tokens", start->max_tokens);
    put_count(&w, "reserved", start->reserved);
    put_left(&w, &start->left);
    put_count(&w, "running", arrivals->running);
    end_line(&w, &line);
    append(arrivals, &line);
    return id;
}

void arrivals_finish(struct arrivals *arrivals, uint64_t now_us, uint64_t id,
                     const struct arrivals_end *end)
{
    struct json_writer w;
    CLEANUP(buf_clear) struct buf line;
    arrivals->running--;
    begin_line(&w, &line, now_us, "end", id);
    put_count(&w, "status", (uint64_t)end->status);
    json_key(&w, "outcome");
    json_put_string(&w, span_str(end->outcome));
    json_key(&w, "cause");
    json_put_string(&w, span_str(end->cause));
    if (end->kind != NULL) {
        json_key(&w, "kind");
        json_put_string(&w, span_str(end->kind));
    }
    put_count(&w, "output_tokens", end->output_tokens);
    put_count(&w, "settled", end->settled);
    put_left(&w, &end->left);
    put_count(&w, "running", arrivals->running);
    end_line(&w, &line);
    append(arrivals, &line);
}

uint64_t arrivals_running(const struct arrivals *arrivals)
{
    return arrivals->running;
}

bool arrivals_add(const struct arrivals *arrivals, uint64_t *from, size_t enough, struct buf *out)
{
    size_t before = out->len;
    *from = *from > arrivals->first ? *from : arrivals->first;
    while (*from < arrivals->next && out->len < enough) {
        buf_add_str(out, arrivals->lines[(*from)++ % ARRIVALS_KEPT]);
    }
    return out->len > before;
}
