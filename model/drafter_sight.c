/* drafter_sight.c - a drafter's features of a picture */
#include "model/drafter_sight.h"

#include <stdlib.h>

#include "base/memory.h"

int drafter_sight_open(struct drafter_sight *sight, enum drafter_kind kind, struct safetensors *st, const struct model_config *own,
                       const struct kernels *k, struct device *dev, struct error *err)
{
    *sight = (struct drafter_sight){0};
    if (kind == DRAFTER_NONE || kind == DRAFTER_TEXT)
        return 0;
    if (kind == DRAFTER_VISION && tower_open(&sight->tower, st, own, k, dev, err) != 0)
        return -1;
    return merger_open(&sight->merger, st, own, k, dev, err);
}

void drafter_sight_close(struct drafter_sight *sight)
{
    merger_close(sight->merger);
    tower_close(sight->tower);
    *sight = (struct drafter_sight){0};
}

void drafter_prompt(struct prompt *out, const struct prompt *prompt, enum drafter_kind kind, const struct model_config *own)
{
    if (kind == DRAFTER_TEXT)
        prompt_without_pictures(out, prompt);
    else
        prompt_for_projector(out, prompt, own);
}

int drafter_sight_features(const struct drafter_sight *sight, const struct model_config *own, const struct patches *patches,
                           const struct vision_states *states, float **features, struct error *err)
{
    struct vision_states seen;
    *features = NULL;
    if (!sight->merger)
        return 0;
    if (sight->tower && tower_run(sight->tower, patches, &seen, err) != 0)
        return -1;
    size_t rows = (size_t)patches_tokens(patches, own);
    float *made = mem_new(rows * (size_t)own->d, sizeof *made);
    int rc = merger_run(sight->merger, sight->tower ? &seen : states, made, err);
    if (sight->tower)
        vision_states_free(sight->tower, &seen);
    if (rc == 0)
        *features = made;
    else
        free(made);
    return rc;
}
