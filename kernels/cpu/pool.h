/* pool.h - a fixed number of threads that share the items of one task at a time */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

struct pool;

/* Computes one item. worker < threads is distinct among those that run at once: the index of a scratch buffer. */
typedef void pool_task(void *arg, int item, int worker);

/* threads > 1, the caller's own included; NULL when the system refuses to start them. */
struct pool *pool_open(int threads);
void pool_close(struct pool *pool); /* NULL is legal */

/* Runs task(arg, i, worker) for every i < items, in any order, and returns when all are done. One caller at a time. */
void pool_run(struct pool *pool, int items, pool_task *task, void *arg);

#endif
