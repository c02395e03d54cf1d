/* command.h - a program whose first word chooses what it does: the table, its help, the choice */
#ifndef BASE_COMMAND_H
#define BASE_COMMAND_H

#include <stdbool.h>

struct comm; /* cluster/comm.h */

/* argv[0] is the command's name as a user types it ("massv dump"); the result is the exit status: 0 done, 1 it failed, 2 wrong
 * usage. */
struct command { /* a table ends with a NULL name */
    const char *name, *summary;
    int (*run)(struct comm *comm, int argc, char **argv);
    bool on_ranks; /* may be one process of several that mpirun started */
};

/* Parses argv up to the command's name and returns the command; *argc and *argv become its own (argv[0] lives as long as the
 * program). Ends the process on --help, --version and wrong usage. doc: argp's, without the list of commands and the example, which
 * are added. */
const struct command *command_choose(const struct command *commands, const char *doc, const char *example, int *argc, char ***argv);

#endif
