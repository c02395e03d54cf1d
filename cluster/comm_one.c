/* comm_one.c - the communicator of a single rank: every call is a copy or nothing */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cluster/comm.h"

static void one_all_reduce_sum(struct comm *comm, float *x, size_t count)
{
    (void)comm, (void)x, (void)count;
}

static void one_all_gather(struct comm *comm, void *all, const void *part, size_t bytes)
{
    (void)comm;
    if (bytes && all != part)
        memcpy(all, part, bytes);
}

static void one_broadcast(struct comm *comm, void *data, size_t bytes, int root)
{
    (void)comm, (void)data, (void)bytes;
    assert(root == 0);
    (void)root;
}

static void one_send(struct comm *comm, const void *data, size_t bytes, int to)
{
    (void)comm, (void)data, (void)bytes, (void)to;
    assert(!"one rank has nobody to send to");
}

static void one_receive(struct comm *comm, void *data, size_t bytes, int from)
{
    (void)comm, (void)data, (void)bytes, (void)from;
    assert(!"one rank has nobody to receive from");
}

static void one_nothing(struct comm *comm)
{
    (void)comm;
}

static void one_idle_wait(struct comm *comm)
{
    (void)comm;
    assert(!"rank 0 wakes the others, it does not wait");
}

static void one_close(struct comm *comm)
{
    free(comm);
}

int comm_open_one(struct comm **comm, struct error *err)
{
    static const struct comm_calls calls = {
        .name = "one",
        .all_reduce_sum = one_all_reduce_sum,
        .all_gather = one_all_gather,
        .broadcast = one_broadcast,
        .send = one_send,
        .receive = one_receive,
        .barrier = one_nothing,
        .idle_wait = one_idle_wait,
        .wake = one_nothing,
        .close = one_close,
    };
    (void)err;
    *comm = mem_new(1, sizeof **comm);
    **comm = (struct comm){.calls = &calls, .rank = 0, .size = 1};
    return 0;
}
