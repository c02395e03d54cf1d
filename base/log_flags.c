/* log_flags.c - the flags of the log */
#include "base/log_flags.h"

#include <string.h>

#include "base/log.h"

enum { KEY_FORMAT = 8192, KEY_LEVEL }; /* beyond any parent's keys */

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "The log, on stderr:", 80},
    {"log-format", KEY_FORMAT, "text|json", 0, "json: an object a line; default text", 80},
    {"log-level", KEY_LEVEL, "LEVEL", 0, "debug, info, warning or error; default info", 80},
    {0},
};

/* The index of the word among the names; an unknown one ends the process. */
static int choose(struct argp_state *state, const char *flag, const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    argp_error(state, "%s %s: --help tells which there are", flag, word);
    return 0;
}

static error_t parse(int key, char *word, struct argp_state *state)
{
    switch (key) {
    case KEY_FORMAT:
        log_shape((enum log_format)choose(state, "--log-format", word, log_format_names, LOG_FORMATS));
        return 0;
    case KEY_LEVEL:
        log_threshold((enum log_level)choose(state, "--log-level", word, log_level_names, LOG_LEVELS));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp log_argp = {.options = flags, .parser = parse};
