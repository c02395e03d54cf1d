/* comm.h - what the ranks of one worker group say to each other: a table of collectives over an opaque communicator.
 *
 * Promise on numbers: a sum is taken in rank order, ((x0 + x1) + x2) + ..., for every length and rank count, and every rank gets
 * the same bits. So a row's sum does not depend on how many rows travel with it (MPI_Allreduce and ncclAllReduce do not promise
 * that). Promise on waiting: idle_wait costs no core; the others are called inside a step and may spin for its short time. A
 * collective whose peer died never returns an error: it ends the process loudly after `timeout` seconds (comm_options). Memory is
 * host memory; a GPU backend's communicator says otherwise at its own open. One thread calls a communicator at a time. */
#ifndef CLUSTER_COMM_H
#define CLUSTER_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct comm {
    const struct comm_calls *calls;
    int rank, size;
};

struct comm_calls {
    const char *name;                                                                 /* "one", "mpi" */
    void (*all_reduce_sum)(struct comm *comm, float *x, size_t count);                /* in place */
    void (*all_gather)(struct comm *comm, void *all, const void *part, size_t bytes); /* all (size, bytes) in rank order */
    void (*broadcast)(struct comm *comm, void *data, size_t bytes, int root);
    void (*send)(struct comm *comm, const void *data, size_t bytes, int to);
    void (*receive)(struct comm *comm, void *data, size_t bytes, int from);
    void (*barrier)(struct comm *comm);
    /* Ranks other than 0: waits, without burning a core, until rank 0 calls wake. Any time may pass. */
    void (*idle_wait)(struct comm *comm);
    void (*wake)(struct comm *comm); /* rank 0 */
    void (*close)(struct comm *comm);
};

struct comm_options {
    double timeout; /* seconds that one collective may take before the rank ends itself; 0 = 60 */
};

/* One rank: every call is a copy or nothing. */
int comm_open_one(struct comm **comm, struct error *err);

/* All ranks that mpirun started (cluster/comm_mpi.c; linked only into programs that mpirun starts). Call before threads start. */
int comm_open_mpi(struct comm **comm, const struct comm_options *options, struct error *err);

static inline void comm_close(struct comm *comm)
{
    if (comm)
        comm->calls->close(comm);
}

#endif
