#include "app/admin.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/metric.h"

#define METRICS_MOST (16u << 20)
#define REPORT_MOST  (64u << 10)

struct page {
    struct list link;
    const char *path;
    void (*show)(struct http_exchange *exchange, void *arg) PARKS;
    void *arg;
};

struct admin {
    const struct readiness *readiness;
    struct list pages;
};

static void reply_text(struct http_exchange *exchange, int code, struct span text)
{
    const struct http_header type = {SPAN("content-type"), SPAN("text/plain; charset=utf-8")};
    http_reply(exchange, code, &type, 1, text);
}

static void show_alive(struct http_exchange *exchange, void *arg)
{
    (void)arg;
    reply_text(exchange, 200, SPAN("ok\n"));
}

static bool asks_for(struct span query, struct span name)
{
    struct span part;
    while (span_cut(&query, '&', &part)) {
        if (span_eq(part, name) || span_eq(span_first(part, span_find_char(part, '=')), name)) {
            return true;
        }
    }
    return false;
}

static void show_ready(struct http_exchange *exchange, void *arg)
{
    const struct admin *admin = arg;
    bool ready = readiness_verdict(admin->readiness);
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, REPORT_MOST);
    if (!ready || asks_for(http_exchange_query(exchange), SPAN("verbose"))) {
        readiness_add_report(&text, admin->readiness);
    }
    buf_add_str(&text, ready ? "ok\n" : "not ready\n");
    reply_text(exchange, ready ? 200 : 503, buf_span(&text));
}

static void show_metrics(struct http_exchange *exchange, void *arg)
{
    (void)arg;
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, METRICS_MOST);
    metric_render(&text);
    const struct http_header type = {SPAN("content-type"),
                                     SPAN("text/plain; version=0.0.4; charset=utf-8")};
    http_reply(exchange, buf_ok(&text) ? 200 : 500, &type, 1, buf_span(&text));
}

static void show_index(struct http_exchange *exchange, int code, const struct admin *admin)
{
    CLEANUP(buf_clear) struct buf text;
    buf_init(&text, REPORT_MOST);
    LIST_EACH (it, &admin->pages) {
        buf_addf(&text, "%s\n", CONTAINER_OF(it, struct page, link)->path);
    }
    reply_text(exchange, code, buf_span(&text));
}

struct admin *admin_new(const struct readiness *readiness)
{
    struct admin *admin = ALLOC(struct admin);
    admin->readiness = readiness;
    list_init(&admin->pages);
    admin_add(admin, "/livez", show_alive, NULL);
    admin_add(admin, "/readyz", show_ready, admin);
    admin_add(admin, "/startupz", show_alive, NULL);
    admin_add(admin, "/metrics", show_metrics, NULL);
    return admin;
}

void admin_free(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    for (struct list *it; (it = list_pop_front(&admin->pages)) != NULL;) {
        free(CONTAINER_OF(it, struct page, link));
    }
    free(admin);
}

void admin_add(struct admin *admin, const char *path,
               void (*show)(struct http_exchange *exchange, void *arg), void *arg)
{
    struct page *page = ALLOC(struct page);
    page->path = path;
    page->show = show;
    page->arg = arg;
    list_push_back(&admin->pages, &page->link);
}

void admin_handle(struct http_exchange *exchange, void *arg)
{
    const struct admin *admin = arg;
    struct span method = http_exchange_method(exchange), path = http_exchange_path(exchange);
    if (!span_eq(method, SPAN("GET")) && !span_eq(method, SPAN("HEAD"))) {
        const struct http_header allow = {SPAN("allow"), SPAN("GET, HEAD")};
        http_reply(exchange, 405, &allow, 1, SPAN_NONE);
        return;
    }
    LIST_EACH (it, &admin->pages) {
        const struct page *page = CONTAINER_OF(it, struct page, link);
        if (span_eq(path, span_str(page->path))) {
            page->show(exchange, page->arg);
            return;
        }
    }
    show_index(exchange, span_eq(path, SPAN("/")) ? 200 : 404, admin);
}
