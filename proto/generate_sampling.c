/* generate_sampling.c - sampling parameters of a request: checks, from and to bytes */
#include "proto/generate_sampling.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "proto/message.h"

/* The numbers of Sampling: in proto3 a field that is present stands in a oneof of its own. */
#define SAMPLING_NUMBERS(x)                                                                                                        \
    x(TEMPERATURE, temperature) x(TOP_P, top_p) x(MIN_P, min_p) x(REPETITION_PENALTY, repetition_penalty)                          \
        x(PRESENCE_PENALTY, presence_penalty) x(FREQUENCY_PENALTY, frequency_penalty) x(TOP_K, top_k) x(SEED, seed)

/* ---- checks ---- */

static int number_check(const char *field, double value, double low, double high, struct error *err)
{
    if (!isfinite(value))
        return fail(err, "%s: %g is not a finite number; one from %g to %g is wanted", field, value, low, high);
    if (value >= low && value <= high)
        return 0;
    return fail(err, "%s: %g is %s %g; a number from %g to %g is wanted", field, value, value < low ? "below" : "above",
                value < low ? low : high, low, high);
}

static int positive_check(const char *field, double value, double high, struct error *err)
{
    if (isfinite(value) && value <= 0)
        return fail(err, "%s: %g is not above 0; a number above 0, up to %g, is wanted", field, value, high);
    return number_check(field, value, 0, high, err);
}

static int by_id(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int bias_check(const Massv__V1__Sampling *m, struct error *err)
{
    int32_t ids[SAMPLING_BIAS_IDS];
    if (m->n_logit_bias > SAMPLING_BIAS_IDS)
        return fail(err, "sampling.logit_bias: %zu ids are above %d", m->n_logit_bias, SAMPLING_BIAS_IDS);
    for (size_t i = 0; i < m->n_logit_bias; i++) {
        ids[i] = m->logit_bias[i]->token_id;
        if (number_check("bias", m->logit_bias[i]->bias, -100, 100, err) || message_range("token_id", ids[i], 0, INT_MAX, err))
            return message_within(err, "sampling.logit_bias[%zu]", i);
    }
    qsort(ids, m->n_logit_bias, sizeof *ids, by_id);
    for (size_t i = 1; i < m->n_logit_bias; i++)
        if (ids[i] == ids[i - 1])
            return fail(err, "sampling.logit_bias: token_id %d is given twice", ids[i]);
    return 0;
}

int generate_sampling_check(const Massv__V1__Sampling *m, const Massv__V1__ResponseOptions *response, struct error *err)
{
    if (response && response->logprobs_presence_case &&
        message_range("response.logprobs", response->logprobs, 0, SAMPLING_TOP_LOGPROBS, err))
        return -1;
    if (!m)
        return 0;
    if ((m->temperature_presence_case && number_check("sampling.temperature", m->temperature, 0, 100, err)) ||
        (m->top_p_presence_case && positive_check("sampling.top_p", m->top_p, 1, err)) ||
        (m->top_k_presence_case && message_range("sampling.top_k", m->top_k, 0, INT_MAX, err)) ||
        (m->min_p_presence_case && number_check("sampling.min_p", m->min_p, 0, 1, err)) ||
        (m->repetition_penalty_presence_case && positive_check("sampling.repetition_penalty", m->repetition_penalty, 100, err)) ||
        (m->presence_penalty_presence_case && number_check("sampling.presence_penalty", m->presence_penalty, -2, 2, err)) ||
        (m->frequency_penalty_presence_case && number_check("sampling.frequency_penalty", m->frequency_penalty, -2, 2, err)) ||
        message_range("sampling.mode", (int)m->mode, 0, MASSV__V1__VERIFICATION__VERIFICATION_REJECTION, err))
        return -1;
    return bias_check(m, err);
}

/* ---- from bytes ---- */

static int bias_order(const void *a, const void *b)
{
    return by_id(&(*(Massv__V1__LogitBias *const *)a)->token_id, &(*(Massv__V1__LogitBias *const *)b)->token_id);
}

static void bias_take(struct sampling *to, const Massv__V1__Sampling *m)
{
    size_t n = m->n_logit_bias;
    int32_t *ids = mem_new(n, sizeof *ids);
    float *bias = mem_new(n, sizeof *bias);
    qsort(m->logit_bias, n, sizeof *m->logit_bias, bias_order);
    for (size_t i = 0; i < n; i++) {
        ids[i] = m->logit_bias[i]->token_id;
        bias[i] = m->logit_bias[i]->bias;
    }
    to->bias_ids = ids;
    to->bias = bias;
    to->n_bias = (int)n;
}

void generate_sampling_take(struct generate_request *request, const Massv__V1__Sampling *m,
                            const Massv__V1__ResponseOptions *response)
{
    struct sampling *to = &request->sampling;
    if (response && response->logprobs_presence_case) {
        to->logprobs = true;
        to->top_logprobs = (int)response->logprobs;
    }
    if (!m)
        return;
#define TAKE(NAME, name)                                                                                                           \
    if (m->name##_presence_case) {                                                                                                 \
        to->name = (__typeof__(to->name))m->name;                                                                                  \
        request->given |= GIVEN_##NAME;                                                                                            \
    }
    SAMPLING_NUMBERS(TAKE)
#undef TAKE
    if (m->mode) {
        to->mode = m->mode == MASSV__V1__VERIFICATION__VERIFICATION_REJECTION ? SAMPLING_REJECTION : SAMPLING_COUPLED;
        request->given |= GIVEN_MODE;
    }
    if (m->n_logit_bias)
        bias_take(to, m);
}

void generate_sampling_free(struct generate_request *request)
{
    free((void *)request->sampling.bias_ids);
    free((void *)request->sampling.bias);
}

/* ---- to bytes ---- */

static void bias_make(Massv__V1__Sampling *m, const struct sampling *from)
{
    size_t n = (size_t)from->n_bias;
    m->n_logit_bias = n;
    m->logit_bias = mem_new(n, sizeof *m->logit_bias);
    for (size_t i = 0; i < n; i++) {
        m->logit_bias[i] = mem_new(1, sizeof **m->logit_bias);
        massv__v1__logit_bias__init(m->logit_bias[i]);
        m->logit_bias[i]->token_id = from->bias_ids[i];
        m->logit_bias[i]->bias = from->bias[i];
    }
}

void generate_sampling_make(Massv__V1__Sampling *m, Massv__V1__ResponseOptions *response, const struct generate_request *request)
{
    const struct sampling *from = &request->sampling;
#define MAKE(NAME, name)                                                                                                           \
    if (request->given & GIVEN_##NAME) {                                                                                           \
        m->name##_presence_case = MASSV__V1__SAMPLING__##NAME##_PRESENCE_##NAME;                                                   \
        m->name = (__typeof__(m->name))from->name;                                                                                 \
    }
    SAMPLING_NUMBERS(MAKE)
#undef MAKE
    if (request->given & GIVEN_MODE)
        m->mode = from->mode == SAMPLING_REJECTION ? MASSV__V1__VERIFICATION__VERIFICATION_REJECTION
                                                   : MASSV__V1__VERIFICATION__VERIFICATION_COUPLED;
    bias_make(m, from);
    if (from->logprobs) {
        response->logprobs_presence_case = MASSV__V1__RESPONSE_OPTIONS__LOGPROBS_PRESENCE_LOGPROBS;
        response->logprobs = (uint32_t)from->top_logprobs;
    }
}

void generate_sampling_unmake(Massv__V1__Sampling *m)
{
    for (size_t i = 0; i < m->n_logit_bias; i++)
        free(m->logit_bias[i]);
    free(m->logit_bias);
}
