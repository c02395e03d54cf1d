/* distill_plan.c - what a distillation asks */
#include "train/distill_plan.h"

#include <inttypes.h>
#include <string.h>

#include "base/random.h"

enum purpose { PURPOSE_ORDER, PURPOSE_SEED }; /* of random numbers: the upper half of a counter's half */

/* 64 bits for one purpose, question and index. */
static uint64_t bits_of(uint64_t seed, enum purpose purpose, int line, uint32_t index)
{
    uint32_t out[4];
    random_bits(out, seed, (uint64_t)line, (uint64_t)purpose << 32 | index);
    return (uint64_t)out[1] << 32 | out[0];
}

struct distill_draw distill_draw(const struct distill_settings *s, int line, int sample)
{
    int n = s->n_temperatures, order[DISTILL_TEMPERATURES];
    uint32_t round = (uint32_t)(sample / n);
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) { /* Fisher and Yates */
        int j = (int)(bits_of(s->seed, PURPOSE_ORDER, line, round * DISTILL_TEMPERATURES + (uint32_t)i) % (uint64_t)(i + 1));
        int moved = order[i];
        order[i] = order[j];
        order[j] = moved;
    }
    return (struct distill_draw){.temperature = s->temperatures[order[sample % n]],
                                 .seed = bits_of(s->seed, PURPOSE_SEED, line, (uint32_t)sample) >> 1};
}

static int same_text(const char *a, const char *b)
{
    return !a == !b && (!a || !strcmp(a, b));
}

static int same_earlier(const struct question *a, const struct question *b)
{
    int same = a->n_earlier == b->n_earlier;
    for (int i = 0; same && i < a->n_earlier; i++)
        same = !strcmp(a->earlier[i], b->earlier[i]);
    return same;
}

/* Of lines that were written and read again with eight digits. */
static int same_real(double a, double b)
{
    double apart = a > b ? a - b : b - a;
    return apart <= 1e-6 * (a > 0 ? a : -a) + 1e-9;
}

int distill_matches(const struct record *r, const struct question *q, const char *image, const struct distill_settings *s,
                    const char *fingerprint, struct error *err)
{
    int stored = r->logprobs ? r->logprobs[0].n_top : -1;
    if (!r->answer)
        return fail(err, "it has no answer: this is no file that distill wrote");
    const struct question *answered = &r->question;
    if (!same_text(answered->prompt, q->prompt) || !same_text(answered->image, image) || !same_earlier(answered, q))
        return fail(err, "it answers another question than line %d of the data", r->line);
    if (!same_text(answered->reference, q->reference))
        return fail(err, "its reference is not that on line %d of the data", r->line);
    if (!same_text(r->fingerprint, fingerprint))
        return fail(err, "it was said by another target (%s, fingerprint %s)", r->target ? r->target : "?",
                    r->fingerprint ? r->fingerprint : "?");
    if (r->sample >= s->samples)
        return fail(err, "it is sample %d of its question: --samples was more than %d", r->sample, s->samples);
    if (!same_real(r->top_p, s->top_p))
        return fail(err, "it was drawn with --top-p %g", r->top_p);
    if (r->max_tokens != s->max_tokens)
        return fail(err, "it was made with --max-tokens %d", r->max_tokens);
    if (stored != s->logprobs)
        return fail(err, stored < 0 ? "it was made without --logprobs" : "it was made with --logprobs %d", stored);
    struct distill_draw draw = distill_draw(s, r->line, r->sample);
    if (r->seed != draw.seed)
        return fail(err, "its seed is %" PRIu64 ", not %" PRIu64 ": it was made with another --seed", r->seed, draw.seed);
    if (!same_real(r->temperature, draw.temperature))
        return fail(err, "its temperature is %g, not %g: it was made with other --temperatures", r->temperature, draw.temperature);
    return 0;
}
