/* distill_plan.h - what a distillation asks: which question, how often, at what temperature and with what seed. Functions of the
 * settings alone, so that a run that was cut short is taken up where it was, and gives what it would have given */
#ifndef TRAIN_DISTILL_PLAN_H
#define TRAIN_DISTILL_PLAN_H

#include "base/error.h"
#include "proto/questions.h"
#include "train/record.h"

enum { DISTILL_TEMPERATURES = 16 };

struct distill_settings {
    double temperatures[DISTILL_TEMPERATURES];
    int n_temperatures;
    double top_p;
    int samples, max_tokens;
    int logprobs; /* of the most probable ids stored with each token; -1 = none */
    uint64_t seed;
};

struct distill_draw {
    double temperature;
    uint64_t seed; /* below 2^63 */
};

/* Sample s of the question on line l of its file. The samples of a question go through the temperatures in an order of its own,
 * each once before any comes again: no two greedy answers, which would be the same, while there are others to give. */
struct distill_draw distill_draw(const struct distill_settings *settings, int line, int sample);

/* 0 where the record is what these settings give for the question, whose picture is called `image` from where the record is; else
 * -1 with what is different. */
int distill_matches(const struct record *record, const struct question *question, const char *image,
                    const struct distill_settings *settings, const char *fingerprint, struct error *err);

#endif
