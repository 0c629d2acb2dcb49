/*
 * list.h -- intrusive doubly linked list: the links live in the members, so nothing is allocated.
 *
 * Floor 0. A head and a detached member are both a struct list that points to itself; a member is
 * in one list at most.
 */
#ifndef PRISM_BASE_LIST_H
#define PRISM_BASE_LIST_H

#include <stdbool.h>

#include "base/check.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_insert_before(struct list *where, struct list *member)
{
    member->prev = where->prev;
    member->next = where;
    where->prev->next = member;
    where->prev = member;
}

static inline void list_push_back(struct list *head, struct list *member)
{
    list_insert_before(head, member);
}

static inline void list_push_front(struct list *head, struct list *member)
{
    list_insert_before(head->next, member);
}

/* Harmless on a detached member. */
static inline void list_remove(struct list *member)
{
    member->prev->next = member->next;
    member->next->prev = member->prev;
    list_init(member);
}

/* NULL when empty. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *first = head->next;
    if (first == head) {
        return NULL;
    }
    list_remove(first);
    return first;
}

/* The body may remove `it`, nothing else. */
#define LIST_EACH(it, head)                                                                        \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
