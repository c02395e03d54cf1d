/* preparation.c - the preparing thread and its queue */
#include "coordinator/preparation.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "coordinator/mailbox.h"

struct preparations {
    struct preparer *preparer;
    struct mailbox *mailbox;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct preparation *first, **end;
    bool stop;
};

struct preparation *preparation_new(void)
{
    return mem_new(1, sizeof(struct preparation));
}

void preparation_free(struct preparation *job)
{
    if (!job)
        return;
    generate_request_free(&job->asked);
    prepared_free(&job->prepared);
    free(job);
}

/* The next job; NULL when the thread is to end. Waits without a bound, as an idle thread may: stop wakes it. */
static struct preparation *job_take(struct preparations *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->first && !p->stop)
        pthread_cond_wait(&p->changed, &p->lock);
    struct preparation *job = p->stop ? NULL : p->first;
    if (job) {
        p->first = job->next;
        if (!p->first)
            p->end = &p->first;
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void *preparations_run(void *arg)
{
    struct preparations *p = arg;
    struct preparation *job;
    while ((job = job_take(p))) {
        if (!atomic_load(&job->abandoned))
            job->status = prepare_request(p->preparer, &job->asked, &job->prepared, &job->error);
        mailbox_post(p->mailbox, &(struct event){.kind = EVENT_PREPARED, .job = job});
    }
    return NULL;
}

struct preparations *preparations_start(struct preparer *preparer, struct mailbox *mailbox)
{
    struct preparations *p = mem_new(1, sizeof *p);
    p->preparer = preparer;
    p->mailbox = mailbox;
    p->end = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    DEVICE_CHECK(pthread_create(&p->thread, NULL, preparations_run, p) == 0, "cannot start the preparing thread");
    return p;
}

void preparations_add(struct preparations *p, struct preparation *job)
{
    job->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->end = job;
    p->end = &job->next;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void preparations_stop(struct preparations *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
}

void preparations_free(struct preparations *p)
{
    if (!p)
        return;
    while (p->first) {
        struct preparation *job = p->first;
        p->first = job->next;
        preparation_free(job);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
