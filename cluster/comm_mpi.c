/* comm_mpi.c - the communicator of the ranks that one mpirun started, over Open MPI
 *
 * all_reduce_sum adds in rank order whatever the length. Every rank gets everybody's part of its slice and adds them; then the
 * slices are exchanged. Of a short vector the slice is all of it, and the second exchange is saved. Either way each element is
 * ((x0 + x1) + x2) + ... on its own, so neither the slices nor the blocks of a long vector show in the bits.
 *
 * Every call is inside the watchdog except idle_wait, which may take any time. An MPI call that fails ends the job by itself
 * (MPI_ERRORS_ARE_FATAL is the default), so no result is looked at. The thread level is SERIALIZED: one thread calls at a time, not
 * always the same one. */
#include <mpi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cluster/comm.h"
#include "cluster/watchdog.h"

enum {
    DATA_TAG = 1,
    WAKE_TAG = 2,
    SUM_TAG = 3,
    SUM_BLOCK = 1 << 18,    /* floats of a long vector that are summed at a time, so that what the others send stays in the cache */
    MESSAGE_LIMIT = 1 << 30 /* bytes of one MPI message: its count is an int */
};

struct comm_mpi {
    struct comm comm; /* first: the two are cast to each other */
    struct watchdog *watchdog;
    float *parts;          /* (size - 1, floats of this rank's slice): what every other rank sent for it */
    int *count, *first;    /* (size) floats in each rank's slice of a block, and where it starts */
    MPI_Request *requests; /* (2 (size - 1)) */
};

static struct comm_mpi *mpi_of(struct comm *comm)
{
    return (struct comm_mpi *)comm;
}

/* Every rank's slice of x is all of it: each adds everything. */
static void cut_whole(struct comm_mpi *c, size_t count)
{
    for (int r = 0; r < c->comm.size; r++) {
        c->count[r] = (int)count;
        c->first[r] = 0;
    }
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
}

/* Messages in both directions between this rank and each other; the farther ones later, so that not all ranks begin with rank 0. */
static void post_receive(struct comm_mpi *c, float *data, int count, int distance)
{
    int from = (c->comm.rank + c->comm.size - distance) % c->comm.size;
    MPI_Irecv(data, count, MPI_FLOAT, from, SUM_TAG, MPI_COMM_WORLD, &c->requests[2 * distance - 2]);
}

static void post_send(struct comm_mpi *c, const float *data, int count, int distance)
{
    int to = (c->comm.rank + distance) % c->comm.size;
    MPI_Isend(data, count, MPI_FLOAT, to, SUM_TAG, MPI_COMM_WORLD, &c->requests[2 * distance - 1]);
}

/* Where another rank's part of this rank's slice comes to. */
static float *part_of(const struct comm_mpi *c, int rank)
{
    return c->parts + (size_t)(rank < c->comm.rank ? rank : rank - 1) * (size_t)c->count[c->comm.rank];
}

/* Everybody's part of this rank's slice comes into parts, theirs go out. */
static void exchange_parts(struct comm_mpi *c, const float *x)
{
    int rank = c->comm.rank, size = c->comm.size;
    for (int d = 1; d < size; d++)
        post_receive(c, part_of(c, (rank + size - d) % size), c->count[rank], d);
    for (int d = 1; d < size; d++)
        post_send(c, x + c->first[(rank + d) % size], c->count[(rank + d) % size], d);
    MPI_Waitall(2 * size - 2, c->requests, MPI_STATUSES_IGNORE);
}

/* The summed slices of the others come into x, this rank's goes out. */
static void exchange_sums(struct comm_mpi *c, float *x)
{
    int rank = c->comm.rank, size = c->comm.size;
    for (int d = 1; d < size; d++)
        post_receive(c, x + c->first[(rank + size - d) % size], c->count[(rank + size - d) % size], d);
    for (int d = 1; d < size; d++)
        post_send(c, x + c->first[rank], c->count[rank], d);
    MPI_Waitall(2 * size - 2, c->requests, MPI_STATUSES_IGNORE);
}

/* own = ((part of rank 0 + part of rank 1) + part of rank 2) + ..., where own itself is this rank's part. A piece at a time, in a
 * buffer: own is read after the first addition and must not be written before. */
static void add_parts(struct comm_mpi *c, float *own)
{
    enum { PIECE = 1024 };
    float sum[PIECE];
    size_t count = (size_t)c->count[c->comm.rank];
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < PIECE ? count - at : PIECE;
        for (int r = 0; r < c->comm.size; r++) {
            const float *part = r == c->comm.rank ? own + at : part_of(c, r) + at;
            for (size_t i = 0; i < n; i++)
                sum[i] = r == 0 ? part[i] : sum[i] + part[i];
        }
        memcpy(own + at, sum, n * sizeof *sum);
    }
}

/* Whole vectors save one exchange but move size / 2 times as many floats. Measured on 4 ranks of one machine (2 cores): even at
 * about 3000 floats; on 2 ranks whole is never slower. */
static bool is_short(const struct comm_mpi *c, size_t count)
{
    return count * (size_t)(c->comm.size - 2) <= 6000;
}

static void sum_block(struct comm_mpi *c, float *x, size_t count)
{
    bool whole = is_short(c, count);
    if (whole)
        cut_whole(c, count);
    else
        cut_slices(c, count);
    exchange_parts(c, x);
    add_parts(c, x + c->first[c->comm.rank]);
    if (!whole)
        exchange_sums(c, x);
}

static void mpi_all_reduce_sum(struct comm *comm, float *x, size_t count)
{
    struct comm_mpi *c = mpi_of(comm);
    if (comm->size == 1)
        return;
    watchdog_enter(c->watchdog, "all_reduce_sum");
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < SUM_BLOCK ? count - done : SUM_BLOCK;
        sum_block(c, x + done, n);
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
    free(c->requests);
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
    size_t size = (size_t)c->comm.size, floats = size > 1 ? SUM_BLOCK + size : 0; /* the most: of two ranks the other's block */
    c->parts = mem_new(floats, sizeof *c->parts);
    mem_touch(c->parts, floats * sizeof *c->parts);
    c->count = mem_new(size, sizeof *c->count);
    c->first = mem_new(size, sizeof *c->first);
    c->requests = mem_new(2 * size, sizeof *c->requests);
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

#ifdef __SANITIZE_ADDRESS__
/* Asked at exit, before memory that was not freed is looked for. Open MPI leaves much, in modules that are unloaded by then, so
 * that no suppression could name it; a process that never started MPI is looked through. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    int started = 0;
    MPI_Initialized(&started);
    return started;
}
#endif
