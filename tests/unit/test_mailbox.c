/* Mailboxes and threads: nothing is lost, everything stays in order. */
#include <stdatomic.h>
#include <stdlib.h>

#include "loop/mailbox.h"
#include "task_test.h"

static void test_first_in_first_out(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    struct op ops[3];
    assert_null(mailbox_take(mailbox));
    assert_true(mailbox_put(mailbox, &ops[0]));
    assert_false(mailbox_put(mailbox, &ops[1]));
    assert_false(mailbox_put(mailbox, &ops[2]));
    struct op *op = mailbox_take(mailbox);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        assert_ptr_equal(op, &ops[i]);
        op = op->next;
    }
    assert_null(op);
    assert_null(mailbox_take(mailbox));
    assert_true(mailbox_put(mailbox, &ops[1]));
    assert_ptr_equal(mailbox_wait(mailbox), &ops[1]);
    mailbox_free(mailbox);
}

static void test_closing_hands_out_the_rest_first(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    struct op op;
    assert_true(mailbox_put(mailbox, &op));
    mailbox_close(mailbox);
    assert_ptr_equal(mailbox_wait(mailbox), &op);
    assert_null(mailbox_wait(mailbox));
    mailbox_free(mailbox);
    mailbox_free(NULL);
}

struct sleeper {
    struct mailbox *mailbox;
    size_t taken;
};

static void sleeper_main(void *arg)
{
    struct sleeper *sleeper = arg;
    for (struct op *op; (op = mailbox_wait(sleeper->mailbox)) != NULL;) {
        while (op != NULL) {
            struct op *next = op->next;
            sleeper->taken++;
            op_post(op, STATUS_SUCCESS);
            op = next;
        }
    }
}

/* A job for a blocking thread is an op that comes back. */
task_test_real(a_thread_answers_job_after_job)
{
    struct sleeper sleeper = {.mailbox = mailbox_new()};
    struct thread *thread = thread_start("sleeper", sleeper_main, &sleeper);
    for (int i = 0; i < 100; i++) {
        struct op op;
        op_init(&op, task_loop(), NULL, NULL);
        bool wake = mailbox_put(sleeper.mailbox, &op);
        assert_true(wake);
        assert_status_ok(op_wait(&op));
    }
    mailbox_close(sleeper.mailbox);
    thread_join(thread);
    assert_int_equal(sleeper.taken, 100);
    mailbox_free(sleeper.mailbox);
}

#define PRODUCERS 2
#define IN_FLIGHT 1000
#define ROUNDS    500

struct producer;

struct parcel {
    struct op op;
    struct producer *from;
    size_t number;
};

struct producer {
    struct loop *loop;
    struct thread *thread;
    struct mailbox *back;
    size_t received;
    bool in_order;
    struct parcel parcels[IN_FLIGHT];
    struct op ended;
};

static void parcel_arrives(struct op *op)
{
    struct parcel *parcel = CONTAINER_OF(op, struct parcel, op);
    struct producer *from = parcel->from;
    from->in_order = from->in_order && parcel->number == from->received;
    from->received++;
    bool wake = mailbox_put(from->back, op);
    (void)wake;
}

static void post_again(struct producer *producer, struct parcel *parcel, size_t number)
{
    op_init(&parcel->op, producer->loop, NULL, parcel_arrives);
    parcel->from = producer;
    parcel->number = number;
    op_post(&parcel->op, STATUS_SUCCESS);
}

/* Keeps IN_FLIGHT parcels on their way: each that comes back leaves again with the next number. */
static void producer_main(void *arg)
{
    struct producer *producer = arg;
    size_t sent = 0, back = 0;
    for (; sent < IN_FLIGHT; sent++) {
        post_again(producer, &producer->parcels[sent], sent);
    }
    while (back < (size_t)IN_FLIGHT * ROUNDS) {
        struct op *next;
        for (struct op *op = mailbox_wait(producer->back); op != NULL; op = next) {
            next = op->next;
            back++;
            if (sent < (size_t)IN_FLIGHT * ROUNDS) {
                post_again(producer, CONTAINER_OF(op, struct parcel, op), sent++);
            }
        }
    }
    op_post(&producer->ended, STATUS_SUCCESS);
}

task_test_real(a_million_posts_arrive_in_the_order_of_each_thread)
{
    struct producer *producers = calloc(PRODUCERS, sizeof(*producers));
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i].loop = task_loop();
        producers[i].back = mailbox_new();
        producers[i].in_order = true;
        op_init(&producers[i].ended, task_loop(), NULL, NULL);
        producers[i].thread = thread_start("producer", producer_main, &producers[i]);
    }
    for (size_t i = 0; i < PRODUCERS; i++) {
        assert_status_ok(op_wait(&producers[i].ended));
        thread_join(producers[i].thread);
        assert_int_equal(producers[i].received, (size_t)IN_FLIGHT * ROUNDS);
        assert_true(producers[i].in_order);
        mailbox_free(producers[i].back);
    }
    free(producers);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_first_in_first_out),
    cmocka_unit_test(test_closing_hands_out_the_rest_first),
    cmocka_unit_test(a_thread_answers_job_after_job),
    cmocka_unit_test(a_million_posts_arrive_in_the_order_of_each_thread),
};

HARNESS_MAIN(tests)
