/* config_qwen.c - the configuration of Qwen2.5-VL and Qwen2: M-RoPE, window attention in the tower, pictures of their own sizes */
#include <string.h>

#include "model/config_parts.h"
#include "model/family.h"

/* ---- the language model ---- */

#define LANGUAGE(name, member, most)                                                                                               \
    {                                                                                                                              \
        name, NULL, offsetof(struct model_config, member), 1, most, 0                                                              \
    }

/* The upper limits only keep products of two within an int; they are far above any model. */
static const struct int_field language_fields[] = {
    LANGUAGE("num_hidden_layers", layers, CONFIG_LAYERS),
    LANGUAGE("hidden_size", d, 1 << 17),
    LANGUAGE("num_attention_heads", h, 1 << 12),
    LANGUAGE("num_key_value_heads", g, 1 << 12),
    LANGUAGE("intermediate_size", ff, 1 << 20),
    LANGUAGE("vocab_size", vocabulary, 1 << 24),
    LANGUAGE("max_position_embeddings", max_positions, 1 << 24),
};

/* What this program would compute wrongly if it overlooked it. */
static int unsupported_check(const struct source *s)
{
    const json_t *types = language_field(s, "layer_types");
    if (string_check(s, "hidden_act", language_field(s, "hidden_act"), "silu"))
        return -1;
    for (size_t i = 0; i < json_array_size(types); i++)
        if (string_check(s, "layer_types", json_array_get(types, i), "full_attention"))
            return -1;
    if (json_is_true(language_field(s, "use_sliding_window")))
        return fail(s->err, "%s: use_sliding_window must be false", s->path);
    return 0;
}

static int sections_read(struct model_config *c, const struct source *s, const json_t *sections)
{
    int sum = 0;
    if (!json_is_array(sections) || json_array_size(sections) != 3)
        return fail(s->err, "%s: mrope_section must be three integers (time, height, width)", s->path);
    for (int i = 0; i < 3; i++) {
        if (int_check(s, "mrope_section", json_array_get(sections, (size_t)i), 0, c->c / 2, &c->mrope_section[i]))
            return -1;
        sum += c->mrope_section[i];
    }
    if (sum != c->c / 2)
        return fail(s->err, "%s: mrope_section %d + %d + %d must sum to %d, half of the head width", s->path, c->mrope_section[0],
                    c->mrope_section[1], c->mrope_section[2], c->c / 2);
    return 0;
}

/* Where rope_theta and M-RoPE stand: in rope_scaling or (transformers >= 5) rope_parameters, of text_config or else of the top. */
static const json_t *rope_find(const struct source *s)
{
    const json_t *const objects[] = {s->text, s->root};
    const json_t *rope = NULL;
    for (int i = 0; i < 2 && !rope; i++) {
        rope = field_get(objects[i], "rope_scaling");
        rope = rope ? rope : field_get(objects[i], "rope_parameters");
    }
    return rope;
}

/* "type" may say mrope, default or nothing: mrope_section alone tells. rope_theta may also stand beside the object. */
static int rope_read(struct model_config *c, const struct source *s)
{
    const json_t *rope = rope_find(s), *theta = field_get(rope, "rope_theta"), *sections = field_get(rope, "mrope_section");
    const json_t *type = field_get(rope, "rope_type") ? field_get(rope, "rope_type") : field_get(rope, "type");
    if (number_check(s, "rope_theta", theta ? theta : language_field(s, "rope_theta"), 1, 1e12, &c->rope_theta))
        return -1;
    if (type && strcmp(json_is_string(type) ? json_string_value(type) : "", "default") &&
        strcmp(json_is_string(type) ? json_string_value(type) : "", "mrope"))
        return fail(s->err, "%s: rope type %s is not supported; default and mrope are", s->path,
                    json_is_string(type) ? json_string_value(type) : "(no string)");
    if (sections)
        return sections_read(c, s, sections);
    if (c->family->has_vision)
        return fail(s->err, "%s: rope_scaling: mrope_section is missing; it must be three integers that sum to %d", s->path,
                    c->c / 2);
    return 0;
}

static int picture_ids_read(struct model_config *c, const struct source *s)
{
    const struct {
        const char *name;
        int32_t *id;
    } ids[] = {{"image_token_id", &c->image_id},
               {"vision_start_token_id", &c->vision_start_id},
               {"vision_end_token_id", &c->vision_end_id}};
    for (int i = 0; i < 3; i++)
        if (int_check(s, ids[i].name, language_field(s, ids[i].name), 0, c->vocabulary - 1, ids[i].id))
            return -1;
    return 0;
}

/* Either place may say so, whatever the other says; absent = false, as in the Qwen2 classes. */
static int tied_read(struct model_config *c, const struct source *s)
{
    const json_t *const objects[] = {s->root, s->text};
    for (int i = 0; i < 2; i++) {
        const json_t *tied = field_get(objects[i], "tie_word_embeddings");
        if (tied && !json_is_boolean(tied))
            return fail(s->err, "%s: tie_word_embeddings must be true or false", s->path);
        c->tied = c->tied || json_is_true(tied);
    }
    return 0;
}

static int rest_read(struct model_config *c, const struct source *s)
{
    if (number_check(s, "rms_norm_eps", language_field(s, "rms_norm_eps"), 0, 1, &c->norm_eps))
        return -1;
    return unsupported_check(s) || heads_check(c, s, 0) || rope_read(c, s) || tied_read(c, s) ? -1 : 0;
}

/* ---- vision_config ---- */

#define VISION(name, other, member, most, absent)                                                                                  \
    {                                                                                                                              \
        name, other, offsetof(struct vision_config, member), 1, most, absent                                                       \
    }

/* transformers up to 4.51 writes only what differs from its class (the published 32B file has but three sizes), so an absent field
 * has the value of the class. Its hidden_size alone belongs to no model. */
static const struct int_field vision_fields[] = {
    VISION("depth", NULL, depth, 128, 32),
    VISION("hidden_size", NULL, d, 1 << 15, 0),
    VISION("num_heads", NULL, heads, 1 << 10, 16),
    VISION("intermediate_size", NULL, ff, 1 << 17, 3420),
    VISION("out_hidden_size", NULL, out_d, 1 << 17, 3584),
    VISION("patch_size", NULL, patch, 256, 14),
    VISION("temporal_patch_size", NULL, temporal_patch, 16, 2),
    VISION("spatial_merge_size", NULL, merge, 16, 2),
    VISION("in_chans", "in_channels", channels, 16, 3),
    VISION("window_size", NULL, window, 1 << 14, 112),
};

/* Numbers from depth on name blocks that the model does not have: the list of the class, in a model of fewer blocks. */
static int full_attention_read(struct vision_config *v, const struct source *s)
{
    static const int usual[] = {7, 15, 23, 31};
    const json_t *blocks = field_get(s->vision, "fullatt_block_indexes");
    if (blocks && !json_is_array(blocks))
        return fail(s->err, "%s: vision_config.fullatt_block_indexes must be a list of block numbers", s->path);
    size_t n = blocks ? json_array_size(blocks) : sizeof usual / sizeof *usual;
    for (size_t i = 0; i < n; i++) {
        int block = blocks ? 0 : usual[i];
        if (blocks && int_check(s, "vision_config.fullatt_block_indexes", json_array_get(blocks, i), 0, 1 << 16, &block))
            return -1;
        if (block < v->depth)
            v->full_attention[block] = 1;
    }
    return 0;
}

static int sizes_check(const struct model_config *c, const struct source *s)
{
    const struct vision_config *v = &c->vision;
    if (v->d % v->heads || v->d / v->heads % 4)
        return fail(s->err, "%s: vision_config.hidden_size %d must be num_heads %d times a multiple of 4 (two axes of pairs)",
                    s->path, v->d, v->heads);
    if (v->out_d != c->d)
        return fail(s->err, "%s: vision_config.out_hidden_size %d must be hidden_size %d", s->path, v->out_d, c->d);
    if (v->window < v->patch * v->merge)
        return fail(s->err, "%s: vision_config.window_size %d must be at least patch_size x spatial_merge_size = %d", s->path,
                    v->window, v->patch * v->merge);
    if (v->channels != 3)
        return fail(s->err, "%s: vision_config.in_chans %d must be 3", s->path, v->channels);
    return 0;
}

/* What the tower would compute wrongly if it were overlooked. */
static int vision_unsupported_check(const struct source *s)
{
    const json_t *rope = field_get(s->vision, "rope_parameters"), *theta = field_get(rope, "rope_theta");
    if (string_check(s, "vision_config.hidden_act", field_get(s->vision, "hidden_act"), "silu") ||
        string_check(s, "vision_config.rope_parameters.rope_type", field_get(rope, "rope_type"), "axial"))
        return -1;
    if (theta && json_number_value(theta) != 10000)
        return fail(s->err, "%s: vision_config.rope_parameters.rope_theta must be 10000", s->path);
    return 0;
}

static int vision_read(struct model_config *config, const struct source *s)
{
    struct vision_config *v = &config->vision;
    v->norm_eps = 1e-6f; /* fixed in the reference, not in config.json */
    return vision_unsupported_check(s) ||
                   fields_read(v, s, vision_fields, sizeof vision_fields / sizeof *vision_fields, s->vision, "vision_config") ||
                   full_attention_read(v, s) || sizes_check(config, s) || picture_ids_read(config, s)
               ? -1
               : 0;
}

/* ---- the preprocessor ---- */

static int pixels_read(const struct source *s, const char *name, const char *edge, int64_t *out)
{
    const json_t *value = field_get(s->root, name);
    if (!value)
        value = field_get(field_get(s->root, "size"), edge);
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > (json_int_t)1 << 40)
        return fail(s->err, "%s: %s (or size.%s) must be an integer from 1 to 2^40", s->path, name, edge);
    *out = json_integer_value(value);
    return 0;
}

static int picture_read(struct model_config *c, const struct source *s)
{
    struct picture_config *p = &c->picture;
    /* Mean and deviation are CLIP's. Most pixels: of the published files, or of the class where a file does not say. */
    *p = (struct picture_config){.min_pixels = 56 * 56,
                                 .max_pixels = (s->root ? 1280 : 16384) * 28 * 28,
                                 .filter = IMAGE_BICUBIC,
                                 .block = c->vision.merge,
                                 .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                 .std = {0.26862954f, 0.26130258f, 0.27577711f}};
    if (steps_check(s, 3, "bicubic") || pixels_read(s, "min_pixels", "shortest_edge", &p->min_pixels) ||
        pixels_read(s, "max_pixels", "longest_edge", &p->max_pixels) || channels_read(s, "image_mean", -1e3, p->mean) ||
        channels_read(s, "image_std", 1e-6, p->std) || same_check(s, "patch_size", c->vision.patch) ||
        same_check(s, "merge_size", c->vision.merge) || same_check(s, "temporal_patch_size", c->vision.temporal_patch))
        return -1;
    if (p->min_pixels > p->max_pixels)
        return fail(s->err, "%s: min_pixels %lld must not exceed max_pixels %lld", s->path, (long long)p->min_pixels,
                    (long long)p->max_pixels);
    return 0;
}

/* ---- a drafter's config.json ---- */

/* Members of the target that say where pictures stand in its prompts. */
static void ids_copy(json_t *to, const json_t *target)
{
    static const char *const ids[] = {"vision_start_token_id", "vision_end_token_id", "vision_token_id", "image_token_id",
                                      "video_token_id"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        json_t *id = json_object_get(target, ids[i]);
        if (!id)
            id = json_object_get(json_object_get(target, "text_config"), ids[i]);
        if (id)
            json_object_set(to, ids[i], id);
    }
}

/* The flat layout: the language model's members at the top. */
static json_t *join(const json_t *target, const json_t *language, const struct model_config *drafter)
{
    static const char *const replaced[] = {"rope_parameters", "rope_scaling", "vision_config", "text_config"};
    const json_t *nested = json_object_get(language, "text_config");
    json_t *all = json_deep_copy(nested ? nested : language), *vision = json_deep_copy(json_object_get(target, "vision_config"));
    const int *s = drafter->mrope_section;
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        json_object_del(all, replaced[i]);
    if (!vision)
        vision = json_object();
    json_object_set_new(vision, "out_hidden_size", json_integer(drafter->d));
    json_object_set_new(all, "vision_config", vision);
    json_object_set_new(all, "rope_theta", json_real((double)drafter->rope_theta));
    json_object_set_new(all, "rope_scaling", json_pack("{ss s[iii]}", "type", "mrope", "mrope_section", s[0], s[1], s[2]));
    ids_copy(all, target);
    return all;
}

const struct config_reader config_reader_qwen = {
    .language = language_fields,
    .n_language = sizeof language_fields / sizeof *language_fields,
    .rest = rest_read,
    .vision = vision_read,
    .picture = picture_read,
    .join = join,
};
