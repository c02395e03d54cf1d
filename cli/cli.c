/* cli.c - what the commands share: arguments, failures, the other programs */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/utf8.h"

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = CLI_USAGE;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

const char *cli_text(const struct argp_state *state, const char *flag, const char *text)
{
    size_t at = utf8_check(text, strlen(text));
    if (text[at])
        argp_error(state, "%s: UTF-8 is wanted, but byte %zu is 0x%02x", flag, at, (unsigned char)text[at]);
    return text;
}

void cli_list_add(const struct argp_state *state, const char *flag, const char *value, struct cli_list *list)
{
    if (list->n == CLI_LIST)
        argp_error(state, "%s: at most %d times", flag, CLI_LIST);
    else
        list->values[list->n++] = value;
}

int cli_failed(const struct comm *comm, const char *command, const struct error *err)
{
    if (comm->rank == 0)
        fprintf(stderr, "%s: %s\n", command, err->text);
    return CLI_FAILED;
}

int cli_threads(int wanted, int ranks)
{
    if (wanted)
        return wanted;
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return cores > ranks ? cores / ranks : 1;
}

bool cli_under_mpi(const struct comm *comm)
{
    return !strcmp(comm->calls->name, "mpi");
}

int cli_sibling(char **path, const char *program, struct error *err)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return fail(err, "/proc/self/exe: %s", strerror(errno));
    self[n] = 0;
    *strrchr(self, '/') = 0;
    *path = mem_format("%s/%s", self, program);
    if (!access(*path, X_OK))
        return 0;
    fail(err, "%s: %s; massv and its programs must lie in one folder", *path, strerror(errno));
    free(*path);
    *path = NULL;
    return -1;
}
