/* config_vision.c - what a model does with pictures: vision_config of config.json, and the preprocessor's settings */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/config_parts.h"

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

/* ---- vision_config ---- */

static int sizes_read(struct vision_config *v, const struct source *s)
{
    for (size_t i = 0; i < sizeof vision_fields / sizeof *vision_fields; i++) {
        const struct int_field *f = &vision_fields[i];
        int *out = (int *)(void *)((char *)v + f->offset);
        char name[64];
        const json_t *value = field_get(s->vision, f->name);
        snprintf(name, sizeof name, "vision_config.%s", f->name);
        if (!value && f->other)
            value = field_get(s->vision, f->other);
        *out = f->absent;
        if ((value || !f->absent) && int_check(s, name, value, f->least, f->most, out))
            return -1;
    }
    return 0;
}

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
static int unsupported_check(const struct source *s)
{
    const json_t *rope = field_get(s->vision, "rope_parameters"), *theta = field_get(rope, "rope_theta");
    if (string_check(s, "vision_config.hidden_act", field_get(s->vision, "hidden_act"), "silu") ||
        string_check(s, "vision_config.rope_parameters.rope_type", field_get(rope, "rope_type"), "axial"))
        return -1;
    if (theta && json_number_value(theta) != 10000)
        return fail(s->err, "%s: vision_config.rope_parameters.rope_theta must be 10000", s->path);
    return 0;
}

int vision_read(struct model_config *config, const struct source *s)
{
    if (!json_is_object(s->vision))
        return fail(s->err, "%s: vision_config is missing; it must be a JSON object", s->path);
    return unsupported_check(s) || sizes_read(&config->vision, s) || full_attention_read(&config->vision, s) ||
                   sizes_check(config, s)
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

static int channels_read(const struct source *s, const char *name, double least, float out[3])
{
    const json_t *value = field_get(s->root, name);
    if (!value)
        return 0;
    if (!json_is_array(value) || json_array_size(value) != 3)
        return fail(s->err, "%s: %s must be three numbers", s->path, name);
    for (int i = 0; i < 3; i++)
        if (number_check(s, name, json_array_get(value, (size_t)i), least, 1e3, &out[i]))
            return -1;
    return 0;
}

/* Sizes that config.json also holds must agree with it. */
static int same_check(const struct source *s, const char *name, int other)
{
    const json_t *value = field_get(s->root, name);
    if (value && (!json_is_integer(value) || json_integer_value(value) != other))
        return fail(s->err, "%s: %s must be %d as in config.json", s->path, name, other);
    return 0;
}

/* The steps from bytes to numbers are fixed: resized by the bicubic filter (3 in Pillow), divided by 255, normalised. */
static int steps_check(const struct source *s)
{
    static const char *const steps[] = {"do_resize", "do_rescale", "do_normalize"};
    const json_t *factor = field_get(s->root, "rescale_factor"), *filter = field_get(s->root, "resample");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (field_get(s->root, steps[i]) && !json_is_true(field_get(s->root, steps[i])))
            return fail(s->err, "%s: %s must be true", s->path, steps[i]);
    if (factor && !(fabs(json_number_value(factor) * 255 - 1) < 1e-6))
        return fail(s->err, "%s: rescale_factor must be 1 / 255", s->path);
    if (filter && json_integer_value(filter) != 3)
        return fail(s->err, "%s: resample must be 3 (bicubic)", s->path);
    return 0;
}

/* transformers from 5 on keeps the settings of all of a processor's parts in processor_config.json, and prefers it; older ones put
 * other things there, and the settings into preprocessor_config.json. Without either root is NULL. */
static int settings_open(struct source *s, const char *processor, const char *preprocessor, struct error *err)
{
    if (source_open(s, processor, true, err))
        return -1;
    json_t *settings = json_object_get(s->root, "image_processor");
    if (json_is_object(settings)) {
        json_incref(settings);
        source_close(s);
        s->root = settings;
        return 0;
    }
    source_close(s);
    return source_open(s, preprocessor, true, err);
}

static int settings_read(struct model_config *c, const struct source *s)
{
    struct picture_config *p = &c->picture;
    /* Mean and deviation are CLIP's. Most pixels: of the published files, or of the class where a file does not say. */
    *p = (struct picture_config){.min_pixels = 56 * 56,
                                 .max_pixels = (s->root ? 1280 : 16384) * 28 * 28,
                                 .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                 .std = {0.26862954f, 0.26130258f, 0.27577711f}};
    if (steps_check(s) || pixels_read(s, "min_pixels", "shortest_edge", &p->min_pixels) ||
        pixels_read(s, "max_pixels", "longest_edge", &p->max_pixels) || channels_read(s, "image_mean", -1e3, p->mean) ||
        channels_read(s, "image_std", 1e-6, p->std) || same_check(s, "patch_size", c->vision.patch) ||
        same_check(s, "merge_size", c->vision.merge) || same_check(s, "temporal_patch_size", c->vision.temporal_patch))
        return -1;
    if (p->min_pixels > p->max_pixels)
        return fail(s->err, "%s: min_pixels %lld must not exceed max_pixels %lld", s->path, (long long)p->min_pixels,
                    (long long)p->max_pixels);
    return 0;
}

int picture_read(struct model_config *config, const char *dir, struct error *err)
{
    struct source s;
    char *processor = mem_format("%s/processor_config.json", dir), *preprocessor = mem_format("%s/preprocessor_config.json", dir);
    int status = settings_open(&s, processor, preprocessor, err) || settings_read(config, &s) ? -1 : 0;
    source_close(&s);
    free(processor);
    free(preprocessor);
    return status;
}
