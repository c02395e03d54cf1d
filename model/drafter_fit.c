/* drafter_fit.c - whether a drafter speaks the target's language, and sees its pictures */
#include "model/drafter_fit.h"

#include <string.h>

#include "model/vision.h"

const char *drafter_kind_name(enum drafter_kind kind)
{
    static const char *const names[] = {"none", "text", "vision", "massv"};
    return names[kind];
}

/* The drafter reads the patches that were cut for the target, and its rows must be as many. */
static int check_pictures(const struct model_config *own, const struct model_config *target, struct error *err)
{
    const struct vision_config *a = &own->vision, *b = &target->vision;
    if (!target->has_vision)
        return 0;
    if (a->patch != b->patch || a->merge != b->merge || a->temporal_patch != b->temporal_patch || a->channels != b->channels)
        return fail(err, "drafter %s cuts pictures into patches of %d and merges %d x %d of them, the target %d and %d x %d",
                    own->name, a->patch, a->merge, a->merge, b->patch, b->merge, b->merge);
    if (own->picture.side != target->picture.side || own->picture.filter != target->picture.filter)
        return fail(err,
                    "drafter %s resizes pictures otherwise than the target: to %d pixels a side (0 = as they are), the target %d",
                    own->name, own->picture.side, target->picture.side);
    if (memcmp(own->picture.mean, target->picture.mean, sizeof own->picture.mean) != 0 ||
        memcmp(own->picture.std, target->picture.std, sizeof own->picture.std) != 0)
        return fail(err, "drafter %s: image_mean and image_std of preprocessor_config.json are not the target's", own->name);
    if (target->projector == PROJECTOR_RESAMPLER && (own->projector != target->projector || own->queries != target->queries))
        return fail(err, "drafter %s: the target has %d tokens of every picture, which tell nothing of the drafter's own",
                    own->name, target->queries);
    if (own->image_id != target->image_id)
        return fail(err, "drafter %s: image_token_id %d, the target's is %d", own->name, own->image_id, target->image_id);
    return 0;
}

/* Numbers that change what the same tensors compute. */
static bool towers_alike(const struct vision_config *a, const struct vision_config *b)
{
    return a->depth == b->depth && a->d == b->d && a->heads == b->heads && a->ff == b->ff && a->patch == b->patch &&
           a->merge == b->merge && a->temporal_patch == b->temporal_patch && a->channels == b->channels && a->window == b->window &&
           memcmp(a->full_attention, b->full_attention, sizeof a->full_attention) == 0;
}

static int find_kind(enum drafter_kind *kind, const struct model_config *config, struct safetensors *st,
                     const struct drafter_target *target, struct error *err)
{
    uint64_t own[2];
    *kind = DRAFTER_TEXT;
    if (!config->has_vision)
        return 0;
    *kind = DRAFTER_VISION;
    if (tower_hash(st, config, own, err) != 0)
        return -1;
    if (target->tower && own[0] == target->tower[0] && own[1] == target->tower[1] &&
        towers_alike(&config->vision, &target->config->vision))
        *kind = DRAFTER_MASSV;
    return check_pictures(config, target->config, err);
}

int drafter_fit(enum drafter_kind *kind, const struct model_config *config, const struct tokenizer *tokenizer,
                struct safetensors *st, const struct drafter_target *target, struct error *err)
{
    if (tokenizer_compare(target->tokenizer, tokenizer, err) != 0)
        return fail_in(err, "drafter %s: its tokenizer is not the target's", config->name);
    return find_kind(kind, config, st, target, err);
}
