/* graft.c - a small language model's configuration with the target's eyes */
#include "train/graft.h"

#include <string.h>

#include "model/family.h"

static int sections_of(struct model_config *drafter, const struct model_config *target, struct error *err)
{
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        int scaled = target->mrope_section[i] * drafter->c;
        if (scaled % target->c)
            return fail(err, "%s has heads of %d numbers, the target of %d: its M-RoPE sections cannot be kept in proportion",
                        drafter->name, drafter->c, target->c);
        drafter->mrope_section[i] = scaled / target->c;
        sum += drafter->mrope_section[i];
    }
    return sum && 2 * sum != drafter->c ? fail(err, "%s: M-RoPE sections of the target do not fill its heads", drafter->name) : 0;
}

int graft_config(struct model_config *drafter, const struct model_config *target, const struct model_config *language,
                 struct error *err)
{
    if (!target->has_vision)
        return fail(err, "%s is a text model: there is no vision tower to draft with", target->name);
    if (language->family->config != target->family->config)
        return fail(err, "%s is a model of %s, %s of %s: a drafter is made of a small language model of the target's own family",
                    language->name, language->family->model_type, target->name, target->family->model_type);
    *drafter = *language;
    if (!language->has_vision && sections_of(drafter, target, err))
        return -1;
    if (language->has_vision && memcmp(language->mrope_section, target->mrope_section, sizeof target->mrope_section) &&
        language->c == target->c)
        return fail(err, "%s and %s turn positions by other M-RoPE sections", language->name, target->name);
    drafter->family = target->family;
    drafter->has_vision = true;
    drafter->vision = target->vision;
    drafter->vision.out_d = language->d;
    drafter->picture = target->picture;
    drafter->image_id = target->image_id;
    drafter->vision_start_id = target->vision_start_id;
    drafter->vision_end_id = target->vision_end_id;
    return 0;
}
