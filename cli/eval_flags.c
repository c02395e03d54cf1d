/* eval_flags.c - what the user of massv eval wishes */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/eval.h"
#include "proto/rpc_flags.h"

enum { CONCURRENCY_MAX = 1024, LINES_MAX = 1 << 24, RESAMPLES_MAX = 1000000 };

enum {
    KEY_ADDRESS = 256,
    KEY_TARGET,
    KEY_DRAFTER,
    KEY_RANKS,
    KEY_THREADS,
    KEY_ONE_AT_A_TIME,
    KEY_DATA,
    KEY_LIMIT,
    KEY_MAX_TOKENS,
    KEY_COMPARE,
    KEY_DRAFT_TOKENS,
    KEY_TEMPERATURE,
    KEY_MODE,
    KEY_SEED,
    KEY_CONCURRENCY,
    KEY_TIMEOUT,
    KEY_RESAMPLES,
    KEY_TVD,
    KEY_OUT,
    KEY_JSON
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "Who is compared (--address or --target):", 1},
    {"address", KEY_ADDRESS, "[NAME=]ADDR", 0,
     "a running service; its drafter goes by the NAME, else by its kind (text, vision, massv). Repeated: services of one target",
     1},
    {"target", KEY_TARGET, "DIR", 0, "private services of this model, one for each drafter", 1},
    {"drafter", KEY_DRAFTER, "[NAME=]DIR", 0, "a drafter of the private services; NAME: else the folder's. May be repeated", 1},
    {"ranks", KEY_RANKS, "N", 0, "ranks of each private service; default 1", 1},
    {"threads", KEY_THREADS, "T", 0, "compute threads per rank of the private services; default: cores / ranks", 1},
    {"one-at-a-time", KEY_ONE_AT_A_TIME, 0, 0,
     "private services one after the other: memory for one target, but a machine that changes its speed favours one of them", 1},
    {"compare", KEY_COMPARE, "NAME,...", 0, "only these; " EVAL_OFF " is without drafts. Default: all, and " EVAL_OFF, 1},
    {0, 0, 0, 0, "What is asked:", 2},
    {"data", KEY_DATA, "FILE", 0,
     "a line a prompt: {\"image\": FILE or null, \"prompt\": TEXT, \"reference\": TEXT, \"task\": NAME}, the last two optional; or "
     "one "
     "JSON array of conversations as LLaVA has them",
     2},
    {"limit", KEY_LIMIT, "N", 0, "only the first N prompts", 2},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "end each answer after N tokens; default 256", 2},
    {"draft-tokens", KEY_DRAFT_TOKENS, "K,...", 0, "drafts per step, as in 5 or 1,3,5 or 1-10; default 5", 2},
    {"temperature", KEY_TEMPERATURE, "T,...", 0, "0 is greedy; default 0", 2},
    {"mode", KEY_MODE, "MODE,...", 0, "how drafts are verified above temperature 0: coupled, rejection; default coupled", 2},
    {"seed", KEY_SEED, "S", 0, "of sampled answers and of the resampled prompts; default 0", 2},
    {"concurrency", KEY_CONCURRENCY, "N", 0, "requests at a time; default 1: what one user sees", 2},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "of each request; default 600", 2},
    {0, 0, 0, 0, "What is written:", 3},
    {"out", KEY_OUT, "DIR", 0, "report.html, report.md, eval.json, plots/", 3},
    {"tvd", KEY_TVD, 0, 0,
     "also the distance of target's and drafters' next-token distributions, computed here; needs --target and --drafter", 3},
    {"resamples", KEY_RESAMPLES, "N", 0, "of the bootstrap intervals; default 10000", 3},
    {"json", KEY_JSON, 0, 0, "print the summary as one JSON object", 3},
    {0}};

static const char doc[] =
    "massv eval - acceptance, speed-up and distance of drafters on the same prompts\v"
    "Every prompt goes to every drafter at every draft length, and without drafts, prompt by prompt in turn. Texts that must be "
    "the "
    "same are compared on the way. Sampling is plain: temperature alone, whatever the model's generation_config.json says.\n\n"
    "Example:\n  massv eval --target models/scenes-small \\\n"
    "    --drafter text=models/scenes-drafter --drafter massv=models/scenes-massv \\\n"
    "    --data models/pictures/scenes.jsonl --draft-tokens 1,3,5 \\\n    --temperature 0,1 --tvd --out eval-scenes";

/* ---- values ---- */

static bool is_name(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._+-", text[i]))
            return false;
    return n > 0 && n < EVAL_NAME;
}

/* NAME=VALUE, or VALUE alone: then the name is "". */
static struct eval_named named_parse(const struct argp_state *state, const char *flag, const char *text)
{
    struct eval_named named = {.value = text};
    const char *equals = strchr(text, '=');
    if (equals && is_name(text, (size_t)(equals - text))) {
        memcpy(named.name, text, (size_t)(equals - text));
        named.value = equals + 1;
    }
    if (!*named.value)
        argp_error(state, "%s %s: NAME=VALUE or a value is wanted", flag, text);
    return named;
}

static void named_add(const struct argp_state *state, const char *flag, struct eval_named *list, int *n,
                      const struct eval_named *named)
{
    if (*n == EVAL_SERVICES)
        argp_error(state, "%s: at most %d times", flag, EVAL_SERVICES);
    for (int i = 0; i < *n; i++)
        if (!strcmp(list[i].name, named->name))
            argp_error(state, "%s: %s", flag,
                       *named->name ? "two have one name; give each its own with NAME="
                                    : "of several each needs a name: NAME=ADDR");
    if (!strcmp(named->name, EVAL_OFF) && !strcmp(flag, "--drafter"))
        argp_error(state, "--drafter " EVAL_OFF "=%s: " EVAL_OFF " is the name of answers without drafts", named->value);
    list[(*n)++] = *named;
}

static void address_add(const struct argp_state *state, struct eval_options *o, const char *arg)
{
    struct eval_named named = named_parse(state, "--address", arg);
    flag_address(state, "--address", named.value);
    named_add(state, "--address", o->addresses, &o->n_addresses, &named);
}

static void drafter_add(const struct argp_state *state, struct eval_options *o, const char *arg)
{
    struct eval_named named = named_parse(state, "--drafter", arg);
    size_t n = strlen(named.value);
    while (n > 1 && named.value[n - 1] == '/')
        n--;
    size_t first = n;
    while (first > 0 && named.value[first - 1] != '/')
        first--;
    if (!*named.name && is_name(named.value + first, n - first))
        memcpy(named.name, named.value + first, n - first);
    if (!*named.name)
        argp_error(state, "--drafter %s: give it a name: NAME=DIR", arg);
    named_add(state, "--drafter", o->drafters, &o->n_drafters, &named);
}

/* Calls take for each piece between commas; pieces are shorter than a name. */
static void list_parse(const struct argp_state *state, const char *flag, const char *text, struct eval_options *o,
                       void (*take)(const struct argp_state *state, struct eval_options *o, const char *piece))
{
    for (const char *from = text;;) {
        char piece[EVAL_NAME];
        size_t n = strcspn(from, ",");
        if (!n || n >= sizeof piece)
            argp_error(state, "%s %s: values with commas between them are wanted", flag, text);
        snprintf(piece, sizeof piece, "%.*s", (int)n, from);
        take(state, o, piece);
        if (!from[n])
            return;
        from += n + 1;
    }
}

static void compare_take(const struct argp_state *state, struct eval_options *o, const char *piece)
{
    if (o->n_compare > EVAL_SERVICES)
        argp_error(state, "--compare: at most %d names", EVAL_SERVICES + 1);
    snprintf(o->compare[o->n_compare++], EVAL_NAME, "%s", piece);
}

static void drafts_take(const struct argp_state *state, struct eval_options *o, const char *piece)
{
    const char *to = strchr(piece, '-');
    char low[EVAL_NAME];
    snprintf(low, sizeof low, "%.*s", to && to > piece ? (int)(to - piece) : (int)strlen(piece), piece);
    int first = flag_number(state, "--draft-tokens", low, 1, DRAFT_TOKENS_MAX);
    int last = to && to > piece ? flag_number(state, "--draft-tokens", to + 1, first, DRAFT_TOKENS_MAX) : first;
    for (int k = first; k <= last; k++) {
        for (int i = 0; i < o->n_drafts; i++)
            if (o->drafts[i] == k)
                argp_error(state, "--draft-tokens: %d stands there twice", k);
        o->drafts[o->n_drafts++] = k;
    }
}

static void temperature_take(const struct argp_state *state, struct eval_options *o, const char *piece)
{
    float t = flag_real(state, "--temperature", piece, 0, 100);
    for (int i = 0; i < o->n_temperatures; i++)
        if (o->temperatures[i] == t)
            argp_error(state, "--temperature: %s stands there twice", piece);
    if (o->n_temperatures == EVAL_TEMPERATURES)
        argp_error(state, "--temperature: at most %d", EVAL_TEMPERATURES);
    o->temperatures[o->n_temperatures++] = t;
}

static void mode_take(const struct argp_state *state, struct eval_options *o, const char *piece)
{
    bool rejection = !strcmp(piece, "rejection");
    if (!rejection && strcmp(piece, "coupled") != 0)
        argp_error(state, "--mode %s: coupled or rejection is wanted", piece);
    o->modes[rejection ? SAMPLING_REJECTION : SAMPLING_COUPLED] = true;
}

/* ---- flags ---- */

static void arguments_check(const struct argp_state *state, const struct eval_options *o)
{
    const char *missing = !o->data ? "--data" : !o->out ? "--out" : NULL;
    if (missing)
        argp_error(state, "%s is missing", missing);
    if (!o->n_addresses == !o->target)
        argp_error(state, "one of --address and --target is wanted");
    if (o->n_addresses && (o->n_drafters || o->ranks || o->threads || o->one_at_a_time))
        argp_error(state,
                   "--drafter, --ranks, --threads and --one-at-a-time belong to private services (--target), not to --address");
    if (o->tvd && !o->n_drafters)
        argp_error(state, "--tvd computes in this process: it needs the folders, --target DIR and --drafter NAME=DIR");
    for (int i = 0; o->n_addresses > 1 && i < o->n_addresses; i++)
        if (!*o->addresses[i].name)
            argp_error(state, "--address %s: of several each needs a name: NAME=ADDR", o->addresses[i].value);
}

static error_t services_parse(int key, char *arg, struct argp_state *state, struct eval_options *o)
{
    switch (key) {
    case KEY_ADDRESS:
        address_add(state, o, cli_text(state, "--address", arg));
        return 0;
    case KEY_TARGET:
        o->target = cli_text(state, "--target", arg);
        return 0;
    case KEY_DRAFTER:
        drafter_add(state, o, cli_text(state, "--drafter", arg));
        return 0;
    case KEY_RANKS:
        o->ranks = flag_number(state, "--ranks", arg, 1, CLI_RANKS);
        return 0;
    case KEY_THREADS:
        o->threads = flag_number(state, "--threads", arg, 1, CLI_THREADS);
        return 0;
    case KEY_ONE_AT_A_TIME:
        o->one_at_a_time = true;
        return 0;
    case KEY_COMPARE:
        list_parse(state, "--compare", arg, o, compare_take);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t questions_parse(int key, char *arg, struct argp_state *state, struct eval_options *o)
{
    switch (key) {
    case KEY_DATA:
        o->data = cli_text(state, "--data", arg);
        return 0;
    case KEY_LIMIT:
        o->limit = flag_number(state, "--limit", arg, 1, LINES_MAX);
        return 0;
    case KEY_MAX_TOKENS:
        o->max_tokens = flag_number(state, "--max-tokens", arg, 1, 1 << 24);
        return 0;
    case KEY_DRAFT_TOKENS:
        list_parse(state, "--draft-tokens", arg, o, drafts_take);
        return 0;
    case KEY_TEMPERATURE:
        list_parse(state, "--temperature", arg, o, temperature_take);
        return 0;
    case KEY_MODE:
        list_parse(state, "--mode", arg, o, mode_take);
        return 0;
    case KEY_SEED:
        o->seed = o->bootstrap.seed = (uint64_t)flag_number(state, "--seed", arg, 0, INT32_MAX);
        return 0;
    case KEY_CONCURRENCY:
        o->concurrency = flag_number(state, "--concurrency", arg, 1, CONCURRENCY_MAX);
        return 0;
    case KEY_TIMEOUT:
        o->timeout = flag_number(state, "--timeout", arg, 1, 1 << 20);
        return 0;
    default:
        return services_parse(key, arg, state, o);
    }
}

static error_t arguments_parse(int key, char *arg, struct argp_state *state)
{
    struct eval_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->security;
        return 0;
    case KEY_OUT:
        o->out = cli_text(state, "--out", arg);
        return 0;
    case KEY_TVD:
        o->tvd = true;
        return 0;
    case KEY_RESAMPLES:
        o->bootstrap.resamples = flag_number(state, "--resamples", arg, 100, RESAMPLES_MAX);
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_END:
        arguments_check(state, o);
        return 0;
    default:
        return questions_parse(key, arg, state, o);
    }
}

/* The words as a shell would take them again. */
static char *command_line(int argc, char **argv)
{
    char *line = mem_string(argv[0]);
    for (int i = 1; i < argc; i++) {
        bool plain = *argv[i] && argv[i][strcspn(argv[i], " \t\n'\"\\$&|;<>()*?[]#~`!{}")] == 0;
        char *longer = mem_format(plain ? "%s %s" : "%s '%s'", line, argv[i]);
        free(line);
        line = longer;
    }
    return line;
}

void eval_flags_parse(struct eval_options *options, int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &rpc_client_argp}, {0}};
    const struct argp argp = {.options = flags, .parser = arguments_parse, .doc = doc, .children = children};
    *options = (struct eval_options){
        .max_tokens = 256, .concurrency = 1, .timeout = 600, .bootstrap = {.resamples = 10000, .confidence = 0.95, .seed = 0}};
    options->command = command_line(argc, argv); /* before argp sorts it */
    cli_parse(&argp, argc, argv, options);
    if (!options->n_drafts)
        options->drafts[options->n_drafts++] = DRAFT_TOKENS_DEFAULT;
    if (!options->n_temperatures)
        options->temperatures[options->n_temperatures++] = 0;
    if (!options->modes[SAMPLING_COUPLED] && !options->modes[SAMPLING_REJECTION])
        options->modes[SAMPLING_COUPLED] = true;
}
