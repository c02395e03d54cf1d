/* comm_mpi.c - the communicator of the ranks that one mpirun started, over Open MPI
 *
 * all_reduce_sum adds in rank order whatever the length. A short vector is gathered whole and every rank adds all parts; a long one
 * goes in blocks: each rank gets everybody's part of its slice, adds them, and the slices are gathered. Both compute
 * ((x0 + x1) + x2) + ... for each element on its own, so neither the switch between them nor the cut into blocks shows in the bits.
 *
 * Every call is inside the watchdog except idle_wait, which may take any time. An MPI call that fails ends the job by itself
 * (MPI_ERRORS_ARE_FATAL is the default), so no result is looked at. The thread level is SERIALIZED: one thread calls at a time, not
 * always the same one. */
#include <mpi.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cluster/comm.h"
#include "cluster/watchdog.h"

enum {
    DATA_TAG = 1,
    WAKE_TAG = 2,
    SHORT_SUM = 4096,       /* floats: up to here a vector is gathered whole */
    SUM_BLOCK = 1 << 18,    /* floats of a long vector that are summed at a time, so that what the others send stays in the cache */
    MESSAGE_LIMIT = 1 << 30 /* bytes of one MPI message: its count is an int */
};

struct comm_mpi {
    struct comm comm; /* first: the two are cast to each other */
    struct watchdog *watchdog;
    float *parts;                         /* (size, SHORT_SUM) or (size, slice of a SUM_BLOCK): what every rank sent */
    int *count, *first;                   /* (size) floats in each rank's slice of a block, and where it starts */
    int *received_count, *received_first; /* (size) the same for the parts of this rank's slice */
};

static struct comm_mpi *mpi_of(struct comm *comm)
{
    return (struct comm_mpi *)comm;
}

/* x = ((parts[0] + parts[1]) + parts[2]) + ..., parts (size, count) */
static void sum_parts(float *x, const float *parts, size_t count, int size)
{
    for (size_t i = 0; i < count; i++)
        x[i] = parts[i] + parts[count + i];
    for (int r = 2; r < size; r++) {
        const float *part = parts + (size_t)r * count;
        for (size_t i = 0; i < count; i++)
            x[i] += part[i];
    }
}

/* Two ranks, short or long: an exchange. A sum of two has no order (and a NaN is a NaN). */
static void sum_of_two(struct comm_mpi *c, float *x, size_t count)
{
    int peer = 1 - c->comm.rank, n = (int)count;
    MPI_Sendrecv(x, n, MPI_FLOAT, peer, DATA_TAG, c->parts, n, MPI_FLOAT, peer, DATA_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (size_t i = 0; i < count; i++)
        x[i] += c->parts[i];
}

static void sum_short(struct comm_mpi *c, float *x, size_t count)
{
    MPI_Allgather(x, (int)count, MPI_FLOAT, c->parts, (int)count, MPI_FLOAT, MPI_COMM_WORLD);
    sum_parts(x, c->parts, count, c->comm.size);
}

/* Slices as even as they can be: the first count % size ranks have one float more. */
static void cut_slices(struct comm_mpi *c, size_t count)
{
    int size = c->comm.size, each = (int)count / size, more = (int)count % size, at = 0;
    for (int r = 0; r < size; r++) {
        c->count[r] = each + (r < more);
        c->first[r] = at;
        at += c->count[r];
    }
    for (int r = 0; r < size; r++) {
        c->received_count[r] = c->count[c->comm.rank];
        c->received_first[r] = r * c->count[c->comm.rank];
    }
}

static void sum_long(struct comm_mpi *c, float *x, size_t count)
{
    cut_slices(c, count);
    int rank = c->comm.rank;
    MPI_Alltoallv(x, c->count, c->first, MPI_FLOAT, c->parts, c->received_count, c->received_first, MPI_FLOAT, MPI_COMM_WORLD);
    sum_parts(x + c->first[rank], c->parts, (size_t)c->count[rank], c->comm.size);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_FLOAT, x, c->count, c->first, MPI_FLOAT, MPI_COMM_WORLD);
}

static void mpi_all_reduce_sum(struct comm *comm, float *x, size_t count)
{
    struct comm_mpi *c = mpi_of(comm);
    if (comm->size == 1)
        return;
    watchdog_enter(c->watchdog, "all_reduce_sum");
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < SUM_BLOCK ? count - done : SUM_BLOCK;
        if (comm->size == 2)
            sum_of_two(c, x + done, n);
        else if (n <= SHORT_SUM)
            sum_short(c, x + done, n);
        else
            sum_long(c, x + done, n);
    }
    watchdog_leave(c->watchdog);
}

/* Calls once for each piece of data of at most MESSAGE_LIMIT bytes. */
static void broadcast_pieces(void *data, size_t bytes, int root)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < MESSAGE_LIMIT ? bytes - done : MESSAGE_LIMIT;
        MPI_Bcast((char *)data + done, (int)n, MPI_BYTE, root, MPI_COMM_WORLD);
    }
}

static void mpi_broadcast(struct comm *comm, void *data, size_t bytes, int root)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "broadcast");
    broadcast_pieces(data, bytes, root);
    watchdog_leave(c->watchdog);
}

static void mpi_all_gather(struct comm *comm, void *all, const void *part, size_t bytes)
{
    struct comm_mpi *c = mpi_of(comm);
    char *own = (char *)all + (size_t)comm->rank * bytes;
    watchdog_enter(c->watchdog, "all_gather");
    if (bytes && own != part)
        memcpy(own, part, bytes);
    if (bytes <= MESSAGE_LIMIT)
        MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
    else
        for (int r = 0; r < comm->size; r++)
            broadcast_pieces((char *)all + (size_t)r * bytes, bytes, r);
    watchdog_leave(c->watchdog);
}

static void mpi_send(struct comm *comm, const void *data, size_t bytes, int to)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "send");
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < MESSAGE_LIMIT ? bytes - done : MESSAGE_LIMIT;
        MPI_Send((const char *)data + done, (int)n, MPI_BYTE, to, DATA_TAG, MPI_COMM_WORLD);
    }
    watchdog_leave(c->watchdog);
}

static void mpi_receive(struct comm *comm, void *data, size_t bytes, int from)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "receive");
    for (size_t done = 0, n; done < bytes; done += n) {
        n = bytes - done < MESSAGE_LIMIT ? bytes - done : MESSAGE_LIMIT;
        MPI_Recv((char *)data + done, (int)n, MPI_BYTE, from, DATA_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    watchdog_leave(c->watchdog);
}

static void mpi_barrier(struct comm *comm)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "barrier");
    MPI_Barrier(MPI_COMM_WORLD);
    watchdog_leave(c->watchdog);
}

/* MPI's own waits spin. Steps follow each other closely, so the first 0.3 ms spin too (giving the core away); then each sleep is a
 * sixteenth of the time waited so far, at least 50 us (what a sleep costs anyway) and at most 2 ms: the delay stays small beside
 * the pause that it ends, and a rank that is idle for long looks 500 times a second. */
static void mpi_idle_wait(struct comm *comm)
{
    (void)comm;
    const double spin = 0.3e-3, shortest = 50e-6, longest = 2e-3;
    MPI_Request request;
    int woken = 0;
    MPI_Irecv(NULL, 0, MPI_BYTE, 0, WAKE_TAG, MPI_COMM_WORLD, &request);
    double start = clock_seconds();
    for (;;) {
        MPI_Test(&request, &woken, MPI_STATUS_IGNORE);
        if (woken)
            return;
        double waited = clock_seconds() - start, pause = waited / 16;
        if (waited < spin)
            sched_yield();
        else
            clock_sleep(pause < shortest ? shortest : pause > longest ? longest : pause);
    }
}

static void mpi_wake(struct comm *comm)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "wake");
    for (int r = 1; r < comm->size; r++)
        MPI_Send(NULL, 0, MPI_BYTE, r, WAKE_TAG, MPI_COMM_WORLD);
    watchdog_leave(c->watchdog);
}

static void mpi_free(struct comm_mpi *c)
{
    watchdog_close(c->watchdog);
    free(c->parts);
    free(c->count);
    free(c->first);
    free(c->received_count);
    free(c->received_first);
    free(c);
}

static void mpi_close(struct comm *comm)
{
    struct comm_mpi *c = mpi_of(comm);
    watchdog_enter(c->watchdog, "MPI_Finalize");
    MPI_Finalize();
    watchdog_leave(c->watchdog);
    mpi_free(c);
}

static void mpi_scratch(struct comm_mpi *c)
{
    size_t size = (size_t)c->comm.size, gathered = size * SHORT_SUM, sliced = SUM_BLOCK + size;
    c->parts = mem_new(gathered > sliced ? gathered : sliced, sizeof *c->parts);
    c->count = mem_new(size, sizeof *c->count);
    c->first = mem_new(size, sizeof *c->first);
    c->received_count = mem_new(size, sizeof *c->received_count);
    c->received_first = mem_new(size, sizeof *c->received_first);
}

/* Opened before MPI, whose start hangs too when a peer does not come. mpirun tells each rank its number in the environment; without
 * it there is one rank, which needs no parent. */
static int mpi_watch(struct comm_mpi *c, const struct comm_options *options, struct error *err)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    const struct watchdog_options watch = {
        .timeout = options && options->timeout > 0 ? options->timeout : 60,
        .rank = rank ? (int)strtol(rank, NULL, 10) : 0,
        .needs_parent = rank != NULL,
    };
    return watchdog_open(&c->watchdog, &watch, err);
}

int comm_open_mpi(struct comm **comm, const struct comm_options *options, struct error *err)
{
    static const struct comm_calls calls = {
        .name = "mpi",
        .all_reduce_sum = mpi_all_reduce_sum,
        .all_gather = mpi_all_gather,
        .broadcast = mpi_broadcast,
        .send = mpi_send,
        .receive = mpi_receive,
        .barrier = mpi_barrier,
        .idle_wait = mpi_idle_wait,
        .wake = mpi_wake,
        .close = mpi_close,
    };
    int already = 0, level = MPI_THREAD_SINGLE;
    MPI_Initialized(&already);
    if (already)
        return fail(err, "MPI was started before in this process; it can be only once");
    struct comm_mpi *c = mem_new(1, sizeof *c);
    if (mpi_watch(c, options, err)) {
        mpi_free(c);
        return -1;
    }
    watchdog_enter(c->watchdog, "MPI_Init");
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    watchdog_leave(c->watchdog);
    if (level < MPI_THREAD_SERIALIZED) {
        MPI_Finalize();
        mpi_free(c);
        return fail(err, "this MPI gives thread level %d, but %d (MPI_THREAD_SERIALIZED) is needed", level, MPI_THREAD_SERIALIZED);
    }
    c->comm.calls = &calls;
    MPI_Comm_rank(MPI_COMM_WORLD, &c->comm.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &c->comm.size);
    mpi_scratch(c);
    *comm = &c->comm;
    return 0;
}
