/* drafter_sight.h - how a drafter sees a picture: not at all (text-only), by the states of the target's tower and a merger of its
 * own (MASSV), or with a tower and a merger of its own */
#ifndef MODEL_DRAFTER_SIGHT_H
#define MODEL_DRAFTER_SIGHT_H

#include "model/drafter_fit.h"
#include "model/prompt.h"
#include "model/vision.h"

struct drafter_sight {
    struct tower *tower;   /* DRAFTER_VISION, else NULL */
    struct merger *merger; /* DRAFTER_VISION, DRAFTER_MASSV, else NULL */
};

/* kind as drafter_fit told, own: the drafter's configuration; st may be closed afterwards. After an error, drafter_sight_close is
 * still due. */
int drafter_sight_open(struct drafter_sight *sight, enum drafter_kind kind, struct safetensors *st, const struct model_config *own,
                       const struct kernels *k, struct device *dev, struct error *err);
void drafter_sight_close(struct drafter_sight *sight);

/* The target's prompt as a drafter of this kind reads it. */
void drafter_prompt(struct prompt *out, const struct prompt *prompt, enum drafter_kind kind, const struct model_config *own);

/* The features of one picture, (the drafter's tokens, d of the drafter), malloc'ed into *features; NULL for a drafter that sees
 * nothing. states: the target tower's result, for a drafter without a tower of its own, which otherwise looks at the patches. */
int drafter_sight_features(const struct drafter_sight *sight, const struct model_config *own, const struct patches *patches,
                           const struct vision_states *states, float **features, struct error *err);

#endif
