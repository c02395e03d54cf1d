/* mpi.h - the ranks of a test program that mpirun started */
#ifndef TESTS_MPI_H
#define TESTS_MPI_H

#include <stdio.h>
#include <stdlib.h>

#include "cluster/comm.h"

/* seconds: of a collective; 0 = the usual. Ends the process with status 1 and the reason when there are no ranks. */
static inline struct comm *mpi_ranks(double seconds)
{
    const struct comm_options options = {.timeout = seconds};
    struct comm *comm;
    struct error err;
    if (comm_open_mpi(&comm, &options, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return comm;
}

#endif
