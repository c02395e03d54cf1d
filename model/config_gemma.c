/* config_gemma.c - the configuration of Gemma3: sparse files whose missing fields are the class's, local and global layers, SigLIP
 */
#include <string.h>

#include "model/config_parts.h"
#include "model/family.h"

/* ---- the language model ---- */

#define LANGUAGE(name, member, most, absent)                                                                                       \
    {                                                                                                                              \
        name, NULL, offsetof(struct model_config, member), 1, most, absent                                                         \
    }

/* Absent: as Gemma3TextConfig has it. Its three sizes belong to no model, so they must be there. */
static const struct int_field language_fields[] = {
    LANGUAGE("num_hidden_layers", layers, CONFIG_LAYERS, 0),
    LANGUAGE("hidden_size", d, 1 << 17, 0),
    LANGUAGE("intermediate_size", ff, 1 << 20, 0),
    LANGUAGE("num_attention_heads", h, 1 << 12, 8),
    LANGUAGE("num_key_value_heads", g, 1 << 12, 4),
    LANGUAGE("vocab_size", vocabulary, 1 << 24, 262208),
    LANGUAGE("max_position_embeddings", max_positions, 1 << 24, 131072),
    LANGUAGE("query_pre_attn_scalar", query_scalar, 1 << 20, 256),
    LANGUAGE("sliding_window", window, 1 << 24, 4096),
};

enum { HEAD_WIDTH = 256 }; /* attention's width does not depend on the model's */

/* What this program would compute wrongly if it overlooked it. */
static int unsupported_check(const struct source *s)
{
    static const char *const never[] = {"attention_bias", "use_bidirectional_attention"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        const json_t *value = language_field(s, never[i]);
        if (value && !json_is_false(value))
            return fail(s->err, "%s: %s must be false", s->path, never[i]);
    }
    return string_check(s, "text_config.model_type", field_get(s->text, "model_type"), "gemma3_text") ||
                   string_check(s, "hidden_activation", language_field(s, "hidden_activation"), "gelu_pytorch_tanh")
               ? -1
               : 0;
}

enum { PATTERN = 6 }; /* of the class */

/* Every pattern-th layer is global; a list of layer_types must say the same where the file has both. transformers writes
 * _sliding_window_pattern beside such a list, and does not read it. */
static int layers_read(struct model_config *c, const struct source *s)
{
    const json_t *types = language_field(s, "layer_types"), *value = language_field(s, "sliding_window_pattern");
    bool windowless = json_is_null(json_object_get(s->text ? s->text : s->root, "sliding_window")); /* not the same as absent */
    bool unread = !value && !types;
    int pattern = PATTERN;
    value = value ? value : language_field(s, "_sliding_window_pattern");
    if (value && int_check(s, "sliding_window_pattern", value, 1, CONFIG_LAYERS, &pattern))
        return -1;
    if (unread && pattern != PATTERN)
        return fail(s->err, "%s: _sliding_window_pattern is %d, but there are no layer_types", s->path, pattern);
    if (types && (!json_is_array(types) || json_array_size(types) != (size_t)c->layers))
        return fail(s->err, "%s: layer_types must be a list of %d, one for each layer", s->path, c->layers);
    for (int i = 0; i < c->layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        bool local = type && !strcmp(type, "sliding_attention"), whole = type && !strcmp(type, "full_attention");
        if (types && !local && !whole)
            return fail(s->err, "%s: layer_types[%d] must be \"sliding_attention\" or \"full_attention\"", s->path, i);
        bool by_pattern = (i + 1) % pattern != 0;
        c->local[i] = types ? local : by_pattern;
        if (value && types && local != by_pattern)
            return fail(s->err, "%s: layer_types[%d] is %s, which sliding_window_pattern %d contradicts", s->path, i, type,
                        pattern);
        if (c->local[i] && windowless)
            return fail(s->err, "%s: sliding_window is null, but layer %d is local", s->path, i);
    }
    return 0;
}

/* rope: NULL, or an object */
static int rope_type_check(const struct source *s, const json_t *rope, float *factor)
{
    const json_t *type = field_get(rope, "rope_type") ? field_get(rope, "rope_type") : field_get(rope, "type");
    const json_t *part = field_get(rope, "partial_rotary_factor");
    const char *name = json_is_string(type) ? json_string_value(type) : type ? "(no string)" : "default";
    *factor = 1;
    if (part && !(json_is_number(part) && json_number_value(part) == 1))
        return fail(s->err, "%s: partial_rotary_factor must be 1: whole heads turn", s->path);
    if (!strcmp(name, "linear"))
        return number_check(s, "rope factor", field_get(rope, "factor"), 1, 1e6, factor);
    if (strcmp(name, "default"))
        return fail(s->err, "%s: rope type %s is not supported; default and linear are", s->path, name);
    return field_get(rope, "factor") ? fail(s->err, "%s: a rope factor without a rope_type that uses it; linear does", s->path) : 0;
}

/* Published: rope_theta and rope_scaling of global layers, rope_local_base_freq. transformers >= 5: rope_parameters of each kind of
 * layer. */
static int rope_read(struct model_config *c, const struct source *s)
{
    const json_t *kinds = language_field(s, "rope_parameters"), *whole = field_get(kinds, "full_attention");
    const json_t *local = field_get(kinds, "sliding_attention");
    float local_factor;
    if (kinds && (!json_is_object(whole) || !json_is_object(local)))
        return fail(s->err, "%s: rope_parameters must hold the objects full_attention and sliding_attention", s->path);
    if (kinds && field_get(s->text ? s->text : s->root, "rope_scaling"))
        return fail(s->err, "%s: rope_scaling stands beside rope_parameters; one of them must go", s->path);
    const json_t *theta = kinds ? field_get(whole, "rope_theta") : language_field(s, "rope_theta");
    const json_t *local_theta = kinds ? field_get(local, "rope_theta") : language_field(s, "rope_local_base_freq");
    const json_t *scaling = kinds ? whole : language_field(s, "rope_scaling");
    if (scaling && !json_is_object(scaling))
        return fail(s->err, "%s: rope_scaling must be a JSON object or null", s->path);
    if (number_or_absent(s, "rope_theta", theta, 1, 1e12, 1e6f, &c->rope_theta) ||
        number_or_absent(s, kinds ? "rope_theta of sliding_attention" : "rope_local_base_freq", local_theta, 1, 1e12, 1e4f,
                         &c->local_theta) ||
        rope_type_check(s, scaling, &c->rope_factor) || rope_type_check(s, local, &local_factor))
        return -1;
    if (local_factor != 1)
        return fail(s->err, "%s: rope_parameters: a factor of sliding_attention is not supported", s->path);
    return 0;
}

/* As the classes have it, the head is the table unless a file says otherwise. */
static int tied_read(struct model_config *c, const struct source *s)
{
    const json_t *tied = language_field(s, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        return fail(s->err, "%s: tie_word_embeddings must be true or false", s->path);
    c->tied = !json_is_false(tied);
    return 0;
}

static int rest_read(struct model_config *c, const struct source *s)
{
    if (number_or_absent(s, "rms_norm_eps", language_field(s, "rms_norm_eps"), 0, 1, 1e-6f, &c->norm_eps) ||
        number_or_absent(s, "attn_logit_softcapping", language_field(s, "attn_logit_softcapping"), 1e-3, 1e6, 0,
                         &c->attention_cap) ||
        number_or_absent(s, "final_logit_softcapping", language_field(s, "final_logit_softcapping"), 1e-3, 1e6, 0, &c->score_cap))
        return -1;
    return unsupported_check(s) || heads_check(c, s, HEAD_WIDTH) || layers_read(c, s) || rope_read(c, s) || tied_read(c, s) ? -1
                                                                                                                            : 0;
}

/* ---- vision_config ---- */

#define VISION(name, member, most, absent)                                                                                         \
    {                                                                                                                              \
        name, NULL, offsetof(struct vision_config, member), 1, most, absent                                                        \
    }

static const struct int_field vision_fields[] = {
    /* absent: as SiglipVisionConfig has it */
    VISION("num_hidden_layers", depth, 128, 12),
    VISION("hidden_size", d, 1 << 15, 768),
    VISION("num_attention_heads", heads, 1 << 10, 12),
    VISION("intermediate_size", ff, 1 << 17, 3072),
    VISION("patch_size", patch, 256, 16),
    VISION("num_channels", channels, 16, 3),
};

enum { SIDE_MOST = 1 << 14 };

/* The tokens of a picture are a square, each made of a square of patches. */
static int tokens_read(struct model_config *c, const struct source *s, int *tokens)
{
    struct vision_config *v = &c->vision;
    const json_t *count = field_get(s->root, "mm_tokens_per_image"), *size = field_get(s->vision, "image_size");
    int side = 0;
    *tokens = 256;
    c->picture.side = 224;
    if ((count && int_check(s, "mm_tokens_per_image", count, 1, 1 << 20, tokens)) ||
        (size && int_check(s, "vision_config.image_size", size, 1, SIDE_MOST, &c->picture.side)))
        return -1;
    while ((side + 1) * (side + 1) <= *tokens)
        side++;
    if (c->picture.side % v->patch)
        return fail(s->err, "%s: vision_config.image_size %d must be a multiple of patch_size %d", s->path, c->picture.side,
                    v->patch);
    int patches = c->picture.side / v->patch;
    if (side * side != *tokens || patches % side)
        return fail(s->err, "%s: mm_tokens_per_image %d must be a square number whose root divides the %d patches of a side",
                    s->path, *tokens, patches);
    v->merge = patches / side;
    return 0;
}

/* The id of a picture's token may lie beyond a drafter's table: its rows are never looked up. */
static int picture_ids_read(struct model_config *c, const struct source *s)
{
    const struct {
        const char *name, *other;
        int32_t *id, absent;
        int most;
    } ids[] = {{"image_token_index", "image_token_id", &c->image_id, 262144, 1 << 24},
               {"boi_token_index", "boi_token_id", &c->vision_start_id, 255999, c->vocabulary - 1},
               {"eoi_token_index", "eoi_token_id", &c->vision_end_id, 256000, c->vocabulary - 1}};
    for (int i = 0; i < 3; i++) {
        const json_t *value = field_get(s->root, ids[i].name);
        value = value ? value : field_get(s->root, ids[i].other);
        *ids[i].id = ids[i].absent;
        if (value && int_check(s, ids[i].name, value, 0, ids[i].most, ids[i].id))
            return -1;
        if (*ids[i].id > ids[i].most)
            return fail(s->err, "%s: %s is missing; it must be an integer from 0 to %d", s->path, ids[i].name, ids[i].most);
    }
    return 0;
}

static int vision_read(struct model_config *c, const struct source *s)
{
    struct vision_config *v = &c->vision;
    int tokens;
    if (string_check(s, "vision_config.model_type", field_get(s->vision, "model_type"), "siglip_vision_model") ||
        string_check(s, "vision_config.hidden_act", field_get(s->vision, "hidden_act"), "gelu_pytorch_tanh") ||
        fields_read(v, s, vision_fields, sizeof vision_fields / sizeof *vision_fields, s->vision, "vision_config") ||
        number_or_absent(s, "vision_config.layer_norm_eps", field_get(s->vision, "layer_norm_eps"), 0, 1, 1e-6f, &v->norm_eps) ||
        tokens_read(c, s, &tokens) || picture_ids_read(c, s))
        return -1;
    v->temporal_patch = 1;
    v->out_d = c->d;
    memset(v->full_attention, 1, (size_t)v->depth);
    if (v->d % v->heads)
        return fail(s->err, "%s: vision_config.hidden_size %d must be a multiple of num_attention_heads %d", s->path, v->d,
                    v->heads);
    return v->channels == 3 ? 0 : fail(s->err, "%s: vision_config.num_channels %d must be 3", s->path, v->channels);
}

/* ---- the preprocessor ---- */

enum { CROPS_MOST = 64 };

/* Absent or null: as Gemma3Processor has it. The ratio is compared as the double that it is in the file. */
static int crops_read(struct picture_config *p, const struct source *s)
{
    const json_t *on = field_get(s->root, "do_pan_and_scan"), *least = field_get(s->root, "pan_and_scan_min_crop_size"),
                 *most = field_get(s->root, "pan_and_scan_max_num_crops"),
                 *ratio = field_get(s->root, "pan_and_scan_min_ratio_to_activate");
    float rounded;
    p->crop_least = 256;
    p->crop_most = 4;
    p->crop_ratio = ratio ? json_number_value(ratio) : 1.2;
    p->crops = json_is_true(on);
    if (on && !json_is_boolean(on))
        return fail(s->err, "%s: do_pan_and_scan must be true or false", s->path);
    if ((least && int_check(s, "pan_and_scan_min_crop_size", least, 1, SIDE_MOST, &p->crop_least)) ||
        (most && int_check(s, "pan_and_scan_max_num_crops", most, 1, CROPS_MOST, &p->crop_most)))
        return -1;
    return number_or_absent(s, "pan_and_scan_min_ratio_to_activate", ratio, 0, 1e6, 0, &rounded);
}

static int picture_read(struct model_config *c, const struct source *s)
{
    struct picture_config *p = &c->picture;
    const json_t *size = field_get(s->root, "size");
    const struct source edges = {.path = s->path, .root = (json_t *)(uintptr_t)size, .err = s->err}; /* read only */
    int grid = p->side / c->vision.patch / c->vision.merge;
    *p = (struct picture_config){
        .side = p->side, .filter = IMAGE_BILINEAR, .block = 1, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}};
    if (size && !(json_is_integer(size) && json_integer_value(size) == p->side) &&
        !(field_get(size, "height") && field_get(size, "width")))
        return fail(s->err, "%s: size must hold height and width, both %d", s->path, p->side);
    return crops_read(p, s) || steps_check(s, 2, "bilinear") || channels_read(s, "image_mean", -1e3, p->mean) ||
                   channels_read(s, "image_std", 1e-6, p->std) || same_check(&edges, "height", p->side) ||
                   same_check(&edges, "width", p->side) || same_check(s, "image_seq_length", grid * grid)
               ? -1
               : 0;
}

/* ---- a drafter's config.json ---- */

/* The nested layout: the target's members, with another language model. */
static json_t *join(const json_t *target, const json_t *language, const struct model_config *drafter)
{
    static const char *const whole[] = {"architectures", "torch_dtype", "dtype", "transformers_version", "vision_config"};
    const json_t *nested = json_object_get(language, "text_config");
    json_t *all = json_deep_copy(target), *text = json_deep_copy(nested ? nested : language);
    (void)drafter;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        json_object_del(text, whole[i]);
    json_object_set_new(text, "model_type", json_string("gemma3_text"));
    json_object_set_new(all, "text_config", text);
    return all;
}

const struct config_reader config_reader_gemma = {
    .language = language_fields,
    .n_language = sizeof language_fields / sizeof *language_fields,
    .rest = rest_read,
    .vision = vision_read,
    .picture = picture_read,
    .join = join,
};
