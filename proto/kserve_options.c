/* kserve_options.c - what a KServe request may say besides its text and pictures, however it says it */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/kserve_parts.h"
#include "proto/message.h"

#define FIELD(field) ((struct kserve_request *)0)->field
#define OPTION(name, kind, field, given)                                                                                           \
    {                                                                                                                              \
        name, kind, offsetof(struct kserve_request, field), sizeof(FIELD(field)), 0, 0, 0, given                                   \
    }
#define WHOLE(name, field, least, most, given)                                                                                     \
    {                                                                                                                              \
        name, KSERVE_INT, offsetof(struct kserve_request, field), sizeof(FIELD(field)), 0, least, most, given                      \
    }
#define LIST(name, kind, field, count, most)                                                                                       \
    {                                                                                                                              \
        name, kind, offsetof(struct kserve_request, field), sizeof(*FIELD(field)), offsetof(struct kserve_request, count), 0,      \
            most, 0                                                                                                                \
    }

/* The ranges of whole numbers keep them in their fields and off the values that stand for "absent" there; the check of struct
 * generate_request looks at the other numbers. */
const struct kserve_option kserve_options[] = {
    WHOLE("max_tokens", asked.max_tokens, 1, GENERATE_TOKENS_MAX, 0),
    WHOLE("min_tokens", asked.min_tokens, 0, GENERATE_TOKENS_MAX, 0),
    OPTION("temperature", KSERVE_REAL, asked.sampling.temperature, GIVEN_TEMPERATURE),
    OPTION("top_p", KSERVE_REAL, asked.sampling.top_p, GIVEN_TOP_P),
    WHOLE("top_k", asked.sampling.top_k, 0, INT_MAX, GIVEN_TOP_K),
    OPTION("min_p", KSERVE_REAL, asked.sampling.min_p, GIVEN_MIN_P),
    OPTION("repetition_penalty", KSERVE_REAL, asked.sampling.repetition_penalty, GIVEN_REPETITION_PENALTY),
    OPTION("presence_penalty", KSERVE_REAL, asked.sampling.presence_penalty, GIVEN_PRESENCE_PENALTY),
    OPTION("frequency_penalty", KSERVE_REAL, asked.sampling.frequency_penalty, GIVEN_FREQUENCY_PENALTY),
    WHOLE("seed", asked.sampling.seed, 0, INT64_MAX, GIVEN_SEED),
    OPTION("mode", KSERVE_TEXT, mode, GIVEN_MODE),
    LIST("stop", KSERVE_TEXT, asked.stop_strings, asked.n_stop_strings, 0),
    LIST("stop_token_ids", KSERVE_INT, asked.stop_ids, asked.n_stop_ids, INT_MAX),
    OPTION("ignore_eos", KSERVE_BOOL, asked.ignore_eos, 0),
    OPTION("logit_bias", KSERVE_OBJECT, bias, 0),
    WHOLE("logprobs", logprobs, 0, SAMPLING_TOP_LOGPROBS, 0),
    WHOLE("n", asked.n_outputs, 1, GENERATE_OUTPUTS_MAX, 0),
    WHOLE("draft_tokens", asked.draft_tokens, 0, DRAFT_TOKENS_MAX, 0),
    OPTION("auto_draft_tokens", KSERVE_BOOL, auto_drafts, 0),
    OPTION("system", KSERVE_TEXT, system, 0),
    OPTION("raw_prompt", KSERVE_BOOL, raw_prompt, 0),
    OPTION("stream", KSERVE_BOOL, stream, 0),
    WHOLE("timeout", timeout, 1, INT64_MAX, 0),
    OPTION("traceparent", KSERVE_TEXT, traceparent, 0),
    OPTION("exclude_input_in_output", KSERVE_BOOL, only_answer, 0),
    OPTION("triton_enable_empty_final_response", KSERVE_BOOL, empty_final, 0),
    {0},
};

const char *kserve_datatype(enum kserve_kind kind)
{
    static const char *const names[] = {
        [KSERVE_BOOL] = "BOOL", [KSERVE_INT] = "INT32", [KSERVE_REAL] = "FP32", [KSERVE_TEXT] = "BYTES", [KSERVE_OBJECT] = "BYTES"};
    return names[kind];
}

/* ---- values: numbers may come as text, as the values of sampling_parameters often do ---- */

/* Of a value that is a text: with a zero behind. */
static int text_read(char text[64], const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    if (value->kind != KSERVE_TEXT || !value->size || value->size >= 64)
        return fail(err, "%s: not a number", option->name);
    memcpy(text, value->bytes, value->size);
    text[value->size] = 0;
    return 0;
}

static int real_read(const struct kserve_option *option, const struct kserve_value *value, double *number, struct error *err)
{
    char text[64], *end;
    if (value->kind == KSERVE_INT || value->kind == KSERVE_REAL) {
        *number = value->kind == KSERVE_INT ? (double)value->integer : value->real;
        return 0;
    }
    if (text_read(text, option, value, err))
        return -1;
    *number = strtod(text, &end);
    return *end || strlen(text) != value->size ? fail(err, "%s: \"%s\" is not a number", option->name, text) : 0;
}

static int not_whole(const struct kserve_option *option, const char *what, struct error *err)
{
    return fail(err, "%s: %s is not a whole number from %lld to %lld", option->name, what, (long long)option->least,
                (long long)option->most);
}

/* JSON writers make 5.0 of 5: that is a whole number, too, as far as a double has them all. */
static int whole_read(const struct kserve_option *option, const struct kserve_value *value, int64_t *number, struct error *err)
{
    char text[64], quoted[68], *end;
    if (value->kind == KSERVE_TEXT && text_read(text, option, value, err))
        return -1;
    errno = 0;
    if (value->kind == KSERVE_INT) {
        *number = value->integer;
    } else if (value->kind == KSERVE_REAL) {
        snprintf(text, sizeof text, "%g", value->real);
        if (!(value->real == floor(value->real) && fabs(value->real) <= 0x1p53))
            return not_whole(option, text, err);
        *number = (int64_t)value->real;
    } else if (value->kind == KSERVE_TEXT) {
        *number = strtoll(text, &end, 10);
        snprintf(quoted, sizeof quoted, "\"%s\"", text);
        if (*end || errno || strlen(text) != value->size)
            return not_whole(option, quoted, err);
    } else {
        return fail(err, "%s: not a number", option->name);
    }
    return 0;
}

static int integer_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    int64_t number = 0;
    if (whole_read(option, value, &number, err) || message_range(option->name, number, option->least, option->most, err))
        return -1;
    if (option->width == sizeof(int))
        *(int *)field = (int)number;
    else
        memcpy(field, &number, sizeof number); /* signed or not: it is not below 0 */
    return 0;
}

static int real_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    double number;
    if (real_read(option, value, &number, err))
        return -1;
    *(float *)field = (float)number;
    return 0;
}

static int bool_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    bool text = value->kind == KSERVE_TEXT, is_true = text && value->size == 4 && !memcmp(value->bytes, "true", 4);
    bool is_false = text && value->size == 5 && !memcmp(value->bytes, "false", 5);
    if (value->kind != KSERVE_BOOL && !is_true && !is_false)
        return fail(err, "%s: neither true nor false", option->name);
    *(bool *)field = value->kind == KSERVE_BOOL ? value->integer != 0 : is_true;
    return 0;
}

static int text_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    if (value->kind != KSERVE_TEXT)
        return fail(err, "%s: not a text", option->name);
    if (!message_is_text(value->bytes, value->size))
        return fail(err, "%s: is not UTF-8 without zero bytes", option->name);
    char *text = mem_new(value->size + 1, 1);
    memcpy(text, value->bytes, value->size);
    *(char **)field = text;
    return 0;
}

static int object_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    struct kserve_value text = {.kind = KSERVE_TEXT, .bytes = value->bytes, .size = value->size};
    return text_set(field, option, value->kind == KSERVE_OBJECT ? &text : value, err);
}

/* ---- options ---- */

int kserve_value_set(void *field, const struct kserve_option *option, const struct kserve_value *value, struct error *err)
{
    static int (*const set[])(void *, const struct kserve_option *, const struct kserve_value *,
                              struct error *) = {[KSERVE_BOOL] = bool_set,
                                                 [KSERVE_INT] = integer_set,
                                                 [KSERVE_REAL] = real_set,
                                                 [KSERVE_TEXT] = text_set,
                                                 [KSERVE_OBJECT] = object_set};
    return set[option->kind](field, option, value, err);
}

static int list_set(struct kserve_request *request, const struct kserve_option *option, const struct kserve_value *values, size_t n,
                    struct error *err)
{
    char *list = mem_new(n, option->width);
    memcpy((char *)request + option->offset, &list, sizeof list);
    *(int *)((char *)request + option->count) = (int)n;
    for (size_t i = 0; i < n; i++)
        if (kserve_value_set(list + i * option->width, option, &values[i], err))
            return -1;
    return 0;
}

int kserve_option_set(struct kserve_request *request, uint64_t *given, const char *name, const struct kserve_value *values,
                      size_t n, struct error *err)
{
    int i = 0;
    while (kserve_options[i].name && strcmp(kserve_options[i].name, name) != 0)
        i++;
    const struct kserve_option *option = &kserve_options[i];
    if (!option->name)
        return fail(err, "%.100s: unknown; ModelMetadata lists the inputs", name);
    if (*given >> i & 1)
        return fail(err, "%s: given twice", name);
    *given |= UINT64_C(1) << i;
    request->asked.given |= option->given;
    if (option->count)
        return list_set(request, option, values, n, err);
    return n == 1 ? kserve_value_set((char *)request + option->offset, option, values, err)
                  : fail(err, "%s: %zu values, not one", name, n);
}
