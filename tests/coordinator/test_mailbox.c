/* test_mailbox.c - events of several threads reach the one that takes them, each thread's in its order */
#include "tests/check.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "coordinator/mailbox.h"

enum { THREADS = 4, EVENTS = 2000 };

struct sender {
    struct mailbox *mailbox;
    uint64_t first;
};

static void *send_all(void *arg)
{
    const struct sender *sender = arg;
    for (uint64_t i = 0; i < EVENTS; i++)
        mailbox_post(sender->mailbox, &(struct event){.kind = EVENT_CLOSED, .number = sender->first + i});
    return NULL;
}

static void nothing_is_lost_and_order_is_kept(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    struct sender senders[THREADS];
    pthread_t threads[THREADS];
    uint64_t next[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){mailbox, (uint64_t)i * EVENTS};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    for (int left = THREADS * EVENTS; left > 0;) {
        struct event *event = mailbox_take(mailbox, 10);
        assert_non_null(event);
        while (event) {
            struct event *after = event->next;
            assert_int_equal(event->number % EVENTS, next[event->number / EVENTS]++);
            free(event);
            event = after;
            left--;
        }
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_null(mailbox_take(mailbox, 0));
    mailbox_free(mailbox);
}

static void an_empty_mailbox_is_left_in_time(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    double start = clock_seconds();
    assert_null(mailbox_take(mailbox, 0.05));
    double waited = clock_seconds() - start;
    assert_true(waited > 0.04 && waited < 5); /* s; a busy machine wakes late, but a lost timeout would wait for ever */
    mailbox_free(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_and_order_is_kept),
        cmocka_unit_test(an_empty_mailbox_is_left_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
