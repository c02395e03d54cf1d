/* settle.c - sampling of a request from what it says and the model's defaults */
#include "coordinator/settle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/memory.h"

static uint64_t seed_draw(void)
{
    uint64_t seed;
    ssize_t got = getrandom(&seed, sizeof seed, 0); /* so few bytes are never cut short */
    DEVICE_CHECK(got == sizeof seed, "the system gives no random numbers");
    return seed >> 12;
}

static void defaults_take(struct sampling *to, unsigned given, const struct generation_config *defaults)
{
    const struct {
        unsigned given;
        float *to, value;
    } numbers[] = {
        {GIVEN_TEMPERATURE, &to->temperature, defaults->temperature},
        {GIVEN_TOP_P, &to->top_p, defaults->top_p},
        {GIVEN_MIN_P, &to->min_p, defaults->min_p},
        {GIVEN_REPETITION_PENALTY, &to->repetition_penalty, defaults->repetition_penalty},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(given & numbers[i].given))
            *numbers[i].to = numbers[i].value;
    if (!(given & GIVEN_TOP_K))
        to->top_k = defaults->top_k;
    if (!(given & GIVEN_SEED))
        to->seed = seed_draw();
}

static void *copy(const void *from, size_t bytes)
{
    void *to = mem_new(bytes, 1);
    if (bytes)
        memcpy(to, from, bytes);
    return to;
}

int settle_sampling(struct generate_request *asked, const struct model_config *config, struct error *err)
{
    const struct sampling *s = &asked->sampling;
    for (int i = 0; i < s->n_bias; i++)
        if (s->bias_ids[i] >= config->vocabulary)
            return fail(err, "sampling.logit_bias: token_id %d is not in the vocabulary of %d, ids 0 to %d", s->bias_ids[i],
                        config->vocabulary, config->vocabulary - 1);
    for (int i = 0; i < asked->n_stop_ids; i++)
        if (asked->stop_ids[i] >= config->vocabulary)
            return fail(err, "stopping.stop_token_ids[%d]: %d is not in the vocabulary of %d, ids 0 to %d", i, asked->stop_ids[i],
                        config->vocabulary, config->vocabulary - 1);
    defaults_take(&asked->sampling, asked->given, &config->generation);
    return 0;
}

void settle_output(struct sampling *to, const struct generate_request *asked, int output)
{
    const struct sampling *from = &asked->sampling;
    size_t n = (size_t)from->n_bias;
    *to = *from;
    to->bias_ids = copy(from->bias_ids, n * sizeof *from->bias_ids);
    to->bias = copy(from->bias, n * sizeof *from->bias);
    to->seed += (uint64_t)output;
}

void settle_free(struct sampling *sampling)
{
    free((void *)sampling->bias_ids);
    free((void *)sampling->bias);
}
