/* cli.h - the commands of massv, and what they share.
 *
 * A command is one function: argv[0] is its name as a user types it ("massv dump"), the result is the exit status (0 done, 1 it
 * failed, 2 wrong usage). comm is one rank in `massv` and the ranks of mpirun in `massv-mpi`; only rank 0 prints. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <argp.h>
#include <stdbool.h>

#include "base/command.h"
#include "base/error.h"
#include "cluster/comm.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };
enum { CLI_LIST = 64, CLI_RANKS = 1024, CLI_THREADS = 1024 }; /* how often a flag may be repeated; largest values */

int command_run(struct comm *comm, int argc, char **argv); /* massv COMMAND ... */

int command_up(struct comm *comm, int argc, char **argv);
int command_generate(struct comm *comm, int argc, char **argv);
int command_top(struct comm *comm, int argc, char **argv);
int command_chat(struct comm *comm, int argc, char **argv);
int command_dump(struct comm *comm, int argc, char **argv);
int command_inspect(struct comm *comm, int argc, char **argv);
int command_eval(struct comm *comm, int argc, char **argv);
int command_bench(struct comm *comm, int argc, char **argv); /* massv bench WHAT ... */
int command_bench_kernels(struct comm *comm, int argc, char **argv);
int command_bench_step(struct comm *comm, int argc, char **argv);
int command_bench_collectives(struct comm *comm, int argc, char **argv);
int command_bench_serve(struct comm *comm, int argc, char **argv);

/* Chooses among a table (base/command.h) and runs the command. */
int cli_choose(const struct command *commands, const char *doc, const char *example, struct comm *comm, int argc, char **argv);

/* argp_parse with our exit status for wrong usage. Ends the process on --help, --version and wrong usage. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* The text if it is UTF-8; else the end of the process, as base/flags.h has it. */
const char *cli_text(const struct argp_state *state, const char *flag, const char *text);

/* The values of a flag that may be repeated. */
struct cli_list {
    const char *values[CLI_LIST];
    int n;
};
void cli_list_add(const struct argp_state *state, const char *flag, const char *value, struct cli_list *list);

/* "massv dump: text" on stderr of rank 0; returns CLI_FAILED. */
int cli_failed(const struct comm *comm, const char *command, const struct error *err);

/* Compute threads of each of `ranks` ranks on this machine: `wanted`, or with 0 an equal share of the cores, at least one. */
int cli_threads(int wanted, int ranks);

/* Is this process one of mpirun's? */
bool cli_under_mpi(const struct comm *comm);

/* The path of `program` beside the running binary ("massv-worker"); malloc'ed. -1 when it is not there. */
int cli_sibling(char **path, const char *program, struct error *err);

/* Runs this very command again as massv-mpi on `ranks` ranks under mpirun; its exit status. argv[0] is "massv dump". hosts as in
 * struct launch_options. */
int cli_on_ranks(int ranks, const char *hosts, int argc, char **argv);

#endif
