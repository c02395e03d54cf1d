/* main_mpi.c - massv-mpi: the same commands on the ranks that mpirun started */
#include <stdio.h>

#include "base/standard.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
    struct comm *comm = NULL;
    struct comm_options options = {0};
    struct error err;
    standard_hold();
    if (comm_open_mpi(&comm, &options, &err)) {
        fprintf(stderr, "massv-mpi: %s\n", err.text);
        return CLI_FAILED;
    }
    int status = command_run(comm, argc, argv);
    comm_close(comm);
    return status;
}
