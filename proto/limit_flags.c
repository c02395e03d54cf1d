/* limit_flags.c - argp of a service's limits: one table */
#include "proto/limit_flags.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/flags.h"
#include "proto/generate.h"

enum { KEY_FIRST = 12288 }; /* beyond any parent's keys */

static const char *const switch_words[] = {"off", "on", NULL}, *const pan_and_scan_words[] = {"auto", "on", "off", NULL};

/* Least values leave room for the warm-up: a picture of 56 x 56 pixels and a short question. */
static const struct limit {
    const char *flag;
    size_t offset;
    int least, most, fallback;
    const char *const *words; /* how its values from 0 on are written, NULL-terminated; NULL: as numbers */
} limits[LIMIT_FLAGS] = {
    {"--draft-tokens", offsetof(struct service_limits, draft_tokens), 0, DRAFT_TOKENS_MAX, DRAFT_TOKENS_AUTO, NULL},
    {"--max-requests", offsetof(struct service_limits, max_requests), 1, 4096, 32, NULL},
    {"--max-waiting", offsetof(struct service_limits, max_waiting), 1, 65536, 128, NULL},
    {"--max-wait-seconds", offsetof(struct service_limits, max_wait_seconds), 1, 86400, 600, NULL},
    {"--message-limit", offsetof(struct service_limits, message_limit), 1, 1024, 64, NULL},
    {"--max-picture-pixels", offsetof(struct service_limits, max_picture_pixels), 56 * 56, 1 << 30, 64 << 20, NULL},
    {"--max-prompt-tokens", offsetof(struct service_limits, max_prompt_tokens), 64, INT_MAX, 0, NULL},
    {"--max-positions", offsetof(struct service_limits, max_positions), 64, INT_MAX, 0, NULL},
    {"--draft-positions", offsetof(struct service_limits, draft_positions), 64, INT_MAX, 32768, NULL},
    {"--drain-seconds", offsetof(struct service_limits, drain_seconds), 0, 3600, 10, NULL},
    {"--group-wait-seconds", offsetof(struct service_limits, group_wait_seconds), 1, 86400, 60, NULL},
    {"--stall-ms", offsetof(struct service_limits, stall_ms), 1, 60000, 50, NULL},
    {"--prefix-cache", offsetof(struct service_limits, prefix_cache), 0, 1, 1, switch_words},
    {"--pan-and-scan", offsetof(struct service_limits, pan_and_scan), PAN_AND_SCAN_AUTO, PAN_AND_SCAN_OFF, PAN_AND_SCAN_AUTO,
     pan_and_scan_words},
};

static const struct argp_option flags[] = {
    {0, 0, 0, 0, "What it takes upon itself (what is beyond a limit is refused by its name):", 10},
    {"draft-tokens", KEY_FIRST + 0, "K|auto", 0,
     "drafts per step where a request does not say: 0 to 16, or auto, the default: as many as pay", 10},
    {"max-requests", KEY_FIRST + 1, "N", 0, "requests on worker groups at once, others wait; default 32", 10},
    {"max-waiting", KEY_FIRST + 2, "N", 0, "requests that may wait for a place; default 128", 10},
    {"max-wait-seconds", KEY_FIRST + 3, "S", 0, "how long each may wait for it; default 600", 10},
    {"message-limit", KEY_FIRST + 4, "MIB", 0, "largest message, either way; default 64", 10},
    {"max-picture-pixels", KEY_FIRST + 5, "N", 0, "pixels of a picture, looked at before it is decoded; default 67108864", 10},
    {"max-prompt-tokens", KEY_FIRST + 6, "N", 0, "longest prompt, its pictures included; default what the model can", 10},
    {"max-positions", KEY_FIRST + 7, "N", 0, "context: longest prompt and answer together; default what the model can", 10},
    {"draft-positions", KEY_FIRST + 8, "N", 0, "positions of the drafter's cache over all requests; default 32768", 10},
    {"drain-seconds", KEY_FIRST + 9, "S", 0, "time that running requests get after SIGTERM; default 10", 10},
    {"group-wait-seconds", KEY_FIRST + 10, "S", 0, "time that requests wait for any worker group; default 60", 10},
    {"stall-ms", KEY_FIRST + 11, "MS", 0, "time that entering prompts may add to a step of running answers; default 50", 10},
    {"prefix-cache", KEY_FIRST + 12, "on|off", 0, "compute what prompts begin with in common only once; default on", 10},
    {"pan-and-scan", KEY_FIRST + 13, "auto|on|off", 0,
     "show models that know it (Gemma3) wide and tall pictures in crops, too; default auto: as the checkpoint says", 10},
    {0},
};

static void value_set(struct service_limits *all, const struct limit *limit, int value)
{
    memcpy((char *)all + limit->offset, &value, sizeof value);
}

int draft_tokens_flag(const struct argp_state *state, const char *text)
{
    if (strcmp(text, "auto") == 0)
        return DRAFT_TOKENS_AUTO;
    if (!isdigit((unsigned char)text[0]))
        argp_error(state, "--draft-tokens %s: a whole number from 0 to %d, or auto, is wanted", text, DRAFT_TOKENS_MAX);
    return flag_number(state, "--draft-tokens", text, 0, DRAFT_TOKENS_MAX);
}

void limits_default(struct service_limits *all)
{
    for (int i = 0; i < LIMIT_FLAGS; i++)
        value_set(all, &limits[i], limits[i].fallback);
}

/* Which of the words it is. */
static int word_parse(const struct argp_state *state, const char *flag, const char *text, const char *const *words)
{
    char wanted[64] = "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0)
            return i;
        size_t n = strlen(wanted);
        snprintf(wanted + n, sizeof wanted - n, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
    argp_error(state, "%s %s: %s is wanted", flag, text, wanted);
    return 0;
}

enum pan_and_scan pan_and_scan_flag(const struct argp_state *state, const char *text)
{
    return (enum pan_and_scan)word_parse(state, "--pan-and-scan", text, pan_and_scan_words);
}

static int value_parse(const struct limit *limit, const char *text, const struct argp_state *state)
{
    return limit->words ? word_parse(state, limit->flag, text, limit->words)
                        : flag_number(state, limit->flag, text, limit->least, limit->most);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    if (key == ARGP_KEY_INIT)
        limits_default(state->input);
    if (key < KEY_FIRST || key >= KEY_FIRST + LIMIT_FLAGS)
        return ARGP_ERR_UNKNOWN;
    const struct limit *limit = &limits[key - KEY_FIRST];
    bool drafts = limit->offset == offsetof(struct service_limits, draft_tokens);
    value_set(state->input, limit, drafts ? draft_tokens_flag(state, text) : value_parse(limit, text, state));
    return 0;
}

const struct argp limit_argp = {.options = flags, .parser = parse};

const char *limit_flag(const struct service_limits *all, int i, char text[LIMIT_TEXT])
{
    int value;
    memcpy(&value, (const char *)all + limits[i].offset, sizeof value);
    if (limits[i].words)
        snprintf(text, LIMIT_TEXT, "%s", limits[i].words[value]);
    else
        snprintf(text, LIMIT_TEXT, "%d", value);
    return value == limits[i].fallback ? NULL : limits[i].flag;
}
