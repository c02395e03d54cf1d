/* main.c - massv: the command line in one process */
#include <stdio.h>

#include "base/standard.h"
#include "cli/cli.h"

int main(int argc, char **argv)
{
    struct comm *comm = NULL;
    struct error err;
    standard_hold();
    if (comm_open_one(&comm, &err)) {
        fprintf(stderr, "massv: %s\n", err.text);
        return CLI_FAILED;
    }
    int status = command_run(comm, argc, argv);
    comm_close(comm);
    return status;
}
