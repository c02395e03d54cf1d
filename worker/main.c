/* main.c - massv-worker: one rank of a worker group */
#include <signal.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/standard.h"
#include "worker/leader.h"
#include "worker/options.h"
#include "worker/rank.h"

/* Seconds a rank waits for the slowest one. Loading shards of a large model takes that long at different speeds; a step has its
 * own, shorter bound. */
static const double COLLECTIVE_SECONDS = 600;

/* How rank 0 shows the coordinator who it is. */
static int security_read(struct rpc_security *security, const struct options *options, struct error *err)
{
    if (rpc_security_read(security, &options->security, err) != 0)
        return -1;
    return rpc_security_environment(security, GROUP_TOKEN_VARIABLE, err);
}

static int run(struct comm *comm, const struct options *options, struct stop *stop, struct error *err)
{
    struct rank *rank;
    struct rpc_security security = {0};
    if (comm->rank == 0 && security_read(&security, options, err) != 0)
        return -1;
    if (rank_open(&rank, comm, options, err) != 0)
        return -1;
    int rc = 0;
    if (comm->rank == 0) {
        const struct link_options link = {options->coordinator, rank_hello(rank), stop, &security};
        rc = leader_run(rank_post(rank), &link, err);
        rpc_security_free(&security);
    } else {
        order_obey(rank_post(rank));
    }
    rank_close(rank);
    return rc;
}

int main(int argc, char **argv)
{
    struct options options;
    struct error err = {0};
    struct stop *stop = NULL;
    struct comm *comm = NULL;
    const struct comm_options collectives = {.timeout = COLLECTIVE_SECONDS};
    standard_hold();
    mem_few_pools();
    options_parse(&options, argc, argv);
    log_name("worker", -1);
    signal(SIGPIPE, SIG_IGN); /* whoever reads the log may go */
    int rc = stop_open(&stop, &err) || comm_open_mpi(&comm, &collectives, &err) ? -1 : 0;
    if (rc == 0) {
        log_name("worker", comm->rank);
        rc = run(comm, &options, stop, &err);
    }
    if (rc != 0 && err.text[0])
        log_line(LOG_ERROR, "%s", err.text);
    comm_close(comm);
    stop_close(stop);
    return rc == 0 ? 0 : 1;
}
