/* test_preparation.c - the preparing thread and its jobs; all are abandoned, so that none needs a model */
#include "tests/check.h"

#include <stdlib.h>

#include "coordinator/mailbox.h"

static struct preparation *job_make(uint64_t number)
{
    struct preparation *job = preparation_new();
    job->number = number;
    atomic_store(&job->abandoned, true);
    return job;
}

static void jobs_expect(struct mailbox *mailbox, uint64_t from, uint64_t to)
{
    while (from < to) {
        struct event *events = mailbox_take(mailbox, 10);
        assert_non_null(events);
        for (struct event *next; events; events = next) {
            next = events->next;
            assert_int_equal(events->kind, EVENT_PREPARED);
            assert_int_equal(events->job->number, from++);
            preparation_free(events->job);
            free(events);
        }
    }
}

static void jobs_come_back_in_order(void **state)
{
    (void)state;
    enum { JOBS = 3 };
    struct mailbox *mailbox = mailbox_new();
    struct preparations *preparations = preparations_start(NULL, mailbox);
    for (uint64_t i = 0; i < JOBS; i++)
        preparations_add(preparations, job_make(i));
    jobs_expect(mailbox, 0, JOBS);
    preparations_add(preparations, job_make(JOBS)); /* the thread has found nothing to do meanwhile */
    jobs_expect(mailbox, JOBS, JOBS + 1);
    preparations_stop(preparations);
    preparations_free(preparations);
    mailbox_free(mailbox);
}

/* The scheduler may be in the middle of a long turn when the thread is stopped: it ends its requests only then. */
static void jobs_outlive_the_thread(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    struct preparations *preparations = preparations_start(NULL, mailbox);
    preparations_stop(preparations);
    struct preparation *job = job_make(7);
    preparations_add(preparations, job);
    atomic_store(&job->abandoned, true);
    assert_null(mailbox_take(mailbox, 0));
    preparations_free(preparations);
    preparations_free(NULL);
    mailbox_free(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_come_back_in_order),
        cmocka_unit_test(jobs_outlive_the_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
