/* command.c - the table of massv's commands */
#include <stdio.h>
#include <string.h>

#include "base/standard.h"
#include "base/version.h"
#include "cli/cli.h"

static const struct command commands[] = {
    {"up", "start a whole local service", command_up, false},
    {"generate", "ask once, and stream the answer", command_generate, false},
    {"chat", "a conversation in the terminal", command_chat, false},
    {"top", "watch a running service", command_top, false},
    {"dump", "run one forward pass and write what it computed", command_dump, true},
    {"inspect", "say what a checkpoint is and on how many ranks it fits", command_inspect, true},
    {"eval", "compare drafters on the same prompts: acceptance, speed, distributions", command_eval, false},
    {"bench", "measure, each figure beside its probe", command_bench, true},
    {0},
};

static int rank_check(const struct comm *comm, const struct command *command, const char *name)
{
    struct error err;
    if (command->on_ranks || !cli_under_mpi(comm))
        return CLI_DONE;
    fail(&err, "%s, not massv-mpi%s, is right: it starts what it needs itself", name, strchr(name, ' '));
    cli_failed(comm, "massv-mpi", &err);
    return CLI_USAGE;
}

int cli_choose(const struct command *list, const char *doc, const char *example, struct comm *comm, int argc, char **argv)
{
    const struct command *command = command_choose(list, doc, example, &argc, &argv);
    int status = rank_check(comm, command, argv[0]);
    return status == CLI_DONE ? command->run(comm, argc, argv) : status;
}

int command_run(struct comm *comm, int argc, char **argv)
{
    static char name[] = "massv"; /* whatever path it was called by: it stands in every message */
    argp_program_version = "massv " MASSV_VERSION;
    struct error err;
    argv[0] = name;
    int status = cli_choose(commands, "massv - distributed inference of vision-language models with speculative decoding",
                            "massv up --target models/scenes-large --drafter models/scenes-massv", comm, argc, argv);
    return status == CLI_DONE && standard_flush(&err) ? cli_failed(comm, name, &err) : status;
}
