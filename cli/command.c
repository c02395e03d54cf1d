/* command.c - the tables of commands, and the choice of one */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
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
    {"bench", "measure, each figure beside its probe", command_bench, true},
    {0},
};

struct choice {
    const struct command *commands;
    char *doc;
    const struct command *command;
    int first; /* index in argv of the command's name */
};

static error_t choice_parse(int key, char *arg, struct argp_state *state)
{
    struct choice *choice = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        for (const struct command *c = choice->commands; c->name; c++)
            if (!strcmp(c->name, arg))
                choice->command = c;
        if (!choice->command)
            argp_error(state, "unknown command: %s", arg);
        choice->first = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which command?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* "doc", a vertical tab (what follows it argp prints after the options), a line for each command, and the example. */
static char *choice_doc(const char *doc, const char *example, const struct command *list)
{
    char *text = mem_format("%s\vCommands:\n", doc);
    for (const struct command *c = list; c->name; c++) {
        char *longer = mem_format("%s  %-10s %s\n", text, c->name, c->summary);
        free(text);
        text = longer;
    }
    char *whole = mem_format("%s\nExample:\n  %s", text, example);
    free(text);
    return whole;
}

static int rank_check(const struct comm *comm, const struct command *command, const char *name)
{
    struct error err;
    if (command->on_ranks || !cli_under_mpi(comm))
        return CLI_DONE;
    fail(&err, "%s, not massv-mpi%s, is right: it starts what it needs itself", name, strchr(name, ' '));
    cli_failed(comm, "massv-mpi", &err);
    return CLI_USAGE;
}

int command_choose(const struct command *list, const char *doc, const char *example, struct comm *comm, int argc, char **argv)
{
    struct choice choice = {.commands = list, .doc = choice_doc(doc, example, list)};
    const struct argp argp = {.parser = choice_parse, .args_doc = "COMMAND [ARGUMENT...]", .doc = choice.doc};
    argp_err_exit_status = CLI_USAGE;
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &choice);
    free(choice.doc);
    char *name = mem_format("%s %s", argv[0], choice.command->name);
    char **rest = argv + choice.first;
    rest[0] = name;
    int status = rank_check(comm, choice.command, name);
    if (status == CLI_DONE)
        status = choice.command->run(comm, argc - choice.first, rest);
    free(name);
    return status;
}

int command_run(struct comm *comm, int argc, char **argv)
{
    static char name[] = "massv"; /* whatever path it was called by: it stands in every message */
    argp_program_version = "massv " MASSV_VERSION;
    struct error err;
    argv[0] = name;
    int status = command_choose(commands, "massv - distributed inference of vision-language models with speculative decoding",
                                "massv up --target models/scenes-large --drafter models/scenes-massv", comm, argc, argv);
    return status == CLI_DONE && standard_flush(&err) ? cli_failed(comm, name, &err) : status;
}
