/* ranks.c - a command that runs itself again on ranks under mpirun */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/pump.h"
#include "cluster/launch.h"
#include "cluster/process.h"

/* massv-mpi, the words of "massv bench step" after the first, and the arguments. NULL-terminated; words owns what it points into.
 */
static const char **program_words(const char *path, char *words, int argc, char **argv)
{
    const char **program = mem_new((size_t)argc + strlen(words) + 2, sizeof *program);
    int n = 0;
    program[n++] = path;
    strsep(&words, " ");
    while (words)
        program[n++] = strsep(&words, " ");
    for (int i = 1; i < argc; i++)
        program[n++] = argv[i];
    return program;
}

static int ranks_run(int ranks, const char *hosts, const char *const *program, struct pump *pump, int *status, struct error *err)
{
    struct launch launch = {0};
    struct process *process = NULL;
    const struct launch_options options = {.ranks = ranks, .hosts = hosts, .program = program};
    if (launch_argv(&launch, &options, err))
        return -1;
    int log = pump_input(pump, 0, err), result = -1;
    if (log >= 0) {
        const struct process_options started = {.argv = launch.argv, .environment = launch.environment, .error_output = log};
        result = process_spawn(&process, &started, err);
        close(log);
    }
    if (!result)
        process_wait(process, -1, status); /* as long as the ranks need; each of their waits is bounded */
    process_close(process);
    launch_free(&launch);
    return result;
}

/* Of all that mpirun says about a rank that failed, the user gets the rank's own line. */
int cli_on_ranks(int ranks, const char *hosts, int argc, char **argv)
{
    struct error err;
    struct pump *pump = NULL;
    char *path = NULL, *words = mem_string(argv[0]);
    int status = 0;
    int result = cli_sibling(&path, "massv-mpi", &err) || pump_open(&pump, &err) ? -1 : 0;
    if (!result) {
        const char **program = program_words(path, words, argc, argv);
        result = ranks_run(ranks, hosts, program, pump, &status, &err);
        free(program);
    }
    if (result) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
    } else if (status) {
        char line[1024];
        pump_last_words(pump, 0, line, sizeof line);
        fprintf(stderr, "%s%s%s\n", strncmp(line, "massv", 5) ? argv[0] : "", strncmp(line, "massv", 5) ? ": " : "", line);
    }
    pump_close(pump);
    free(words);
    free(path);
    return result || status ? CLI_FAILED : CLI_DONE;
}
