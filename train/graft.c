/* graft.c - a small language model's configuration with the target's eyes */
#include "train/graft.h"

#include <string.h>

#include "model/family.h"
#include "model/projector.h"

enum { QUERIES = 16 };

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

static int projector_graft(struct model_config *drafter, const struct graft_projector *wanted, struct error *err)
{
    bool sees = drafter->has_vision;
    enum projector_kind own = drafter->projector, kind = wanted->kind >= 0 ? (enum projector_kind)wanted->kind : own;
    bool resamples = kind == PROJECTOR_RESAMPLER;
    if (sees && kind != own)
        return fail(err, "drafter %s has a projector of kind %s already; --projector %s begins with a text model", drafter->name,
                    projector_kind_names[own], projector_kind_names[kind]);
    if (sees && resamples && wanted->queries && wanted->queries != drafter->queries)
        return fail(err, "drafter %s has a resampler of %d queries already, not of %d", drafter->name, drafter->queries,
                    wanted->queries);
    if (!resamples && wanted->queries)
        return fail(err, "%d queries are of a resampler; the projector is of kind %s", wanted->queries, projector_kind_names[kind]);
    drafter->projector = kind;
    drafter->queries = !resamples ? 0 : wanted->queries ? wanted->queries : sees ? drafter->queries : QUERIES;
    return projector_check(drafter, err);
}

int graft_config(struct model_config *drafter, const struct model_config *target, const struct model_config *language,
                 const struct graft_projector *wanted, struct error *err)
{
    if (!target->has_vision)
        return fail(err, "%s is a text model: there is no vision tower to draft with", target->name);
    if (language->family->config != target->family->config)
        return fail(err, "%s is a model of %s, %s of %s: a drafter is made of a small language model of the target's own family",
                    language->name, language->family->model_type, target->name, target->family->model_type);
    *drafter = *language;
    if (projector_graft(drafter, wanted, err))
        return -1;
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
