#include "app/readiness.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"

struct condition {
    struct list link;
    const char *name;
    const char *why;
    bool holds;
};

struct readiness {
    struct list conditions;
    void (*changed)(void *arg, bool ready);
    void *arg;
};

struct readiness *readiness_new(void (*changed)(void *arg, bool ready), void *arg)
{
    struct readiness *readiness = ALLOC(struct readiness);
    list_init(&readiness->conditions);
    readiness->changed = changed;
    readiness->arg = arg;
    return readiness;
}

void readiness_free(struct readiness *readiness)
{
    if (readiness == NULL) {
        return;
    }
    for (struct list *it; (it = list_pop_front(&readiness->conditions)) != NULL;) {
        free(CONTAINER_OF(it, struct condition, link));
    }
    free(readiness);
}

static struct condition *condition_of(struct readiness *readiness, const char *name)
{
    LIST_EACH (it, &readiness->conditions) {
        struct condition *known = CONTAINER_OF(it, struct condition, link);
        if (strcmp(known->name, name) == 0) {
            return known;
        }
    }
    struct condition *condition = ALLOC(struct condition);
    condition->name = name;
    condition->holds = true;
    list_push_back(&readiness->conditions, &condition->link);
    return condition;
}

void readiness_set(struct readiness *readiness, const char *condition, bool holds, const char *why)
{
    bool before = readiness_verdict(readiness);
    struct condition *changed = condition_of(readiness, condition);
    changed->holds = holds;
    changed->why = why;
    if (readiness_verdict(readiness) != before) {
        readiness->changed(readiness->arg, !before);
    }
}

bool readiness_verdict(const struct readiness *readiness)
{
    LIST_EACH (it, &readiness->conditions) {
        if (!CONTAINER_OF(it, struct condition, link)->holds) {
            return false;
        }
    }
    return true;
}

void readiness_add_report(struct buf *out, const struct readiness *readiness)
{
    LIST_EACH (it, &readiness->conditions) {
        const struct condition *condition = CONTAINER_OF(it, struct condition, link);
        buf_addf(out, "[%c] %s%s%s\n", condition->holds ? '+' : '-', condition->name,
                 condition->holds ? "" : ": ", condition->holds ? "" : condition->why);
    }
}
