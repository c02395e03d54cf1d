/* drafter_fit.h - can one checkpoint draft for another, and as what? */
#ifndef MODEL_DRAFTER_FIT_H
#define MODEL_DRAFTER_FIT_H

#include "model/config.h"
#include "model/safetensors.h"
#include "model/tokenizer.h"

enum drafter_kind { DRAFTER_NONE, DRAFTER_TEXT, DRAFTER_VISION, DRAFTER_MASSV };
const char *drafter_kind_name(enum drafter_kind kind); /* none, text, vision, massv */

struct drafter_target {
    const struct model_config *config;
    const struct tokenizer *tokenizer; /* a drafter with other ids does not fit; padded sizes do not matter */
    const uint64_t *tower;             /* tower_hash of the target, 128 bits; NULL without a tower */
};

/* -1 with the reason where a checkpoint of config, tokenizer and st cannot draft for the target. */
int drafter_fit(enum drafter_kind *kind, const struct model_config *config, const struct tokenizer *tokenizer,
                struct safetensors *st, const struct drafter_target *target, struct error *err);

#endif
