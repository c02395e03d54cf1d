/* sampling_flags.c - flags of sampling */
#include "cli/sampling_flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "base/memory.h"

enum {
    KEY_TEMPERATURE = 512, /* beside the keys of the commands */
    KEY_TOP_K,
    KEY_TOP_P,
    KEY_MIN_P,
    KEY_REPETITION,
    KEY_PRESENCE,
    KEY_FREQUENCY,
    KEY_BIAS,
    KEY_SEED,
    KEY_MODE
};

static const struct argp_option options[] = {
    {0, 0, 0, 0, "How tokens are chosen (a flag not given takes the model's default):", 3},
    {"temperature", KEY_TEMPERATURE, "T", 0, "0 is greedy", 3},
    {"top-k", KEY_TOP_K, "K", 0, "of the K most probable; 0 is all", 3},
    {"top-p", KEY_TOP_P, "P", 0, "of the most probable that together have P; 1 is all", 3},
    {"min-p", KEY_MIN_P, "P", 0, "of those with at least P of the largest probability; 0 is all", 3},
    {"repetition-penalty", KEY_REPETITION, "R", 0, "on ids of prompt and answer; 1 is none", 3},
    {"presence-penalty", KEY_PRESENCE, "X", 0, "on ids of the answer, -2 to 2", 3},
    {"frequency-penalty", KEY_FREQUENCY, "X", 0, "on ids of the answer, for each time, -2 to 2", 3},
    {"logit-bias", KEY_BIAS, "ID=X", 0, "add X (-100 to 100) to the score of a token id; may be repeated", 3},
    {"seed", KEY_SEED, "S", 0, "of the random numbers; not given: drawn", 3},
    {"mode", KEY_MODE, "coupled|rejection", 0,
     "how drafts are verified: coupled, the text depends on the seed alone; rejection, on the drafts too", 3},
    {0}};

static void bias_add(struct argp_state *state, struct sampling_flags *f, const char *arg)
{
    char *value, *end;
    errno = 0;
    long id = strtol(arg, &value, 10);
    if (value == arg || *value != '=' || errno || id < 0 || id > INT32_MAX)
        argp_error(state, "--logit-bias %s: ID=X is wanted, a token id and a number", arg);
    float bias = strtof(value + 1, &end);
    if (end == value + 1 || *end || !(bias >= -100 && bias <= 100))
        argp_error(state, "--logit-bias %s: a number from -100 to 100 is wanted after the =", arg);
    if (f->sampling.n_bias == CLI_LIST)
        argp_error(state, "--logit-bias: at most %d times", CLI_LIST);
    f->bias_ids[f->sampling.n_bias] = (int32_t)id;
    f->bias[f->sampling.n_bias++] = bias;
}

static uint64_t seed_read(struct argp_state *state, const char *arg)
{
    char *end;
    errno = 0;
    unsigned long long seed = strtoull(arg, &end, 10);
    if (end == arg || *end || *arg == '-' || errno || seed > INT64_MAX)
        argp_error(state, "--seed %s: a whole number from 0 to %lld is wanted", arg, (long long)INT64_MAX);
    return seed;
}

static enum sampling_mode mode_read(struct argp_state *state, const char *arg)
{
    if (strcmp(arg, "coupled") && strcmp(arg, "rejection"))
        argp_error(state, "--mode %s: coupled or rejection is wanted", arg);
    return strcmp(arg, "rejection") ? SAMPLING_COUPLED : SAMPLING_REJECTION;
}

static int other_parse(int key, char *arg, struct argp_state *state, struct sampling_flags *f)
{
    switch (key) {
    case KEY_BIAS:
        bias_add(state, f, arg);
        return 0;
    case KEY_SEED:
        f->sampling.seed = seed_read(state, arg);
        f->given |= GIVEN_SEED;
        return 0;
    case KEY_MODE:
        f->sampling.mode = mode_read(state, arg);
        f->given |= GIVEN_MODE;
        return 0;
    case KEY_TOP_K:
        f->sampling.top_k = flag_number(state, "--top-k", arg, 0, 1 << 24);
        f->given |= GIVEN_TOP_K;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t flags_parse(int key, char *arg, struct argp_state *state)
{
    struct sampling_flags *f = state->input;
    const struct number {
        int key;
        const char *flag;
        float low, high, *to;
        unsigned given;
    } numbers[] = {
        {KEY_TEMPERATURE, "--temperature", 0, 100, &f->sampling.temperature, GIVEN_TEMPERATURE},
        {KEY_TOP_P, "--top-p", 1e-6f, 1, &f->sampling.top_p, GIVEN_TOP_P},
        {KEY_MIN_P, "--min-p", 0, 1, &f->sampling.min_p, GIVEN_MIN_P},
        {KEY_REPETITION, "--repetition-penalty", 0.01f, 100, &f->sampling.repetition_penalty, GIVEN_REPETITION_PENALTY},
        {KEY_PRESENCE, "--presence-penalty", -2, 2, &f->sampling.presence_penalty, GIVEN_PRESENCE_PENALTY},
        {KEY_FREQUENCY, "--frequency-penalty", -2, 2, &f->sampling.frequency_penalty, GIVEN_FREQUENCY_PENALTY},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].key == key) {
            *numbers[i].to = flag_real(state, numbers[i].flag, arg, numbers[i].low, numbers[i].high);
            f->given |= numbers[i].given;
            return 0;
        }
    return other_parse(key, arg, state, f);
}

const struct argp sampling_flags_argp = {.options = options, .parser = flags_parse};

void sampling_flags_take(struct generate_request *request, const struct sampling_flags *f)
{
    size_t n = (size_t)f->sampling.n_bias;
    int32_t *ids = mem_new(n, sizeof *ids);
    float *bias = mem_new(n, sizeof *bias);
    memcpy(ids, f->bias_ids, n * sizeof *ids);
    memcpy(bias, f->bias, n * sizeof *bias);
    request->sampling = f->sampling;
    request->sampling.bias_ids = ids;
    request->sampling.bias = bias;
    request->given = f->given;
}
