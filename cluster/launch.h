/* launch.h - how mpirun starts one worker group: its arguments and environment, from ranks and hosts. Start it with process.h. */
#ifndef CLUSTER_LAUNCH_H
#define CLUSTER_LAUNCH_H

#include "base/error.h"

struct launch_options {
    int ranks;
    const char *hosts;        /* "h1:1,h2:2": name:ranks (1 where not said), filled in this order; NULL = this machine */
    const char *interface;    /* network interface ("eth0") or subnet ("10.0.0.0/24") between the hosts; NULL = Open MPI's choice,
                               * or what OMPI_MCA_btl_tcp_if_include says */
    const char *remote_shell; /* program used in place of ssh, absolute path; NULL = ssh, or OMPI_MCA_plm_rsh_agent */
    const char *const *exported; /* NULL-terminated "NAME=value" or "NAME" for the environment of every rank; NULL = none */
    const char *const *program;  /* NULL-terminated: program (absolute path or on PATH) and arguments of every rank */
};

struct launch {
    char **argv;        /* NULL-terminated, argv[0] is the path of mpirun */
    char **environment; /* NULL-terminated "NAME=value" to be put over the starting process's own */
};

/* Fails when mpirun is not on PATH, or the hosts are not a list or too few for the ranks. */
int launch_argv(struct launch *out, const struct launch_options *options, struct error *err);
void launch_free(struct launch *launch);

#endif
