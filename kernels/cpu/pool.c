/* pool.c - the compute threads of a CPU device.
 *
 * A step is hundreds of short tasks in a row, so a thread that has nothing to do first spins for a little longer than the gap
 * between two tasks and only then sleeps. Items are handed out one by one: who computes one never changes its bits. */
#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

enum { SPIN_MICROSECONDS = 40, SPIN_CHECKS = 64 }; /* checks between two looks at the clock */

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    pool_task *task; /* of the current round; written under mutex before `round` moves */
    void *arg;
    int items;
    bool closing;
    atomic_uint round;
    atomic_int next, busy; /* item to hand out; helpers that have not finished the round */
    int helpers;
    struct helper {
        pthread_t thread;
        struct pool *pool;
        int worker;
    } helper[];
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void items_take(struct pool *pool, int worker)
{
    for (int i; (i = atomic_fetch_add(&pool->next, 1)) < pool->items;)
        pool->task(pool->arg, i, worker);
}

/* Waits until the round is another than `seen`: spins, then sleeps. */
static unsigned round_await(struct pool *pool, unsigned seen)
{
    double end = clock_seconds() + SPIN_MICROSECONDS * 1e-6;
    do
        for (int i = 0; i < SPIN_CHECKS; i++, pause_cpu())
            if (atomic_load(&pool->round) != seen)
                return atomic_load(&pool->round);
    while (clock_seconds() < end);
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->round) == seen)
        pthread_cond_wait(&pool->work, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    return atomic_load(&pool->round);
}

static void *helper_main(void *arg)
{
    struct helper *helper = arg;
    struct pool *pool = helper->pool;
    for (unsigned seen = 0;;) {
        seen = round_await(pool, seen);
        if (pool->closing)
            return NULL;
        items_take(pool, helper->worker);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->mutex); /* the caller may be between its look at busy and its sleep */
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static void round_start(struct pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->round, 1);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void helpers_await(struct pool *pool)
{
    double end = clock_seconds() + SPIN_MICROSECONDS * 1e-6;
    do
        for (int i = 0; i < SPIN_CHECKS; i++, pause_cpu())
            if (!atomic_load(&pool->busy))
                return;
    while (clock_seconds() < end);
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->busy))
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_run(struct pool *pool, int items, pool_task *task, void *arg)
{
    pool->task = task;
    pool->arg = arg;
    pool->items = items;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->helpers);
    round_start(pool);
    items_take(pool, 0);
    helpers_await(pool);
}

struct pool *pool_open(int threads)
{
    struct pool *pool = mem_new(1, sizeof *pool + (size_t)threads * sizeof *pool->helper);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < threads - 1; i++) {
        struct helper *helper = &pool->helper[i];
        *helper = (struct helper){.pool = pool, .worker = i + 1};
        if (pthread_create(&helper->thread, NULL, helper_main, helper)) {
            pool_close(pool);
            return NULL;
        }
        pool->helpers++;
    }
    return pool;
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    pool->closing = true;
    round_start(pool);
    for (int i = 0; i < pool->helpers; i++)
        pthread_join(pool->helper[i].thread, NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
