/* command.c - the choice of a command */
#include "base/command.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { USAGE = 2 };

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

const struct command *command_choose(const struct command *list, const char *doc, const char *example, int *argc, char ***argv)
{
    struct choice choice = {.commands = list, .doc = choice_doc(doc, example, list)};
    const struct argp argp = {.parser = choice_parse, .args_doc = "COMMAND [ARGUMENT...]", .doc = choice.doc};
    argp_err_exit_status = USAGE;
    argp_parse(&argp, *argc, *argv, ARGP_IN_ORDER, NULL, &choice);
    free(choice.doc);
    char *name = mem_format("%s %s", (*argv)[0], choice.command->name);
    *argc -= choice.first;
    *argv += choice.first;
    (*argv)[0] = name;
    return choice.command;
}
