#include "loop/mailbox.h"

#include <pthread.h>
#include <signal.h>

#include "base/alloc.h"
#include "loop/loop.h"

struct mailbox {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct op *oldest;
    struct op *newest;
    bool closed;
};

struct mailbox *mailbox_new(void)
{
    struct mailbox *mailbox = ALLOC(struct mailbox);
    check(pthread_mutex_init(&mailbox->mutex, NULL) == 0);
    check(pthread_cond_init(&mailbox->filled, NULL) == 0);
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    if (mailbox == NULL) {
        return;
    }
    check(mailbox->oldest == NULL);
    pthread_cond_destroy(&mailbox->filled);
    pthread_mutex_destroy(&mailbox->mutex);
    free(mailbox);
}

bool mailbox_put(struct mailbox *mailbox, struct op *op)
{
    op->next = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    bool was_empty = mailbox->oldest == NULL;
    if (was_empty) {
        mailbox->oldest = op;
        pthread_cond_signal(&mailbox->filled);
    } else {
        mailbox->newest->next = op;
    }
    mailbox->newest = op;
    pthread_mutex_unlock(&mailbox->mutex);
    return was_empty;
}

/* With the mutex held. */
static struct op *take_all(struct mailbox *mailbox)
{
    struct op *all = mailbox->oldest;
    mailbox->oldest = NULL;
    mailbox->newest = NULL;
    return all;
}

struct op *mailbox_take(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct op *all = take_all(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
    return all;
}

struct op *mailbox_wait(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    while (mailbox->oldest == NULL && !mailbox->closed) {
        pthread_cond_wait(&mailbox->filled, &mailbox->mutex);
    }
    struct op *all = take_all(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
    return all;
}

void mailbox_close(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->closed = true;
    pthread_cond_broadcast(&mailbox->filled);
    pthread_mutex_unlock(&mailbox->mutex);
}

struct thread {
    pthread_t id;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    pthread_setname_np(pthread_self(), thread->name);
    thread->fn(thread->arg);
    return NULL;
}

struct thread *thread_start(const char *name, void (*fn)(void *arg), void *arg)
{
    struct thread *thread = ALLOC(struct thread);
    thread->name = name;
    thread->fn = fn;
    thread->arg = arg;
    /* Signals are the loop thread's: the new thread inherits a mask that blocks them all. */
    sigset_t all, before;
    sigfillset(&all);
    check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    check(pthread_create(&thread->id, NULL, thread_main, thread) == 0);
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return thread;
}

void thread_join(struct thread *thread)
{
    check(pthread_join(thread->id, NULL) == 0);
    free(thread);
}
